import { figure, median } from "./figures.ts";
import type { Run } from "./mode.ts";

/** What a target's runs came to, each divided by what the base came to in the same round. */
export function ratiosWithinRounds<R extends Run>(
  runs: readonly R[],
  name: string,
  against: string,
  value: (run: R) => number,
): number[] {
  return runs
    .filter((run) => run.target === name)
    .flatMap((run) => {
      const base = runs.find((other) => other.target === against && other.round === run.round);
      return base === undefined ? [] : [value(run) / value(base)];
    });
}

/** The median over the rounds. */
export function middle<R extends Run>(runs: readonly R[], value: (run: R) => number): string {
  return figure(median(runs.map(value)));
}

export function spread(values: readonly number[]): string {
  return values.length === 0 ? "-" : `${figure(Math.min(...values))}-${figure(Math.max(...values))}`;
}

export function total<R extends Run>(runs: readonly R[], value: (run: R) => number): string {
  return String(runs.reduce((sum, run) => sum + value(run), 0));
}

/** The runs of each target, in the order in which the targets were first run. */
export function byTarget<R extends Run>(runs: readonly R[]): { name: string; own: R[] }[] {
  return [...new Set(runs.map((run) => run.target))].map((name) => ({
    name,
    own: runs.filter((run) => run.target === name),
  }));
}
