import type { CallRun } from "./call.ts";
import { figure, median, megabytes, table } from "../figures.ts";
import { byTarget, middle, ratiosWithinRounds, spread, total } from "../ratios.ts";

const HEAD = [
  "target",
  // The same figure either way, and the one that holds on a noisy machine.
  "CPU s/1,000 calls (= CPU ms/call)",
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
  return table(
    HEAD,
    byTarget(runs).map(({ name, own }) => [
      name,
      ...figuresOf(
        own,
        ratiosWithinRounds(runs, name, against, (run) => run.cpuMsPerCall),
      ),
    ]),
  );
}

function figuresOf(runs: readonly CallRun[], ratios: readonly number[]): string[] {
  // The CPU of a call stays what it is when the generator is the limit; rate and latency do not.
  const valid = runs.filter((run) => run.isValid);
  const invalid = runs.length - valid.length;
  const share = middle(runs, (run) => run.generatorShare);
  return [
    middle(runs, (run) => run.cpuMsPerCall),
    spread(runs.map((run) => run.cpuMsPerCall)),
    figure(median(ratios)),
    spread(ratios),
    middle(valid, (run) => run.callsPerSecond),
    middle(valid, (run) => run.p50Ms),
    middle(valid, (run) => run.p99Ms),
    middle(runs, (run) => run.serverShare),
    invalid === 0 ? share : `${share} (${invalid} invalid)`,
    total(runs, (run) => run.wrongSession),
    total(runs, (run) => run.stray),
    total(runs, (run) => run.errors),
    `${megabytes(median(runs.map((run) => run.before.rssBytes)))} > ${megabytes(median(runs.map((run) => run.after.rssBytes)))}`,
    megabytes(median(runs.map((run) => run.after.pssBytes))),
  ];
}
