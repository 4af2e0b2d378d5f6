import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Account } from "./cpu.ts";
import { SERVER_CORE, pinned } from "./pin.ts";
import { isAlive, readCommand } from "./process-tree.ts";
import type { Target } from "./target.ts";

const STOP_WITHIN_MS = 10_000;

interface LaunchOptions {
  port: number;
  account: Account;
  /** Come before the script. */
  nodeOptions?: readonly string[];
  stdio: StdioOptions;
}

/** Starts a target's process on its core, within the account. */
export function launch(
  target: Target,
  { port, account, nodeOptions = [], stdio }: LaunchOptions,
): ChildProcess {
  const words = [process.execPath, ...nodeOptions, ...target.script(port)];
  const [command = "", ...rest] = account.command(pinned(SERVER_CORE, words));
  // The bench's own environment must not set the gateway up: no stores, no keys, no .env by accident.
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(command, rest, {
    // A gateway reads .env where it is started, and the developer's own is not what is measured.
    cwd: import.meta.dirname,
    env: { PATH, HOME, NODE_ENV: "production", PORT: String(port), ...target.env },
    stdio,
  });
  child.on("error", () => undefined);
  account.adopt(child.pid ?? 0);
  return child;
}

/** Ends a server by its own pid and names the processes it left behind, which are then killed one by one. */
export async function stop(child: ChildProcess, account: Account): Promise<string[]> {
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
  while (pids().length > 0 && performance.now() < deadline) await sleep(20);
}
