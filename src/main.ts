#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { config as loadEnvFile } from "dotenv";
import { banner, behind } from "./banner.ts";
import { COMMANDS } from "./cli/command-names.ts";
import { HELP, readCommandLine } from "./command-line.ts";
import { loadConfig, type Config } from "./config.ts";
import { ConfigError } from "./errors.ts";
import type { Gateway } from "./gateway.ts";
import { scopeProblem } from "./key-scopes.ts";
import type { KeysFile } from "./keys/keys-file.ts";
import { openLog, type Log } from "./log.ts";
import type { ServerConfig } from "./server-config.ts";
import type { RereadFile } from "./watch-file.ts";
import { watchKeys } from "./watch-keys.ts";
import { watchServersFile } from "./watch-servers.ts";

/** Beyond the drain's own budget: ending children and saying goodbye to the store. */
const LAST_SECONDS = 15;
/** npm and terminals pass one Ctrl-C on twice; a second one that comes later means it. */
const SAME_SIGNAL_MS = 500;

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

/** Ends the process as soon as nothing is left to do, so that the last log lines are written. */
function obeySignals(close: () => Promise<void>, config: Config, log: Log): void {
  let firstAt: number | undefined;
  const end = (exitCode: number) => {
    const now = performance.now();
    if (firstAt !== undefined && now - firstAt > SAME_SIGNAL_MS) process.exit(exitCode || 130);
    firstAt ??= now;
    process.exitCode = exitCode;
    setTimeout(() => process.exit(1), (config.drainSeconds + LAST_SECONDS) * 1000).unref();
    close().catch((error: unknown) => {
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

/** What an operator can change while the gateway runs: each file when it changes, and all of them on SIGHUP. */
function watchFiles(config: Config, gateway: Gateway, log: Log): { close(): void } {
  const { serversFile, serverDefaults: defaults, keysFile } = config;
  const files: RereadFile[] = [];
  if (serversFile !== undefined) {
    const apply = (servers: ServerConfig[]) => gateway.reload(servers);
    files.push(watchServersFile({ path: serversFile, env: process.env, defaults, apply, log }));
  }
  if (keysFile !== undefined) {
    const apply = (read: KeysFile) => gateway.changeKeys(read);
    const file = watchKeys({ path: keysFile.path, apply, scopeProblem, log });
    // It may have changed while the gateway was starting.
    void file.readAgain();
    files.push(file);
  }
  process.on("SIGHUP", () => {
    gateway.tell({ type: "operator_action", action: "sighup", target: "process", outcome: "done" });
    void gateway.reopen();
    for (const file of files) void file.readAgain();
  });
  return { close: () => files.forEach((file) => file.close()) };
}

/** Runs an operator's command in place of the gateway. Answers the exit code. */
async function runOperator(args: string[]): Promise<number> {
  // A gateway that serves needs none of it.
  const { runOperatorCommand } = await import("./commands.ts");
  const interrupted = new AbortController();
  // The first Ctrl-C lets the command finish what it has in hand; the second ends it.
  process.once("SIGINT", () => interrupted.abort());
  process.once("SIGTERM", () => interrupted.abort());
  const { env, stdout, stderr } = process;
  const { signal } = interrupted;
  // Standard output is the command's own.
  const log = await openLog(env["LOG_LEVEL"] === "debug" ? "debug" : "error", stderr);
  return runOperatorCommand(args, { env, stdout, stderr, signal, log, version });
}

function readEnvFile(): void {
  const { error } = loadEnvFile({ quiet: true });
  if (error !== undefined && error.code !== "ENOENT")
    throw new ConfigError([".env is there and cannot be read."]);
}

async function main(): Promise<void> {
  // A log reader that goes away must not take the gateway with it.
  process.stdout.on("error", () => undefined);
  process.stderr.on("error", () => undefined);
  const args = process.argv.slice(2);
  if (COMMANDS.includes(args[0] ?? "")) {
    readEnvFile();
    process.exitCode = await runOperator(args);
    return;
  }
  const commandLine = readCommandLine(args);
  if (commandLine.help || commandLine.version) {
    process.stdout.write(commandLine.help ? HELP : `${version}\n`);
    return;
  }
  readEnvFile();
  const config = loadConfig(process.env, commandLine);
  // Read once, then forgotten: nothing started from here inherits a key.
  delete process.env["MCP_API_KEY"];
  delete process.env["MCP_API_KEYS"];

  const log = await openLog(config.logLevel);
  for (const warning of config.warnings) log.warn(warning);
  const { startGateway } = await import("./gateway.ts");
  const gateway = await startGateway(config, { log, env: process.env, version });
  const files = watchFiles(config, gateway, log);
  obeySignals(
    () => {
      files.close();
      return gateway.close();
    },
    config,
    log,
  );
  const url = (config.http.publicUrl ?? `http://localhost:${gateway.port}`).replace(/\/$/, "");
  log.info(
    { instance: gateway.instanceId, version, port: gateway.port, url: `${url}/mcp/sse` },
    "gateway listening",
  );
  // Standard output is the log's; machines read it.
  if (config.drawnKey !== undefined || process.stderr.isTTY) {
    const { drawnKey, servers } = config;
    const names = servers.map(({ name }) => name);
    process.stderr.write(banner({ version, url, drawnKey, server: behind(config), names }));
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
