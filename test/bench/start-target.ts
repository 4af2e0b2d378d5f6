import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../support/redis-server.ts";
import { type Account, openAccount } from "./cpu.ts";
import { launch, stop } from "./launch.ts";
import type { Target } from "./target.ts";

const READY_WITHIN_MS = 20_000;
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
  const port = await freePort();
  const account = openAccount();
  const child = launch(target, { port, account, nodeOptions, stdio: ["ignore", "pipe", "pipe"] });
  const output = readTail(child);
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
