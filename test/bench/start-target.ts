import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type Account, openAccount } from "./cpu.ts";
import { SERVER_CORE, pinned } from "./pin.ts";
import { isAlive, readCommand } from "./process-tree.ts";
import type { Target } from "./target.ts";

const READY_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 10_000;
const TAIL_CHARACTERS = 2000;

/** A target that runs and is ready. */
export interface Server {
  pid: number;
  port: number;
  account: Account;
  /** Ends it by its own pid and names the processes it left behind, which are then killed one by one. Safe to call twice. */
  close(): Promise<string[]>;
}

/** `nodeOptions` come before the script. */
export async function startTarget(target: Target, nodeOptions: readonly string[] = []): Promise<Server> {
  const port = await findFreePort();
  const account = openAccount();
  const words = [process.execPath, ...nodeOptions, ...target.script(port)];
  const [command = "", ...rest] = account.command(pinned(SERVER_CORE, words));
  const child = spawn(command, rest, {
    // A gateway reads .env where it is started, and the developer's own is not what is measured.
    cwd: import.meta.dirname,
    env: { ...inheritedEnv(), NODE_ENV: "production", PORT: String(port), ...target.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = readTail(child);
  child.on("error", () => undefined);
  account.adopt(child.pid ?? 0);
  let stopped: Promise<string[]> | undefined;
  const server = {
    pid: child.pid ?? 0,
    port,
    account,
    close: () => (stopped ??= stop(child, account)),
  };
  try {
    await waitUntilReady(target, child, port, output);
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

/** The bench's own environment must not set the gateway up: no stores, no keys, no .env by accident. */
function inheritedEnv(): Record<string, string> {
  const { PATH = "", HOME = "" } = process.env;
  return { PATH, HOME };
}

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Reads what a process prints, so that it never blocks on a full pipe, and remembers the end of it. */
function readTail(child: ChildProcess): () => string {
  let tail = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-TAIL_CHARACTERS);
    });
  }
  return () => tail;
}

async function waitUntilReady(
  target: Target,
  child: ChildProcess,
  port: number,
  output: () => string,
): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    if (child.exitCode !== null || child.pid === undefined) break;
    if (await isReady(target, port, output)) return;
    await sleep(50);
  }
  throw new Error(`${target.name} did not get ready (exit code ${child.exitCode}): ${output().trim()}`);
}

async function isReady({ ready }: Target, port: number, output: () => string): Promise<boolean> {
  if (ready === "answers /health") return isHealthy(port);
  if (ready === "listens") return isListening(port);
  return output().includes(ready === "prints JSON" ? '"ready":true' : ready.prints);
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function isHealthy(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(2000) });
    await answer.body?.cancel();
    return answer.status === 200;
  } catch {
    return false;
  }
}

async function stop(child: ChildProcess, account: Account): Promise<string[]> {
  // Sampled before the end: afterwards, without a cgroup, nobody knows whose children they were.
  const tree = account.pids();
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    child.kill("SIGTERM");
    await Promise.race([once(child, "exit"), sleep(STOP_WITHIN_MS, undefined, { ref: false })]);
  }
  // Children that were told to end need a moment to do so.
  await waitForEnd(() => remaining(tree, account), 1000);
  const leftovers = remaining(tree, account);
  const names = leftovers.map((pid) => `${pid} ${readCommand(pid)}`);
  for (const pid of leftovers) process.kill(pid, "SIGKILL");
  await waitForEnd(() => remaining(tree, account), 5000);
  account.close();
  return names;
}

function remaining(tree: readonly number[], account: Account): number[] {
  return [...new Set([...tree, ...account.pids()])].filter(isAlive);
}

async function waitForEnd(pids: () => number[], withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (pids().length > 0 && performance.now() < deadline) await sleep(50);
}
