import type { ChildProcess } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../support/redis-server.ts";
import { type Memory, openAccount } from "./cpu.ts";
import { launch, stop } from "./launch.ts";
import type { Target } from "./target.ts";

const LOOK_EVERY_MS = 5;
const START_WITHIN_MS = 20_000;

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
  const startedAt = performance.now();
  const child = launch(target, { port, account, stdio: "ignore" });
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
