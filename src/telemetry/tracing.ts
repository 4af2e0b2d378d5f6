import {
  type Attributes,
  context,
  isSpanContextValid,
  type Link,
  ProxyTracerProvider,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
  type TracerProvider,
} from "@opentelemetry/api";
import type { CallBegin, CallEnd, CallInFlight, Calls } from "../events.ts";
import { carrierOf, contextFrom } from "./tracing-context.ts";
import { readRequest, type TracedRequest, withCarrier } from "./tracing-message.ts";
import { outcomeError } from "./tracing-outcome.ts";

const NAME = "mcp-sse-gateway";
/** Names come from clients. */
const MAX_TEXT = 256;

/** What the API answers while nobody has registered an SDK. */
const NO_SDK = new ProxyTracerProvider().getDelegate();

export interface TracingOptions {
  /** The gateway's version, as the instrumentation scope's. */
  version: string;
}

/**
 * Two spans for each call: SERVER for the client's request, CLIENT as its child for the way to the MCP server, whose
 * context the server is given in `params._meta`. The parent is what the client's `_meta` carries, else the context that
 * the call is made in. Without an OpenTelemetry SDK in the process nothing is done, and a client's context passes as it is.
 */
export function createTracing({ version }: TracingOptions): Calls {
  let provider: TracerProvider | undefined;
  let tracer: Tracer | undefined;
  return {
    begin(call) {
      const registered = registeredProvider();
      if (registered === undefined) return undefined;
      try {
        if (registered !== provider || tracer === undefined) {
          provider = registered;
          tracer = registered.getTracer(NAME, version);
        }
        return begin(tracer, call);
      } catch {
        // An SDK's fault must not become a client's.
        return undefined;
      }
    },
  };
}

/** An SDK may be registered at any time, through this copy of the API or through its own. */
function registeredProvider(): TracerProvider | undefined {
  const provider = trace.getTracerProvider();
  const real = provider instanceof ProxyTracerProvider ? provider.getDelegate() : provider;
  return real === NO_SDK ? undefined : real;
}

function begin(tracer: Tracer, call: CallBegin): CallInFlight {
  const request = readRequest(call.message);
  const ambient = context.active();
  const parent = contextFrom(request.carrier, ambient);
  const name = spanName(call, request);
  const attributes = attributesOf(call, request);
  const server = tracer.startSpan(
    name,
    {
      kind: SpanKind.SERVER,
      attributes: { ...attributes, ...attributesOfServer(call) },
      links: linksOf(trace.getSpanContext(ambient), trace.getSpanContext(parent)),
    },
    parent,
  );
  const toServer = trace.setSpan(parent, server);
  const client = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, toServer);
  const message = withCarrier(call.message, request, carrierOf(trace.setSpan(toServer, client)));
  return new TracedCall(message, call.method, client, server);
}

class TracedCall implements CallInFlight {
  readonly message: Buffer;
  readonly #method: string;
  #spans: readonly Span[];

  constructor(message: Buffer, method: string, client: Span, server: Span) {
    this.message = message;
    this.#method = method;
    this.#spans = [client, server];
  }

  end(outcome: CallEnd): void {
    const spans = this.#spans;
    this.#spans = [];
    const error = spans.some((span) => span.isRecording()) ? outcomeError(this.#method, outcome) : undefined;
    for (const span of spans) {
      try {
        if (error !== undefined) {
          span.setAttributes(error.attributes);
          span.setStatus({ code: SpanStatusCode.ERROR, ...(error.message && { message: error.message }) });
        }
        span.end();
      } catch {
        // As in `begin`; the other span is ended all the same.
      }
    }
  }
}

/** A resource's URI would make a name of its own for each resource. */
const spanName = ({ method }: CallBegin, { name }: TracedRequest): string =>
  name !== undefined && isNamed(method) ? `${method} ${cut(name)}` : method;

const isNamed = (method: string): boolean => method === "tools/call" || method === "prompts/get";

function attributesOf({ method, id, server }: CallBegin, { name, uri, version }: TracedRequest): Attributes {
  const attributes: Attributes = {
    "mcp.method.name": method,
    "jsonrpc.request.id": cut(id.startsWith('"') ? (JSON.parse(id) as string) : id),
    "mcp.gateway.upstream": server,
  };
  if (version !== undefined) attributes["mcp.protocol.version"] = cut(version);
  if (method === "tools/call") {
    attributes["gen_ai.operation.name"] = "execute_tool";
    if (name !== undefined) attributes["gen_ai.tool.name"] = cut(name);
  } else if (method === "prompts/get" && name !== undefined) {
    attributes["gen_ai.prompt.name"] = cut(name);
  } else if (method.startsWith("resources/") && uri !== undefined) {
    attributes["mcp.resource.uri"] = cut(withoutCredentials(uri));
  }
  return attributes;
}

/** What is true of the way from the client to here, and not of the way on. */
const attributesOfServer = ({ session }: CallBegin): Attributes => ({
  "network.transport": "tcp",
  "network.protocol.name": "http",
  ...(session === undefined ? {} : { "mcp.session.id": session }),
});

/** The span around the HTTP request is no parent where the client named one, but they belong together. */
const linksOf = (ambient: Link["context"] | undefined, parent: Link["context"] | undefined): Link[] =>
  ambient !== undefined && ambient !== parent && isSpanContextValid(ambient) ? [{ context: ambient }] : [];

const cut = (text: string): string => text.slice(0, MAX_TEXT);

const withoutCredentials = (uri: string): string =>
  uri.replace(/[?#].*$/s, "").replace(/^([^/]*\/\/)[^/]*@/, "$1");
