/**
 * A real Prometheus scrapes the gateway's metrics, with our rules, and is asked every question of our dashboard. To be
 * run by hand: `npx tsx test/telemetry/prometheus.story.mts`, with `prometheus` on the PATH. It takes half a minute.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listenForMetrics } from "../../src/http/metrics.ts";
import { createLog } from "../../src/log.ts";
import { eventually } from "../support/eventually.ts";
import { EVENTS, play, playedMetrics, READINGS, requestOf, resultOf } from "./played.ts";

const DOCS = join(import.meta.dirname, "../../docs");
/** Those without a `for`, which fire as soon as they are true. */
const EXPECTED = [
  "McpGatewayAuditRecordsLost",
  "McpGatewayMirrorDropped",
  "McpGatewayServerCrashLoops",
  "McpGatewaySlowReaders",
  "McpGatewayStoreErrors",
];
const PENDING = [
  "McpGatewayFallbackInUse",
  "McpGatewayMirrorReads",
  "McpGatewayRaisedAlert",
  "McpGatewayServerLeftAlone",
  "McpGatewayStoreDown",
];

interface Panel {
  title: string;
  targets?: { expr: string }[];
}

const told = (line: string): void => void process.stdout.write(`${line}\n`);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const counts = { records: 11, dropped: 0, lost: 0 };
const mirror = () => ({ queued: 5, dropped: counts.dropped, lagSeconds: 1.5, divergent: 3, isReading: true });
const metrics = playedMetrics({
  ...READINGS,
  audit: () => counts,
  store: () => ({ ...READINGS.store(), mirror: mirror() }),
});
const scraped = await listenForMetrics({
  port: 0,
  host: "127.0.0.1",
  scrape: metrics.scrape,
  log: createLog("warn"),
});
const folder = mkdtempSync(join(tmpdir(), "prometheus-story-"));
const config = {
  global: { scrape_interval: "1s", evaluation_interval: "1s" },
  rule_files: [join(DOCS, "alert-rules.yml")],
  scrape_configs: [
    { job_name: "mcp-sse-gateway", static_configs: [{ targets: [`127.0.0.1:${scraped.port}`] }] },
  ],
};
// JSON is YAML.
writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(config));
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
let prometheus: ChildProcess | undefined;

async function ask<T>(path: string): Promise<T> {
  const answer = (await (await fetch(url + path)).json()) as { status: string; data: T; error?: string };
  if (answer.status !== "success") throw new Error(`${path}: ${answer.error}`);
  return answer.data;
}

async function alerts(state: string): Promise<string[]> {
  const data = await ask<{ alerts: { state: string; labels: { alertname: string } }[] }>("/api/v1/alerts");
  return [
    ...new Set(data.alerts.filter((one) => one.state === state).map((one) => one.labels.alertname)),
  ].sort();
}

try {
  prometheus = spawn(
    "prometheus",
    [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=warn",
    ],
    { stdio: "inherit" },
  );
  await eventually(async () => (await fetch(`${url}/-/ready`)).ok, 20_000);
  const up = () => ask<{ result: { value: [number, string] }[] }>("/api/v1/query?query=up");
  await eventually(async () => (await up()).result[0]?.value[1] === "1", 20_000);
  told("Prometheus scrapes the gateway.");
  await eventually(async () => (await alerts("firing")).length === 0);

  const trouble = setInterval(() => {
    for (const event of EVENTS) metrics.events.emit(event);
    metrics.storeCall("get", 1, "unreachable");
    for (let call = 0; call < 20; call += 1) play(metrics, requestOf("tools/call", { name: "read" }));
    play(metrics, requestOf("tools/call", { name: "read" }), { answer: resultOf({ isError: true }) });
    play(metrics, requestOf("prompts/get", { name: "greet" }));
    counts.dropped += 1;
    counts.lost += 1;
  }, 500);
  try {
    await eventually(async () => {
      const firing = await alerts("firing");
      return EXPECTED.every((name) => firing.includes(name));
    }, 60_000);
  } finally {
    clearInterval(trouble);
  }
  told(`Firing: ${(await alerts("firing")).join(", ")}`);
  const pending = await alerts("pending");
  told(`Pending: ${pending.join(", ")}`);
  const late = PENDING.filter((name) => !pending.includes(name));
  if (late.length > 0) throw new Error(`not even pending: ${late.join(", ")}`);

  const { panels } = JSON.parse(readFileSync(join(DOCS, "grafana-dashboard.json"), "utf8")) as {
    panels: Panel[];
  };
  let asked = 0;
  const empty: string[] = [];
  for (const { title, targets = [] } of panels) {
    for (const { expr } of targets) {
      const query = expr.replaceAll(/\$(?:instance|upstream)/g, ".*").replaceAll("$__rate_interval", "30s");
      const { result } = await ask<{ result: unknown[] }>(`/api/v1/query?query=${encodeURIComponent(query)}`);
      asked += 1;
      if (result.length === 0) empty.push(`${title}: ${expr}`);
    }
  }
  told(`The dashboard's ${asked} questions are answered; ${empty.length} with nothing.`);
  for (const question of empty) told(`  ${question}`);
  if (empty.length > 0) process.exitCode = 1;
} finally {
  if (prometheus !== undefined && prometheus.exitCode === null) {
    prometheus.kill("SIGTERM");
    await once(prometheus, "exit");
  }
  await scraped.close();
  rmSync(folder, { recursive: true, force: true });
}
