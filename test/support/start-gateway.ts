import { PassThrough } from "node:stream";
import { loadConfig } from "../../src/config.ts";
import { startGateway, type Gateway } from "../../src/gateway.ts";
import { createLog } from "../../src/log.ts";

/** The key of the caller `default` in tests. */
export const KEY = "test-key-of-the-default-caller-0123456789";
/** The key of another caller, `other`. */
export const OTHER_KEY = "test-key-of-another-caller-0123456789abcd";

export interface TestGateway {
  /** Base URL, without a slash at the end. */
  url: string;
  port: number;
  gateway: Gateway;
  /** Everything it has logged, parsed. */
  logs(): Record<string, unknown>[];
  /** The same, as it was written. */
  logText(): string;
  close(): Promise<void>;
}

export interface TestGatewayOptions {
  /** Settings, as in the environment. */
  env?: Record<string, string>;
  /** Argv of the stdio server; the built-in server when left out. */
  command?: string[];
  thinPath?: boolean;
}

/** Starts a gateway in this process, on a free port of 127.0.0.1. */
export async function startTestGateway({
  env = {},
  command,
  thinPath = true,
}: TestGatewayOptions = {}): Promise<TestGateway> {
  const out = new PassThrough();
  let text = "";
  out.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const settings = {
    PORT: "0",
    HOST: "127.0.0.1",
    MCP_API_KEY: KEY,
    MCP_API_KEYS: `other=${OTHER_KEY}`,
    DRAIN_SECONDS: "1",
  };
  const config = loadConfig({ ...settings, ...env }, { command });
  const gateway = await startGateway(config, {
    log: createLog(config.logLevel, out),
    env: process.env,
    version: "0.0.0",
    thinPath,
  });
  return {
    url: `http://127.0.0.1:${gateway.port}`,
    port: gateway.port,
    gateway,
    logs: () =>
      text
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    logText: () => text,
    close: () => gateway.close(),
  };
}
