import { expect, it } from "vitest";
import { register } from "prom-client";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { EVENTS, playedMetrics, READINGS } from "./played.ts";
import { Scraped } from "./scraped.ts";

const scrapeOf = async (metrics: ReturnType<typeof playedMetrics>) =>
  new Scraped((await metrics.scrape()).body);

it("tells everything that has happened, in a text that another project's parser reads", async () => {
  const metrics = playedMetrics();
  const { contentType, body } = await metrics.scrape();
  expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  const scraped = new Scraped(body);
  const told = (name: string, labels?: Record<string, string>) =>
    scraped.value(`mcp_gateway_${name}`, labels);
  const once = {
    opened: told("sessions_opened_total", { transport: "sse" }),
    gone: told("sessions_closed_total", { reason: "client_gone" }),
    refused: told("sessions_refused_total", { reason: "too_many_sessions" }),
    foreign: told("sessions_foreign_total"),
    adopted: told("session_adoptions_total", { result: "other_instance" }),
    claimed: told("session_adoptions_total", { result: "claimed" }),
    handedOver: told("sessions_handed_over_total"),
    auth: told("auth_total", { method: "bearer", result: "api_key_invalid" }),
    keys: told("key_changes_total", { change: "added" }),
    streams: told("sse_streams_opened_total", { transport: "sse" }),
    slow: told("sse_streams_closed_total", { reason: "slow_reader" }),
    restarts: told("upstream_restarts_total", { upstream: "files", reason: "upstream_exited" }),
    tripped: told("upstream_circuit_opened_total", { upstream: "mail" }),
    relayed: told("relay_messages_total", { direction: "sent", outcome: "answered" }),
    relayTook: told("relay_latency_seconds_count"),
    outages: told("store_outages_total", { kind: "unreachable" }),
    operations: told("store_operation_duration_seconds_count", { store: "redis", op: "putLease" }),
    errors: told("store_errors_total", { store: "redis", kind: "unreachable" }),
    info: told("build_info", { version: "1.2.3", node: "20.0.0", instance_id: "i-1" }),
  };
  expect(once).toEqual(Object.fromEntries(Object.keys(once).map((key) => [key, 1])));
  expect(scraped.value("mcp_server_session_duration_seconds_count", { error_type: "upstream_exited" })).toBe(
    1,
  );
  expect(scraped.value("mcp_server_session_duration_seconds_count", { error_type: "" })).toBe(1);
});

it("reads what stands elsewhere when it is asked, and then only", async () => {
  const scraped = await scrapeOf(playedMetrics());
  const value = (name: string) =>
    scraped
      .series(`mcp_gateway_${name}`)
      .map((one) => [...Object.values(one.labels ?? {}), Number(one.value)]);
  expect(Object.fromEntries(Object.keys(READ).map((name) => [name, value(name)]))).toEqual(READ);
  expect(scraped.value("mcp_gateway_lease_age_seconds")).toBe(7);
  expect(scraped.value("mcp_gateway_mirror_lag_seconds")).toBe(1.5);

  let asked = 0;
  const readings = { ...READINGS, streams: () => (asked += 1) };
  const metrics = createMetrics({ version: "1", node: "20", instanceId: "i", readings });
  expect(asked).toBe(0);
  await metrics.scrape();
  expect((await scrapeOf(metrics)).value("mcp_gateway_sse_streams")).toBe(2);
});

it("tells which store it is, also of calls from before that could be asked", async () => {
  let kind = "memory";
  const readings = { ...READINGS, store: () => ({ kind, breaker: "closed" as const }) };
  const metrics = createMetrics({ version: "1", node: "20", instanceId: "i", readings });
  metrics.storeCall("ready", 0.001);
  kind = "redis";
  metrics.storeCall("ready", 0.001);
  const scraped = await scrapeOf(metrics);
  expect(scraped.value("mcp_gateway_store_operation_duration_seconds_count", { store: "redis" })).toBe(2);
});

it("leaves out what is not set up", async () => {
  const readings = {
    ...READINGS,
    store: () => ({ kind: "memory", breaker: "closed" as const }),
    audit: () => undefined,
  };
  const scraped = await scrapeOf(createMetrics({ version: "1", node: "20", instanceId: "i", readings }));
  for (const name of [
    "store_fallback",
    "lease_age_seconds",
    "mirror_queued",
    "mirror_dropped_total",
    "audit_lost_total",
  ])
    expect(scraped.series(`mcp_gateway_${name}`), name).toEqual([]);
  expect(scraped.value("mcp_gateway_store_up", { store: "memory" })).toBe(1);
  expect(scraped.value("mcp_gateway_upstream_up", { upstream: "mail" })).toBe(1);
});

it("has metrics of the process once, however many gateways are in it, and touches no registry of others", async () => {
  const [one, other] = await Promise.all([scrapeOf(playedMetrics()), scrapeOf(playedMetrics())]);
  for (const scraped of [one, other])
    for (const name of ["process_resident_memory_bytes", "nodejs_eventloop_lag_p99_seconds"])
      expect(scraped.value(name), name).toBeGreaterThan(0);
  expect(register.getMetricsAsArray()).toEqual([]);
});

it("gives those who ask at once the same scrape, and the next one another", async () => {
  const metrics = playedMetrics();
  const [one, other] = await Promise.all([metrics.scrape(), metrics.scrape()]);
  expect(other).toBe(one);
  expect(await metrics.scrape()).not.toBe(one);
});

it("stays bounded when words come that nobody has foreseen", async () => {
  const metrics = playedMetrics();
  for (let at = 0; at < 10_000; at += 1) {
    const word = `word-${at}`;
    const session = { session: word, caller: word };
    metrics.events.emit({ type: "session_closed", server: "files", end: word, seconds: 1, ...session });
    metrics.events.emit({ type: "credential_refused", reason: word, shown: "query", address: word });
    metrics.events.emit({ type: "server_restarted", server: "files", why: word });
    metrics.events.emit({ type: "relay", direction: "sent", outcome: word });
    metrics.storeCall(word, 0.1, word);
  }
  const { body } = await metrics.scrape();
  const series = body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(series.length).toBeLessThan(5000);
  expect(body).not.toContain("word-9999");
});

it("tells no session, caller, address or key", async () => {
  const metrics = createMetrics({ version: "1", node: "20", instanceId: "i", readings: READINGS });
  const marked = JSON.parse(
    JSON.stringify(EVENTS).replaceAll(/"(session|caller|address|key|target)":"[^"]*"/g, '"$1":"SECRET"'),
  ) as typeof EVENTS;
  for (const event of marked) metrics.events.emit(event);
  expect((await metrics.scrape()).body).not.toContain("SECRET");
});

it("counts nothing more once it is closed", async () => {
  const metrics = playedMetrics();
  metrics.close();
  metrics.close();
  for (const event of EVENTS) metrics.events.emit(event);
  expect(metrics.calls.begin({} as never)).toBeUndefined();
  expect((await metrics.scrape()).body).not.toContain("mcp_");
});

const READ = {
  sessions: [
    ["open", 3],
    ["orphan", 2],
  ],
  sessions_limit: [[100]],
  sse_streams: [[4]],
  inflight_requests: [
    ["files", 1],
    ["mail", 0],
  ],
  upstream_up: [
    ["files", 1],
    ["mail", 0],
  ],
  upstream_circuit_state: [
    ["files", 0],
    ["mail", 2],
  ],
  store_up: [["redis", 0]],
  store_breaker_state: [["redis", 2]],
  store_fallback: [[1]],
  mirror_queued: [[5]],
  mirror_dropped_total: [[2]],
  mirror_divergent_entries: [[3]],
  mirror_reading: [[1]],
  alert_active: [
    ["latency", 1],
    ["slow_readers", 0],
  ],
  audit_records_total: [[11]],
  audit_lost_total: [[1]],
};
