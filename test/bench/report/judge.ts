import { figure, median } from "../figures.ts";
import type { Run } from "../mode.ts";
import { ratiosWithinRounds } from "../ratios.ts";
import type { SectionFigures } from "./section.ts";

/** One bound that a figure of the report has to keep. */
export interface Goal {
  /** The number of the target it is part of. */
  target: number;
  /** What is bounded, in the words of the page. */
  words: string;
  section: string;
  of: string;
  /** Its ratio to each of these within a round is judged, and the worst one counts. Without them: the figure itself. */
  than?: readonly string[];
  /** NaN when the run has no figure that counts, infinite when it failed at what is bounded. */
  value(run: Run): number;
  bound: { atMost: number } | { atLeast: number } | { below: number };
  unit: string;
}

export interface Verdict {
  goal: Goal;
  /** The median of the rounds; undefined when nothing was measured. */
  value: number | undefined;
  rounds: number[];
  /** Which of `than` is nearest to the bound, or farthest beyond it. */
  nearest?: string;
  isMet: boolean;
}

export function judge(goal: Goal, sections: readonly Pick<SectionFigures, "id" | "runs">[]): Verdict {
  const { of, bound } = goal;
  const runs = sections.find(({ id }) => id === goal.section)?.runs ?? [];
  const value = (run: Run): number => goal.value(run);
  const own = runs.filter(({ target }) => target === of).map(value);
  const all =
    goal.than === undefined
      ? [{ rounds: own }]
      : goal.than.map((than) => ({ nearest: than, rounds: ratiosWithinRounds(runs, of, than, value) }));
  const judged = all
    .map(({ rounds, ...rest }) => ({ ...rest, rounds: rounds.filter((round) => !Number.isNaN(round)) }))
    .filter(({ rounds }) => rounds.length > 0)
    .map((one) => ({ ...one, value: median(one.rounds) }))
    .toSorted((a, b) => ("atLeast" in bound ? a.value - b.value : b.value - a.value));
  const [worst] = judged;
  if (worst === undefined) return { goal, value: undefined, rounds: [], isMet: false };
  return { goal, ...worst, isMet: isWithin(worst.value, bound) };
}

function isWithin(value: number, bound: Goal["bound"]): boolean {
  if ("atMost" in bound) return value <= bound.atMost;
  return "below" in bound ? value < bound.below : value >= bound.atLeast;
}

/** The cells of a verdict in the table of targets. */
export function verdictRow({ goal, value, rounds, nearest, isMet }: Verdict): string[] {
  const { target, words, bound, unit } = goal;
  const start = [String(target), words, `${boundWords(bound)} ${unit}`];
  if (value === undefined) return [...start, "-", "-", "not measured"];
  const beside = nearest === undefined || goal.than?.length === 1 ? "" : ` (${nearest})`;
  return [
    ...start,
    Number.isFinite(value) ? `${figure(value)} ${unit}${beside}` : "failed",
    rounds.map(figure).join(", "),
    isMet ? "met" : "**missed**",
  ];
}

function boundWords(bound: Goal["bound"]): string {
  if ("atMost" in bound) return `at most ${figure(bound.atMost)}`;
  return "below" in bound ? `below ${figure(bound.below)}` : `at least ${figure(bound.atLeast)}`;
}
