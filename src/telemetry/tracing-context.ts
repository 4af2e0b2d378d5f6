import {
  type Context,
  createTraceState,
  isSpanContextValid,
  propagation,
  type SpanContext,
  type TextMapGetter,
  type TextMapSetter,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import type { Carrier } from "./tracing-message.ts";

const GETTER: TextMapGetter<Carrier> = {
  keys: (carrier) => Object.keys(carrier),
  get: (carrier, key) => carrier[key as keyof Carrier],
};

const SETTER: TextMapSetter<Carrier> = {
  set: (carrier, key, value) => void (carrier[key as keyof Carrier] = value),
};

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** This context with what a request carries; the same one when that is nothing, or is not valid. */
export function contextFrom(carrier: Carrier, context: Context): Context {
  if (isW3cRegistered()) return propagation.extract(context, carrier, GETTER);
  const spanContext = parse(carrier);
  return spanContext === undefined ? context : trace.setSpanContext(context, spanContext);
}

/** What a request is to carry so that its receiver goes on in this context; a propagator may add what is of another format. */
export function carrierOf(context: Context): Carrier {
  const carrier: Carrier = {};
  if (isW3cRegistered()) {
    propagation.inject(context, carrier, SETTER);
    return carrier;
  }
  const spanContext = trace.getSpanContext(context);
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return carrier;
  const { traceId, spanId, traceFlags, traceState } = spanContext;
  carrier.traceparent = `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED) === 0 ? "00" : "01"}`;
  const state = traceState?.serialize();
  if (state) carrier.tracestate = state;
  return carrier;
}

/** An SDK may register no propagator at all, and the API brings none: W3C's format is then spoken here. */
const isW3cRegistered = (): boolean => propagation.fields().includes("traceparent");

function parse({ traceparent, tracestate }: Carrier): SpanContext | undefined {
  const match = TRACEPARENT.exec(traceparent ?? "");
  if (match === null) return undefined;
  const [, version, traceId = "", spanId = "", flags = "", more] = match;
  if (version === "ff" || (version === "00" && more !== undefined)) return undefined;
  const spanContext: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED,
    isRemote: true,
    ...(tracestate ? { traceState: createTraceState(tracestate) } : {}),
  };
  return isSpanContextValid(spanContext) ? spanContext : undefined;
}
