import { Gauge, Registry } from "prom-client";
import { type Calls, type Events, tellAll } from "../events.ts";
import { createCallMetrics } from "./call-metrics.ts";
import { createEventMetrics } from "./event-metrics.ts";
import { addGauges, type CircuitState } from "./gauges.ts";
import { processMetrics } from "./process-metrics.ts";
import type { Readings } from "./readings.ts";
import { createStoreMetrics } from "./store-metrics.ts";

export interface MetricsOptions {
  /** Of the gateway. */
  version: string;
  /** Of Node. */
  node: string;
  instanceId: string;
  readings: Readings;
  /** Tools of one server that have series of their own, and as many prompts. */
  maxNames?: number;
}

export interface Metrics {
  /** To be told of events. */
  readonly events: Events;
  /** To watch calls. */
  readonly calls: Calls;
  /**
   * One verb of the session store was carried out. `failure` as in `FailureKind` of the session store, when it was not.
   */
  storeCall(operation: string, seconds: number, failure?: string): void;
  /** Tools that a server has; without it they are learned from its answers to `tools/list`. */
  knownTools(server: string, names: Iterable<string>): void;
  /** All metrics in Prometheus' text format. Those who ask meanwhile are given the same. */
  scrape(): Promise<Scrape>;
  /** From now on nothing is counted, and a scrape has metrics of the process alone. Safe to call twice. */
  close(): void;
}

export interface Scrape {
  contentType: string;
  body: string;
}

/** Counts what happens in the gateway, for Prometheus. It has a registry of its own. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { version, node, instanceId, readings, maxNames = 300 } = options;
  const registry = new Registry();
  const calls = createCallMetrics(maxNames);
  const store = createStoreMetrics();
  const counted = createEventMetrics(registry);
  /** By server; one that is not here has never failed so often that it was left alone. */
  const circuits = new Map<string, CircuitState>();
  const noted: Events = {
    emit: (event) => event.type === "server_circuit" && circuits.set(event.server, event.state),
  };
  addGauges(registry, readings, (server) => circuits.get(server) ?? "closed");
  new Gauge({
    name: "mcp_gateway_build_info",
    help: "Always 1. Its labels say what runs.",
    labelNames: ["version", "node", "instance_id"],
    registers: [registry],
  }).set({ version, node, instance_id: instanceId }, 1);

  let running: Promise<Scrape> | undefined;
  let isClosed = false;

  async function collect(): Promise<Scrape> {
    const [own, ofProcess] = await Promise.all([registry.metrics(), processMetrics().metrics()]);
    const parts = [own, calls.text(), store.text(readings.store().kind), ofProcess];
    return { contentType: registry.contentType, body: isClosed ? ofProcess : parts.join("\n") };
  }

  return {
    events: tellAll([counted, noted]),
    calls: { begin: (call) => (isClosed ? undefined : calls.begin(call)) },
    knownTools: (server, names) => calls.knownTools(server, names),
    storeCall: (operation, seconds, failure) => store.call(operation, seconds, failure),
    scrape: () => (running ??= collect().finally(() => (running = undefined))),
    close() {
      isClosed = true;
      registry.clear();
    },
  };
}
