import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../support/redis-server.ts";
import { type Account, type Memory, openAccount } from "./cpu.ts";
import { SERVER_CORE, pinned } from "./pin.ts";
import { isAlive, readCommand } from "./process-tree.ts";
import type { Target } from "./target.ts";

const LOOK_EVERY_MS = 5;
const START_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 10_000;

/** One start of a target, from the call of `spawn` on. */
export interface Start {
  /** Until the first connection was taken. */
  listeningMs: number;
  /** Until `/health` was answered 200 for the first time; NaN where there is no such answer. */
  healthMs: number;
  /** CPU of the tree until then; beyond its script it holds the two small programs that pin and count it. */
  cpuMs: number;
  memory: Memory;
  leftovers: string[];
}

/**
 * Starts a target and ends it again. It is looked at every 5 ms, which costs the target nothing: a connection to a port
 * that nobody listens on is refused by the kernel.
 */
export async function clockStart(target: Target): Promise<Start> {
  const port = await freePort();
  const account = openAccount();
  const [command = "", ...rest] = account.command(
    pinned(SERVER_CORE, [process.execPath, ...target.script(port)]),
  );
  const { PATH = "", HOME = "" } = process.env;
  const startedAt = performance.now();
  const child = spawn(command, rest, {
    // A gateway reads .env where it is started, and the developer's own is not what is measured.
    cwd: import.meta.dirname,
    env: { PATH, HOME, NODE_ENV: "production", PORT: String(port), ...target.env },
    stdio: "ignore",
  });
  child.on("error", () => undefined);
  account.adopt(child.pid ?? 0);
  const sinceStart = (): number => performance.now() - startedAt;
  let leftovers: string[] | undefined;
  try {
    await lookUntil(() => takesConnection(port), target, child);
    const listeningMs = sinceStart();
    let healthMs = Number.NaN;
    if (target.ready === "answers /health") {
      await lookUntil(() => isHealthy(port), target, child);
      healthMs = sinceStart();
    }
    const cpuMs = account.cpuSeconds() * 1000;
    const memory = account.memory();
    leftovers = await stop(child, account);
    return { listeningMs, healthMs, cpuMs, memory, leftovers };
  } finally {
    if (leftovers === undefined) await stop(child, account);
  }
}

async function lookUntil(look: () => Promise<boolean>, { name }: Target, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_WITHIN_MS;
  while (performance.now() < deadline) {
    if (await look()) return;
    if (child.exitCode !== null || child.pid === undefined) {
      throw new Error(`${name} ended before it listened (exit code ${child.exitCode})`);
    }
    await sleep(LOOK_EVERY_MS);
  }
  throw new Error(`${name} did not listen within ${START_WITHIN_MS / 1000} s`);
}

function takesConnection(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** By hand: the first `fetch` of a process costs more than what is measured. */
function isHealthy(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.end(`GET /health HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`, "latin1");
    socket.once("data", (bytes) => resolve(bytes.toString("latin1").startsWith("HTTP/1.1 200")));
    socket.on("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}

/** Ends it by its own pid and names what it left behind, which is then killed one by one. */
async function stop(child: ChildProcess, account: Account): Promise<string[]> {
  const tree = account.pids();
  if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await Promise.race([exited, sleep(STOP_WITHIN_MS, undefined, { ref: false })]);
  }
  const left = (): number[] => [...new Set([...tree, ...account.pids()])].filter(isAlive);
  await waitUntil(() => left().length === 0, 1000);
  const names = left().map((pid) => `${pid} ${readCommand(pid)}`);
  for (const pid of left()) process.kill(pid, "SIGKILL");
  await waitUntil(() => left().length === 0, 5000);
  account.close();
  return names;
}

async function waitUntil(isTrue: () => boolean, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!isTrue() && performance.now() < deadline) await sleep(20);
}
