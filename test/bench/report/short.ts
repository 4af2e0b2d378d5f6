import { figure, median, table } from "../figures.ts";
import type { Options } from "../mode.ts";
import type { CallRun } from "../modes/call.ts";
import { ratiosWithinRounds } from "../ratios.ts";
import type { Section, SectionFigures } from "./section.ts";

/** How much dearer than the committed ratio a call may become. */
const MOST_GROWTH = 1.15;

const PAIRS = [
  { of: "gateway", floor: "sse-bridge" },
  { of: "gateway-shared", floor: "sse-bridge-shared" },
  { of: "gateway-streamable", floor: "streamable-bridge" },
] as const;

/**
 * What the short mode runs. The report runs it too and commits its figures, so that equal shapes are compared; a gateway
 * runs right after its floor, so that a drift of the machine falls on both.
 */
export const SHORT: Section = {
  id: "short",
  title: "What the short mode compares with",
  mode: "call",
  options: {
    against: "sse-bridge",
    sessions: 8,
    inFlight: 4,
    bytes: 100,
    rounds: 4,
    warmUpSeconds: 2,
    warmUpCalls: 6000,
    seconds: 1,
  },
  targets: PAIRS.flatMap(({ of, floor }) => [floor, of]),
  text: "Short rounds on code that is not quite warm: only their ratios are of use, and only to `npm run bench -- short`.",
  estimateSeconds: 105,
};

export interface Comparison {
  of: string;
  floor: string;
  committed: number;
  now: number;
  rounds: number[];
}

/** Each gateway's CPU per call against its floor, as it was committed and as it is now; NaN where it was not measured. */
export function compare(
  committed: Pick<SectionFigures, "runs">,
  now: Pick<SectionFigures, "runs">,
): Comparison[] {
  return PAIRS.map(({ of, floor }) => {
    const rounds = cpuRatios(now, of, floor);
    return { of, floor, committed: median(cpuRatios(committed, of, floor)), now: median(rounds), rounds };
  });
}

/** Whether figures were taken with these options; ratios of other shapes say nothing of each other. */
export function hasShape(taken: Options, wanted: Section["options"]): boolean {
  return Object.entries(wanted).every(([name, value]) => taken[name as keyof Options] === value);
}

function cpuRatios({ runs }: Pick<SectionFigures, "runs">, of: string, floor: string): number[] {
  return ratiosWithinRounds(runs as CallRun[], of, floor, (run) => run.cpuMsPerCall).filter(Number.isFinite);
}

export function comparisonTable(comparisons: readonly Comparison[]): string {
  const head = ["target", "floor", "x floor, committed", "x floor, now", "its rounds", "change"];
  return table(
    head,
    comparisons.map(({ of, floor, committed, now, rounds }) => [
      of,
      floor,
      figure(committed),
      figure(now),
      rounds.map(figure).join(", ") || "-",
      Number.isFinite(now / committed) ? percent(now / committed) : "-",
    ]),
  );
}

/** What speaks against the code as it is now, one sentence each; none when all is well. */
export function complaintsOf(comparisons: readonly Comparison[]): string[] {
  return comparisons.flatMap(({ of, floor, committed, now }) => {
    if (!Number.isFinite(committed))
      return [`${of} has no committed ratio: run \`npm run bench -- report\`.`];
    if (!Number.isFinite(now)) return [`${of} or ${floor} did not run, so nothing is known of it.`];
    if (now <= committed * MOST_GROWTH) return [];
    const words = `${of} costs ${figure(now)} x the CPU per call of ${floor}; committed are ${figure(committed)} x`;
    return [
      `${words}. That is ${percent(now / committed)}, and up to ${percent(MOST_GROWTH)} is let through.`,
    ];
  });
}

function percent(ratio: number): string {
  const change = (ratio - 1) * 100;
  return `${change < 0 ? "" : "+"}${change.toFixed(1)} %`;
}
