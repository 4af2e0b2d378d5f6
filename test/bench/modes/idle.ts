import { setTimeout as sleep } from "node:timers/promises";
import type { Memory } from "../cpu.ts";
import { figure, median, megabytes, table } from "../figures.ts";
import type { Opened } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import type { Target } from "../target.ts";
import { planOf, withLoad } from "../with-load.ts";

const SETTLE_MS = 3000;

export interface IdleRun extends Run, Opened {
  rssKbPerSession: number;
  pssKbPerSession: number;
  cpuMsPerOpen: number;
  before: Memory;
  after: Memory;
}

/** Sessions that are open and say nothing. */
export const IDLE: Mode<IdleRun> = {
  name: "idle",
  about: "memory of a session that says nothing, and its opening",
  // A child per session is no idle floor: two thousand of them are 80 GB.
  targets: ["sse-echo", "gateway-builtin"],
  defaults: { sessions: 2000, inFlight: 0 },
  run: runIdle,
  table: idleTable,
};

/** One run: a fresh server, one session so that its code is loaded, then all the others; memory before and after. */
async function runIdle(target: Target, round: number, options: Options): Promise<IdleRun> {
  const { result, leftovers } = await withLoad(target, [], async ({ port, account }, load) => {
    const plan = planOf(target, port, options);
    await load.open(plan, 1);
    const before = account.memory();
    const cpuBefore = account.cpuSeconds();
    const opened = await load.open(plan, options.sessions);
    const cpuSeconds = account.cpuSeconds() - cpuBefore;
    await sleep(SETTLE_MS);
    const after = account.memory();
    return {
      ...opened,
      target: target.name,
      round,
      rssKbPerSession: (after.rssBytes - before.rssBytes) / 1000 / opened.sessions,
      pssKbPerSession: (after.pssBytes - before.pssBytes) / 1000 / opened.sessions,
      cpuMsPerOpen: (cpuSeconds * 1000) / opened.sessions,
      before,
      after,
    };
  });
  return { ...result, leftovers };
}

function idleTable(runs: readonly IdleRun[]): string {
  const head = ["target", "sessions", "failed", "RSS KB/session", "its rounds", "tree RSS MB", "open p50 ms"];
  const names = [...new Set(runs.map((run) => run.target))];
  return table(
    [...head, "open p99 ms", "CPU ms/open"],
    names.map((name) => idleRow(runs.filter((run) => run.target === name))),
  );
}

function idleRow(runs: readonly IdleRun[]): string[] {
  const rss = runs.map((run) => run.rssKbPerSession);
  return [
    runs[0]?.target ?? "",
    figure(median(runs.map((run) => run.sessions))),
    String(runs.reduce((failed, run) => failed + run.failed, 0)),
    figure(median(rss)),
    `${figure(Math.min(...rss))}-${figure(Math.max(...rss))}`,
    `${megabytes(median(runs.map((run) => run.before.rssBytes)))} > ${megabytes(median(runs.map((run) => run.after.rssBytes)))}`,
    figure(median(runs.map((run) => run.p50Ms))),
    figure(median(runs.map((run) => run.p99Ms))),
    figure(median(runs.map((run) => run.cpuMsPerOpen))),
  ];
}
