import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createRedisMock } from "js-redis-server";

import { eventually } from "./eventually.ts";

export interface RedisUnderTest {
  url: string;
  kind: "external" | "redis-server" | "js-redis-server";
  /** Freezes it, so that it accepts connections and answers nothing. Only where it is a child process of ours. */
  pause?: () => void;
  resume?: () => void;
  /** Kills it and starts an empty one on the same port. Only where it is a child process of ours. */
  restart?: () => Promise<void>;
  /** Ends it, if we started it. Safe to call twice. */
  stop: () => Promise<void>;
}

/** The real Redis on the PATH, if there is one. */
export const BINARY = ["redis-server", "valkey-server"].find(
  (name) => spawnSync(name, ["--version"]).status === 0,
);

/** Whether a real Redis is on the PATH, which takes flags: for TLS, clusters and sentinels. Under CI it must be. */
export const hasRedisServer = BINARY !== undefined || process.env["CI"] === "true";

let told = false;

/**
 * A Redis for tests: `TEST_REDIS_URL`, else `redis-server` or `valkey-server` on the PATH, else js-redis-server in this
 * process, and prints which. Under CI it must be a real one.
 *
 * @param flags for the server's command line, such as `["--requirepass", "x"]`; then it is never an external one.
 */
export async function startRedis(flags: readonly string[] = []): Promise<RedisUnderTest> {
  const external = process.env["TEST_REDIS_URL"];
  const useExternal = external !== undefined && external !== "" && flags.length === 0;
  const redis = useExternal
    ? ({ url: external, kind: "external", stop: async () => undefined } as const)
    : BINARY
      ? await startChild(BINARY, flags)
      : await startInProcess();
  if (!told)
    process.stderr.write(
      `tests use Redis of kind ${redis.kind}${BINARY && !useExternal ? ` (${BINARY})` : ""}\n`,
    );
  told = true;
  return redis;
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function startInProcess(): Promise<RedisUnderTest> {
  if (process.env["CI"] === "true")
    throw new Error("CI needs a real Redis: install redis-server or set TEST_REDIS_URL");
  const mock = await createRedisMock();
  const [address] = mock.addresses();
  if (!address) throw new Error("js-redis-server has no address");
  let stopping: Promise<void> | undefined;
  return {
    url: `redis://127.0.0.1:${address.port}`,
    kind: "js-redis-server",
    stop: () => (stopping ??= Promise.resolve(mock.close())),
  };
}

async function startChild(binary: string, flags: readonly string[]): Promise<RedisUnderTest> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), "redis-test-"));
  let child = await spawnServer(binary, port, directory, flags);
  const killOnExit = (): void => void child.kill("SIGKILL");
  process.once("exit", killOnExit);
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    process.removeListener("exit", killOnExit);
    await end(child);
    await rm(directory, { recursive: true, force: true });
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    kind: "redis-server",
    pause: () => void child.kill("SIGSTOP"),
    resume: () => void child.kill("SIGCONT"),
    restart: async () => {
      await end(child);
      child = await spawnServer(binary, port, directory, flags);
    },
    stop: () => (stopping ??= stop()),
  };
}

/** Ends a server at once: it has nothing to save, and SIGKILL also ends a frozen one. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

async function spawnServer(binary: string, port: number, directory: string, flags: readonly string[]) {
  const settings = [
    "--port",
    `${port}`,
    "--save",
    "",
    "--appendonly",
    "no",
    "--bind",
    "127.0.0.1",
    "--dir",
    directory,
  ];
  const child = spawn(binary, [...settings, ...flags], { stdio: "ignore" });
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`${binary} ended with code ${child.exitCode}`);
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect").finally(() => socket.destroy());
  });
  return child;
}
