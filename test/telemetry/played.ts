import type { GatewayEvent } from "../../src/events.ts";
import { createMetrics, type Metrics } from "../../src/telemetry/metrics.ts";
import type { Readings } from "../../src/telemetry/readings.ts";

/** A gateway with everything on, at its worst. */
export const READINGS: Readings = {
  sessions: () => ({ open: 3, orphan: 2, limit: 100 }),
  streams: () => 4,
  servers: () => [
    { name: "files", inFlight: 1 },
    { name: "mail", inFlight: 0 },
  ],
  store: () => ({
    kind: "redis",
    breaker: "open",
    leaseAgeSeconds: 7,
    isFallback: true,
    mirror: { queued: 5, dropped: 2, lagSeconds: 1.5, divergent: 3, isReading: true },
  }),
  alerts: () => [
    { name: "latency", isActive: true },
    { name: "slow_readers", isActive: false },
  ],
  audit: () => ({ records: 11, lost: 1 }),
};

const session = { session: "s", caller: "alice" };

/** One of every event that there is. */
export const EVENTS: readonly GatewayEvent[] = [
  { type: "session_opened", server: "files", transport: "sse", address: "192.0.2.1", ...session },
  { type: "session_adopted", where: "other_instance", address: "192.0.2.1", ...session },
  { type: "session_claimed", epoch: 2, ...session },
  { type: "session_handed_over", ...session },
  { type: "session_closed", server: "files", end: "client_gone", seconds: 60, ...session },
  { type: "session_closed", server: "files", end: "upstream_exited", seconds: 7200, ...session },
  { type: "credential_refused", reason: "api_key_invalid", shown: "bearer", address: "192.0.2.1" },
  { type: "session_foreign", session: "s", caller: "mallory", address: "192.0.2.1" },
  { type: "session_refused", caller: "alice", reason: "too_many_sessions", address: "192.0.2.1" },
  { type: "key_added", caller: "alice", key: "k" },
  { type: "operator_action", action: "close", target: "s", outcome: "done" },
  { type: "stream_opened", transport: "sse" },
  { type: "stream_closed", transport: "sse", end: "slow_reader" },
  { type: "server_restarted", server: "files", why: "upstream_exited" },
  { type: "server_circuit", server: "mail", state: "open" },
  { type: "relay", direction: "sent", outcome: "answered", seconds: 0.004 },
  { type: "store_down", store: "redis", kind: "unreachable" },
  { type: "store_up", store: "redis", kind: "unreachable" },
];

export const requestOf = (method: string, params?: unknown): Buffer =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, method, ...(params === undefined ? {} : { params }) }));

export const resultOf = (result: unknown): Buffer =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, result }));

/** Plays one call to its end. */
export function play(
  { calls }: Pick<Metrics, "calls">,
  message: Buffer,
  outcome: { answer?: Buffer; failed?: boolean; reason?: string } = { answer: resultOf({}) },
  server = "files",
): void {
  const { method } = JSON.parse(message.toString()) as { method: string };
  const call = { server, method, message, id: "1", session: "s", transport: "sse" } as const;
  calls.begin(call)?.end({ failed: false, ...outcome });
}

/** Metrics of a gateway in which everything has happened once. */
export function playedMetrics(readings: Readings = READINGS): Metrics {
  const metrics = createMetrics({ version: "1.2.3", node: "20.0.0", instanceId: "i-1", readings });
  for (const event of EVENTS) metrics.events.emit(event);
  metrics.storeCall("putLease", 0.002);
  metrics.storeCall("get", 1, "unreachable");
  metrics.knownTools("files", ["read"]);
  play(metrics, requestOf("tools/call", { name: "read" }));
  play(metrics, requestOf("tools/call", { name: "read" }), { answer: resultOf({ isError: true }) });
  play(metrics, requestOf("prompts/list"), { answer: resultOf({ prompts: [{ name: "greet" }] }) });
  play(metrics, requestOf("prompts/get", { name: "greet" }));
  return metrics;
}
