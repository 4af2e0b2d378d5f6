import { type Start, clockStart } from "../clock-start.ts";
import { figure, median, megabytes, table } from "../figures.ts";
import type { Mode, Run } from "../mode.ts";
import { byTarget, ratiosWithinRounds } from "../ratios.ts";
import type { Target } from "../target.ts";
import { interrupted } from "../with-load.ts";

const STARTS = 5;

export interface StartRun extends Run {
  starts: Start[];
}

/** From the start of the process to the first connection that it takes. */
export const START: Mode<StartRun> = {
  name: "start",
  about: "from the start of the process to listening, and what it holds by then",
  targets: ["sse-echo", "express-echo", "gateway", "gateway-builtin"],
  defaults: { against: "sse-echo" },
  run: runStarts,
  table: (runs, { against }) => startTable(runs, against),
};

async function runStarts(target: Target, round: number): Promise<StartRun> {
  const starts: Start[] = [];
  while (starts.length < STARTS) {
    interrupted.throwIfAborted();
    starts.push(await clockStart(target));
  }
  return { target: target.name, round, leftovers: starts.flatMap(({ leftovers }) => leftovers), starts };
}

export function startTable(runs: readonly StartRun[], against: string): string {
  const head = ["target", "starts", "listening ms", "slowest ms", "x base", "/health 200 ms", "CPU ms"];
  return table(
    [...head, "RSS MB", "processes"],
    byTarget(runs).map(({ name, own }) =>
      startRow(name, own, ratiosWithinRounds(runs, name, against, listeningOf)),
    ),
  );
}

function startRow(name: string, own: readonly StartRun[], ratios: readonly number[]): string[] {
  const starts = own.flatMap((run) => run.starts);
  const listening = starts.map((start) => start.listeningMs);
  return [
    name,
    String(starts.length),
    figure(median(listening)),
    figure(Math.max(...listening)),
    figure(median(ratios)),
    figure(median(starts.map((start) => start.healthMs))),
    figure(median(starts.map((start) => start.cpuMs))),
    megabytes(median(starts.map((start) => start.memory.rssBytes))),
    figure(median(starts.map((start) => start.memory.processes))),
  ];
}

function listeningOf({ starts }: StartRun): number {
  return median(starts.map((start) => start.listeningMs));
}
