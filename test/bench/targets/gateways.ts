import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type Target, pathOf } from "../target.ts";

const FAST_CHILD = pathOf("../floors/fast-child.mjs", import.meta.url);
const GATEWAY = pathOf("../../../dist/main.js", import.meta.url);
const GATEWAY_THROUGH_EXPRESS = pathOf("../gateway-through-express.mjs", import.meta.url);

const key = randomBytes(32).toString("hex");
const ENV = {
  MCP_API_KEY: key,
  HOST: "127.0.0.1",
  MAX_SESSIONS: "20000",
  MAX_SESSIONS_PER_KEY: "20000",
  MAX_CHILDREN: "1000",
};
/** Log, outbox and alerts are as they are by default, so that it is measured as it is run. */
const USUAL = { METRICS_TOKEN: key };
const UNWATCHED = {
  LOG_LEVEL: "silent",
  ALERT_ERROR_PERCENT: "0",
  ALERT_SESSIONS_PERCENT: "0",
  ALERT_SLOW_READERS: "0",
  ALERT_SERVER_RESTARTS: "0",
};
const AUDIT_LOG = `bench-audit-${process.pid}-`;
const WATCHED = {
  ...USUAL,
  ALERT_LATENCY_MS: "1000",
  AUDIT_LOG: join(tmpdir(), `${AUDIT_LOG}{instance}.log`),
};
const SHARED = { ...USUAL, MCP_SERVER_MODEL: "shared" };
const CHILD = ["--", process.execPath, FAST_CHILD];

/** The gateway, as it is built in dist/, in front of the fast child or of the built-in server. */
export const GATEWAYS: readonly Target[] = [
  gateway("gateway", CHILD),
  gateway("gateway-streamable", CHILD, { transport: "streamable" }),
  gateway("gateway-shared", CHILD, { env: SHARED }),
  gateway("gateway-shared-streamable", CHILD, { env: SHARED, transport: "streamable" }),
  gateway("gateway-express", CHILD, { script: GATEWAY_THROUGH_EXPRESS }),
  // What it costs to watch: the same gateway with everything off that watches it, and with everything on.
  gateway("gateway-unwatched", CHILD, { env: UNWATCHED }),
  gateway("gateway-watched", CHILD, { env: WATCHED }),
  // Without a command it serves the built-in server: no children, so that thousands of sessions can be open.
  gateway("gateway-builtin", []),
  gateway("gateway-builtin-streamable", [], { transport: "streamable" }),
];

interface Variant {
  script?: string;
  env?: Record<string, string>;
  transport?: Target["transport"];
}

function gateway(
  name: string,
  words: readonly string[],
  { script = GATEWAY, env = USUAL, transport = "sse" }: Variant = {},
): Target {
  return {
    name,
    transport,
    path: transport === "sse" ? "/mcp/sse" : "/mcp",
    script: (port) => [script, "--port", String(port), ...words],
    env: { ...ENV, ...env },
    headers: { "X-API-Key": key },
    ready: "answers /health",
    missing: () => (existsSync(GATEWAY) ? undefined : "dist/main.js is not built"),
  };
}

// Each instance names its file anew.
process.once("exit", () => {
  for (const name of readdirSync(tmpdir())) if (name.startsWith(AUDIT_LOG)) rmSync(join(tmpdir(), name));
});
