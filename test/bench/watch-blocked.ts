import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Target } from "./target.ts";

const PRELOAD = new URL("./preload/blocked-on-signal.mjs", import.meta.url).href;
const WRITTEN_WITHIN_MS = 20_000;

interface Spread {
  maxMs: number;
  p99Ms: number;
}

/** What lay between the ticks of a server's event loop, which come each millisecond where nothing hinders them. */
export interface Blocked {
  ticks: number;
  /** On the clock: others that share the core are in it. */
  gap: Spread;
  /** Of each gap what the server's own thread ran. At most 1 ms of it, the wait for the tick, blocked nobody. */
  blocked: Spread;
}

/** Makes a target tell how long its event loop is blocked; `close` removes its file. */
export function makeWatchable(target: Target) {
  const folder = mkdtempSync(join(tmpdir(), "mcp-bench-"));
  const file = join(folder, "blocked.json");
  return {
    target: { ...target, env: { ...target.env, BENCH_BLOCKED: file } },
    nodeOptions: ["--import", PRELOAD],
    /** Watches while the server works. */
    async watch(pid: number, seconds: number): Promise<Blocked> {
      process.kill(pid, "SIGUSR2");
      await sleep(seconds * 1000);
      process.kill(pid, "SIGUSR2");
      const deadline = performance.now() + WRITTEN_WITHIN_MS;
      while (!existsSync(file)) {
        if (performance.now() > deadline) throw new Error("the server did not say how long it was blocked");
        await sleep(50);
      }
      return JSON.parse(readFileSync(file, "utf8")) as Blocked;
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
