import type { CallRun } from "./call.ts";
import { figure, median, megabytes, table } from "../figures.ts";

const HEAD = [
  "target",
  "CPU ms/call",
  "its rounds",
  "x base",
  "its rounds",
  "calls/s",
  "p50 ms",
  "p99 ms",
  "server share",
  "generator share",
  "wrong",
  "stray",
  "errors",
  "RSS MB",
  "PSS MB",
];

/** Medians over the rounds; ratios are formed within a round first. */
export function callTable(runs: readonly CallRun[], against: string): string {
  const names = [...new Set(runs.map((run) => run.target))];
  return table(
    HEAD,
    names.map((name) =>
      callRow(
        runs.filter((run) => run.target === name),
        ratiosWithinRounds(runs, name, against),
      ),
    ),
  );
}

export function ratiosWithinRounds(runs: readonly CallRun[], name: string, against: string): number[] {
  return runs
    .filter((run) => run.target === name)
    .flatMap((run) => {
      const base = runs.find((other) => other.target === against && other.round === run.round);
      return base === undefined ? [] : [run.cpuMsPerCall / base.cpuMsPerCall];
    });
}

function callRow(runs: readonly CallRun[], ratios: readonly number[]): string[] {
  // The CPU of a call stays what it is when the generator is the limit; rate and latency do not.
  const valid = runs.filter((run) => run.isValid);
  const invalid = runs.length - valid.length;
  const cpu = runs.map((run) => run.cpuMsPerCall);
  const share = figure(median(runs.map((run) => run.generatorShare)));
  return [
    runs[0]?.target ?? "",
    figure(median(cpu)),
    spread(cpu),
    figure(median(ratios)),
    spread(ratios),
    figure(median(valid.map((run) => run.callsPerSecond))),
    figure(median(valid.map((run) => run.p50Ms))),
    figure(median(valid.map((run) => run.p99Ms))),
    figure(median(runs.map((run) => run.serverShare))),
    invalid === 0 ? share : `${share} (${invalid} invalid)`,
    sum(runs.map((run) => run.wrongSession)),
    sum(runs.map((run) => run.stray)),
    sum(runs.map((run) => run.errors)),
    `${megabytes(median(runs.map((run) => run.before.rssBytes)))} > ${megabytes(median(runs.map((run) => run.after.rssBytes)))}`,
    megabytes(median(runs.map((run) => run.after.pssBytes))),
  ];
}

function spread(values: readonly number[]): string {
  return values.length === 0 ? "-" : `${figure(Math.min(...values))}-${figure(Math.max(...values))}`;
}

function sum(values: readonly number[]): string {
  return String(values.reduce((total, value) => total + value, 0));
}
