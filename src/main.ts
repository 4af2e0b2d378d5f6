#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { config as loadEnvFile } from "dotenv";
import { banner } from "./banner.ts";
import { HELP, readCommandLine } from "./command-line.ts";
import { loadConfig, type Config } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { startGateway, type Gateway } from "./gateway.ts";
import { createLog, type Log } from "./log.ts";

/** Beyond the drain's own budget: ending children and saying goodbye to the store. */
const LAST_SECONDS = 15;
/** npm and terminals pass one Ctrl-C on twice; a second one that comes later means it. */
const SAME_SIGNAL_MS = 500;

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

/** Ends the process as soon as nothing is left to do, so that the last log lines are written. */
function obeySignals(gateway: Gateway, config: Config, log: Log): void {
  let firstAt: number | undefined;
  const end = (exitCode: number) => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt > SAME_SIGNAL_MS) process.exit(exitCode || 130);
    firstAt ??= now;
    process.exitCode = exitCode;
    setTimeout(() => process.exit(1), (config.drainSeconds + LAST_SECONDS) * 1000).unref();
    gateway.close().catch((error: unknown) => {
      log.error({ err: error }, "gateway did not close");
      process.exit(1);
    });
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => end(0));
  // Nothing is known of a process in which something unforeseen was thrown, so it leaves; the platform starts another.
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "unforeseen error: draining");
    if (firstAt === undefined) end(1);
    else process.exitCode = 1;
  });
}

async function main(): Promise<void> {
  // A log reader that goes away must not take the gateway with it.
  process.stdout.on("error", () => undefined);
  process.stderr.on("error", () => undefined);
  const commandLine = readCommandLine(process.argv.slice(2));
  if (commandLine.help || commandLine.version) {
    process.stdout.write(commandLine.help ? HELP : `${version}\n`);
    return;
  }
  const { error } = loadEnvFile({ quiet: true });
  if (error !== undefined && error.code !== "ENOENT")
    throw new ConfigError([".env is there and cannot be read."]);
  const config = loadConfig(process.env, commandLine);
  // Read once, then forgotten: nothing started from here inherits a key.
  delete process.env["MCP_API_KEY"];
  delete process.env["MCP_API_KEYS"];

  const log = createLog(config.logLevel);
  for (const warning of config.warnings) log.warn(warning);
  const gateway = await startGateway(config, { log, env: process.env });
  obeySignals(gateway, config, log);
  const url = (config.http.publicUrl ?? `http://localhost:${gateway.port}`).replace(/\/$/, "");
  const server = config.server.command?.join(" ") ?? "the built-in demo server";
  log.info(
    { instance: gateway.instanceId, version, port: gateway.port, url: `${url}/mcp/sse` },
    "gateway listening",
  );
  // Standard output is the log's; machines read it.
  if (config.drawnKey !== undefined || process.stderr.isTTY) {
    process.stderr.write(banner({ version, url, drawnKey: config.drawnKey, server }));
  }
}

main().catch((error: unknown) => {
  const isConfig = error instanceof ConfigError;
  const { code, port } = error as NodeJS.ErrnoException & { port?: number };
  if (isConfig)
    process.stderr.write(
      `mcp-sse-gateway cannot start:\n${error.problems.map((line) => `  ${line}\n`).join("")}`,
    );
  else if (code === "EADDRINUSE")
    process.stderr.write(`mcp-sse-gateway cannot start: port ${port} is taken. Set PORT or --port.\n`);
  else
    process.stderr.write(
      `mcp-sse-gateway cannot start: ${error instanceof Error ? (error.stack ?? error.message) : "unknown error"}\n`,
    );
  process.exitCode = isConfig || code === "EADDRINUSE" ? 2 : 1;
});
