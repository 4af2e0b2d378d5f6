import { createRequire } from "node:module";
import type { TextMapPropagator } from "@opentelemetry/api";

/** The package that the SDK itself takes its propagators from. */
const ofSdk = createRequire(createRequire(import.meta.url).resolve("@opentelemetry/sdk-trace-base"));
const { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } = ofSdk(
  "@opentelemetry/core",
) as {
  CompositePropagator: new (config: { propagators: TextMapPropagator[] }) => TextMapPropagator;
  W3CBaggagePropagator: new () => TextMapPropagator;
  W3CTraceContextPropagator: new () => TextMapPropagator;
};

/** What NodeSDK registers when nothing else is asked of it. */
export const W3C = new CompositePropagator({
  propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()],
});
