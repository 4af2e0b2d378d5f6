import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A server to be measured: how it is started and how one knows that it is ready. */
export interface Target {
  name: string;
  /** The words after `node`. */
  script(port: number): string[];
  env: Record<string, string>;
  /** Sent with the GET and with every POST. */
  headers: Record<string, string>;
  ready: "prints JSON" | "answers /health";
  /** Why it cannot be started now; undefined when it can. */
  missing(): string | undefined;
}

const FAST_CHILD = pathOf(new URL("./floors/fast-child.mjs", import.meta.url));
const GATEWAY = pathOf(new URL("../../dist/main.js", import.meta.url));
const GATEWAY_THROUGH_EXPRESS = pathOf(new URL("./gateway-through-express.mjs", import.meta.url));

const key = randomBytes(32).toString("hex");
const gatewayEnv = {
  MCP_API_KEY: key,
  HOST: "127.0.0.1",
  MAX_SESSIONS: "20000",
  MAX_SESSIONS_PER_KEY: "20000",
  MAX_CHILDREN: "1000",
  LOG_LEVEL: "warn",
};
const childCommand = ["--", process.execPath, FAST_CHILD];

export const TARGETS: readonly Target[] = [
  floor("sse-echo", new URL("./floors/sse-echo.mjs", import.meta.url)),
  floor("sse-bridge", new URL("./floors/sse-bridge.mjs", import.meta.url)),
  floor("express-echo", new URL("./floors/express-echo.mjs", import.meta.url)),
  gateway("gateway", (port) => [GATEWAY, "--port", String(port), ...childCommand]),
  gateway("gateway-express", (port) => [GATEWAY_THROUGH_EXPRESS, "--port", String(port), ...childCommand]),
  // What it costs to watch: the same gateway with everything off that watches it, and with everything on.
  gateway("gateway-unwatched", (port) => [GATEWAY, "--port", String(port), ...childCommand], {
    ALERT_ERROR_PERCENT: "0",
  }),
  gateway("gateway-watched", (port) => [GATEWAY, "--port", String(port), ...childCommand], {
    ALERT_LATENCY_MS: "1000",
    METRICS_TOKEN: key,
    AUDIT_LOG: join(tmpdir(), `bench-audit-${process.pid}-{instance}.log`),
  }),
  // Without a command it serves the built-in server: no children, so that thousands of sessions can be open.
  gateway("gateway-builtin", (port) => [GATEWAY, "--port", String(port)]),
];

export function findTargets(names: readonly string[]): Target[] {
  return names.map((name) => {
    const target = TARGETS.find((candidate) => candidate.name === name);
    if (target === undefined) throw new Error(`no target is called ${name}`);
    return target;
  });
}

function floor(name: string, script: URL): Target {
  return {
    name,
    script: () => [pathOf(script)],
    env: {},
    headers: {},
    ready: "prints JSON",
    missing: () => undefined,
  };
}

function gateway(name: string, script: Target["script"], env: Record<string, string> = {}): Target {
  return {
    name,
    script,
    env: { ...gatewayEnv, ...env },
    headers: { "X-API-Key": key },
    ready: "answers /health",
    missing: () => (existsSync(GATEWAY) ? undefined : "dist/main.js is not built"),
  };
}

function pathOf(url: URL): string {
  return fileURLToPath(url);
}
