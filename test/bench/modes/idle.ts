import { setTimeout as sleep } from "node:timers/promises";
import type { Memory } from "../cpu.ts";
import { figure, median, megabytes, table } from "../figures.ts";
import type { Opened } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { countSockets, requireSockets } from "../open-files.ts";
import { byTarget, middle, ratiosWithinRounds, spread, total } from "../ratios.ts";
import type { Target } from "../target.ts";
import { planOf, withLoad } from "../with-load.ts";

const SETTLE_MS = 3000;

export interface IdleRun extends Run, Opened {
  rssKbPerSession: number;
  pssKbPerSession: number;
  cpuMsPerOpen: number;
  /** 1: the stream alone. Above: the memory of connections that POSTs came on is in the figures too. */
  socketsPerSession: number;
  before: Memory;
  after: Memory;
}

/** Sessions that are open and say nothing. */
export const IDLE: Mode<IdleRun> = {
  name: "idle",
  about: "memory of a session that says nothing, and its opening",
  // A child per session is no idle floor: two thousand of them are 80 GB.
  targets: ["sse-echo", "gateway-builtin"],
  defaults: { against: "sse-echo", sessions: 2000, inFlight: 0 },
  run: runIdle,
  table: idleTable,
};

/** One run: a fresh server, one session so that its code is loaded, then all the others; memory before and after. */
async function runIdle(target: Target, round: number, options: Options): Promise<IdleRun> {
  requireSockets(options.sessions);
  const { result, leftovers } = await withLoad(target, [], async ({ port, account }, load) => {
    // Callers would keep the connections that they post on.
    const plan = planOf(target, port, { ...options, inFlight: 0 });
    await load.open(plan, 1);
    const before = account.memory();
    const socketsBefore = countSockets(account.pids());
    const cpuBefore = account.cpuSeconds();
    const opened = await load.open(plan, options.sessions);
    const cpuSeconds = account.cpuSeconds() - cpuBefore;
    if (opened.sessions === 0) throw new Error(`no session opened: ${opened.firstFailure}`);
    await sleep(SETTLE_MS);
    const after = account.memory();
    return {
      ...opened,
      target: target.name,
      round,
      rssKbPerSession: (after.rssBytes - before.rssBytes) / 1000 / opened.sessions,
      pssKbPerSession: (after.pssBytes - before.pssBytes) / 1000 / opened.sessions,
      cpuMsPerOpen: (cpuSeconds * 1000) / opened.sessions,
      socketsPerSession: (countSockets(account.pids()) - socketsBefore) / opened.sessions,
      before,
      after,
    };
  });
  return { ...result, leftovers };
}

function idleTable(runs: readonly IdleRun[], { against }: Options): string {
  const memory = ["RSS KB/session", "x base", "its rounds", "PSS KB/session", "x base", "tree RSS MB"];
  const opening = ["endpoint p50 ms", "x base", "p99 ms", "open p50 ms", "p99 ms", "CPU ms/open", "x base"];
  const rows = byTarget(runs).map(({ name, own }) => {
    const ratios = (value: (run: IdleRun) => number): number[] =>
      ratiosWithinRounds(runs, name, against, value);
    return [
      name,
      middle(own, (run) => run.sessions),
      total(own, (run) => run.failed),
      middle(own, (run) => run.socketsPerSession),
      middle(own, (run) => run.rssKbPerSession),
      figure(median(ratios((run) => run.rssKbPerSession))),
      spread(ratios((run) => run.rssKbPerSession)),
      middle(own, (run) => run.pssKbPerSession),
      figure(median(ratios((run) => run.pssKbPerSession))),
      `${megabytes(median(own.map((run) => run.before.rssBytes)))} > ${megabytes(median(own.map((run) => run.after.rssBytes)))}`,
      middle(own, (run) => run.endpointP50Ms),
      figure(median(ratios((run) => run.endpointP50Ms))),
      middle(own, (run) => run.endpointP99Ms),
      middle(own, (run) => run.p50Ms),
      middle(own, (run) => run.p99Ms),
      middle(own, (run) => run.cpuMsPerOpen),
      figure(median(ratios((run) => run.cpuMsPerOpen))),
    ];
  });
  return table(["target", "sessions", "failed", "sockets/session", ...memory, ...opening], rows);
}
