import { Counter, Gauge, type Registry } from "prom-client";
import type { Readings, StoreReading } from "./readings.ts";

/** How a breaker's state is told as a number. */
const STATES = { closed: 0, "half-open": 1, open: 2 } as const;
export type CircuitState = keyof typeof STATES;

interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The metrics that are read when they are asked for. `circuitOf` knows of each server whether it is left alone. */
export function addGauges(
  registry: Registry,
  readings: Readings,
  circuitOf: (server: string) => CircuitState,
): void {
  const gauge = (name: string, help: string, read: () => readonly Sample[], ...labelNames: string[]): void =>
    void new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        this.remove({});
        for (const { labels = {}, value } of read()) this.set(labels, value);
      },
    });
  const counter = (name: string, help: string, read: () => readonly Sample[]): void =>
    void new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.remove({});
        for (const { value } of read()) this.inc(value);
      },
    });

  gauge(
    "mcp_gateway_sessions",
    "Sessions on this instance. orphan: waits for its client to come back.",
    () => {
      const { open, orphan } = readings.sessions();
      return [
        { labels: { state: "open" }, value: open },
        { labels: { state: "orphan" }, value: orphan },
      ];
    },
    "state",
  );
  gauge("mcp_gateway_sessions_limit", "Sessions that this instance holds at most.", () =>
    one(readings.sessions().limit),
  );
  gauge("mcp_gateway_sse_streams", "Streams to clients that are open.", () => one(readings.streams()));

  const perServer = (read: (server: { name: string; inFlight: number }) => number) => () =>
    [...readings.servers()].map((server) => ({ labels: { upstream: server.name }, value: read(server) }));
  gauge(
    "mcp_gateway_inflight_requests",
    "Requests that a server has not answered.",
    perServer(({ inFlight }) => inFlight),
    "upstream",
  );
  gauge(
    "mcp_gateway_upstream_up",
    "0 from when a server is left alone because it failed again and again until it works.",
    perServer(({ name }) => (circuitOf(name) === "closed" ? 1 : 0)),
    "upstream",
  );
  gauge(
    "mcp_gateway_upstream_circuit_state",
    "0: closed, 1: half-open, 2: open.",
    perServer(({ name }) => STATES[circuitOf(name)]),
    "upstream",
  );

  const ofStore = (read: (store: StoreReading) => number | boolean | undefined) => () => {
    const store = readings.store();
    return one(read(store)).map((sample) => ({ ...sample, labels: { store: store.kind } }));
  };
  gauge(
    "mcp_gateway_store_up",
    "Whether the session store serves.",
    ofStore(({ breaker }) => breaker === "closed"),
    "store",
  );
  gauge(
    "mcp_gateway_store_breaker_state",
    "0: closed, 1: half-open, 2: open.",
    ofStore(({ breaker }) => STATES[breaker]),
    "store",
  );
  gauge("mcp_gateway_store_fallback", "1 while memory does the work of the store.", () =>
    one(readings.store().isFallback),
  );
  gauge("mcp_gateway_lease_age_seconds", "How long ago this instance's lease was renewed.", () =>
    one(readings.store().leaseAgeSeconds),
  );
  gauge("mcp_gateway_mirror_queued", "Writes that wait for the mirror.", () =>
    one(readings.store().mirror?.queued),
  );
  counter("mcp_gateway_mirror_dropped_total", "Writes to the mirror that were given up.", () =>
    one(readings.store().mirror?.dropped),
  );
  gauge("mcp_gateway_mirror_lag_seconds", "Age of the oldest write that waits for the mirror.", () =>
    one(readings.store().mirror?.lagSeconds),
  );
  gauge(
    "mcp_gateway_mirror_divergent_entries",
    "Entries that the last comparison of the mirror found different.",
    () => one(readings.store().mirror?.divergent),
  );
  gauge("mcp_gateway_mirror_reading", "1 while reads are answered by the mirror.", () =>
    one(readings.store().mirror?.isReading),
  );

  gauge(
    "mcp_gateway_alert_active",
    "1 from when an alert has begun until it ends.",
    () => [...readings.alerts()].map(({ name, isActive }) => ({ labels: { alert: name }, value: +isActive })),
    "alert",
  );
  counter("mcp_gateway_audit_records_total", "Audit records that were written.", () =>
    one(readings.audit()?.records),
  );
  counter("mcp_gateway_audit_lost_total", "Audit records that could not be written.", () =>
    one(readings.audit()?.lost),
  );
}

/** One sample, or none of what is not there. */
const one = (value: number | boolean | undefined): Sample[] =>
  value === undefined ? [] : [{ value: Number(value) }];
