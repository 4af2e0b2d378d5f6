import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { freePort } from "../support/redis-server.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { askedBy } from "../telemetry/expressions.ts";
import { Scraped } from "../telemetry/scraped.ts";

const TOKEN = "token-for-scrapes";
const DOCS = join(import.meta.dirname, "../../docs");
const CALLS = 10_000;
const AT_ONCE = 50;

const TOOK = "mcp_server_operation_duration_seconds_count";

/** What a scrape of this gateway says. */
async function scrape(url: string): Promise<string> {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } });
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  return answer.text();
}

describe("a gateway that is scraped", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ env: { METRICS_TOKEN: TOKEN } });
  });
  afterAll(() => gateway.close());

  it("counts what its clients do, and gives ten thousand names that no server has one series", async () => {
    const stream = await openTestStream(gateway.url);
    await stream.initialize();
    await stream.call("list", "tools/list");
    const before = new Scraped(await scrape(gateway.url)).count("mcp_");
    for (let from = 0; from < CALLS; from += AT_ONCE) {
      const names = Array.from({ length: AT_ONCE }, () => crypto.randomUUID());
      await Promise.all(names.map((name) => stream.call(name, "tools/call", { name, arguments: {} })));
    }
    await stream.call("echo", "tools/call", { name: "echo", arguments: { text: "x" } });
    const text = await scrape(gateway.url);
    const scraped = new Scraped(text);
    const toolCalls = { mcp_method_name: "tools/call" };
    const unknown = scraped.series(TOOK, { ...toolCalls, gen_ai_tool_name: "other" });
    expect(unknown.reduce((sum, { value }) => sum + Number(value), 0)).toBe(CALLS);
    expect(scraped.value(TOOK, { ...toolCalls, gen_ai_tool_name: "echo" })).toBe(1);
    expect(scraped.value("mcp_gateway_sessions", { state: "open" })).toBe(1);
    expect(scraped.count("mcp_") - before, "two histograms' worth of series").toBeLessThan(60);
    expect(text).not.toContain(KEY);
    expect(text).not.toContain(stream.sessionId);
    stream.cut();
  }, 60_000);

  it("shows the metrics to nobody without the token, whatever key they have", async () => {
    for (const headers of [
      {},
      { "x-api-key": KEY },
      { authorization: `Bearer ${KEY}` },
      { authorization: "" },
    ]) {
      const answer = await fetch(`${gateway.url}/metrics`, { headers: headers as Record<string, string> });
      expect(answer.status).toBe(401);
    }
    const asKey = await fetch(`${gateway.url}/mcp/sse`, { headers: { authorization: `Bearer ${TOKEN}` } });
    expect(asKey.status).toBe(401);
  });

  it("has every metric that the dashboard and the alert rules of the documents ask for", async () => {
    const told = new Set(
      [...(await scrape(gateway.url)).matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name),
    );
    const rules = readFileSync(join(DOCS, "alert-rules.yml"), "utf8");
    const dashboard = readFileSync(join(DOCS, "grafana-dashboard.json"), "utf8");
    const { panels } = JSON.parse(dashboard) as { panels: { targets?: { expr: string }[] }[] };
    const asked = [
      ...panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => [...askedBy(expr).metrics])),
      ...[...rules.matchAll(/\bmcp_(?:gateway|server)_\w+/g)].map(([name]) => name),
    ];
    const ours = new Set(asked.filter((name) => name.startsWith("mcp_")));
    expect(ours.size).toBeGreaterThan(20);
    const optional = /_(fallback|mirror_|audit_)/;
    const missing = [...ours].filter(
      (name) =>
        !told.has(name) && !told.has(name.replace(/_(bucket|sum|count)$/, "")) && !optional.test(name),
    );
    expect(missing).toEqual([]);
  });
});

describe("a gateway with a port for metrics", () => {
  it("answers them there without a key, nothing else there, and none on the other port", async () => {
    const port = await freePort();
    const gateway = await startTestGateway({ env: { METRICS_PORT: String(port) } });
    onTestFinished(() => gateway.close());
    const at = `http://127.0.0.1:${port}`;
    expect((await fetch(`${at}/metrics`)).status).toBe(200);
    expect((await fetch(`${at}/mcp/sse`, { headers: { "x-api-key": KEY } })).status).toBe(404);
    expect((await fetch(`${gateway.url}/metrics`)).status).toBe(404);
  });
});
