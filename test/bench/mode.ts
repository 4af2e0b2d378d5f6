import type { Target } from "./target.ts";

/** What every mode is told; each uses what it needs of it. */
export interface Options {
  /** Undefined: those that the mode is made for. */
  targets: string[] | undefined;
  /** The target that the others are compared with, round by round. */
  against: string;
  rounds: number;
  sessions: number;
  inFlight: number;
  bytes: number;
  warmUpSeconds: number;
  warmUpCalls: number;
  seconds: number;
  disjointIds: boolean;
}

/** What came out of one run. It is written as JSON as it is, so it holds plain values only. */
export interface Run {
  target: string;
  round: number;
  /** Processes that the target left behind. */
  leftovers: string[];
}

/** One way to measure. */
export interface Mode<R extends Run = Run> {
  name: string;
  /** What it measures, in half a line for the help. */
  about: string;
  targets: readonly string[];
  /** Where they differ from the general ones. */
  defaults?: Partial<Pick<Options, "against" | "rounds" | "sessions" | "inFlight" | "bytes" | "seconds">>;
  /** One run on a fresh server, which is gone when it resolves. */
  run(target: Target, round: number, options: Options): Promise<R>;
  /** A Markdown table: medians over the rounds, and ratios formed within a round first. */
  table(runs: readonly R[], options: Options): string;
}
