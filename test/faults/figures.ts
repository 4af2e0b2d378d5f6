import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** One row of the table of reliability. */
export interface Figure {
  /** Which story, such as `1 Cuts`. The table is ordered by it. */
  story: string;
  /** What was done, such as `Redis hung for 10 s (FLT-03)`. */
  row: string;
  /** What is promised. */
  promise: string;
  /** What was measured. */
  figure: string;
  holds: boolean;
  form: Form;
}

export type Form = "short" | "full";

/** `FAULTS=full` is what a release is measured by; the short form is for every run of the tests. */
export const form: Form = process.env["FAULTS"] === "full" ? "full" : "short";

/** A size for each form. */
export const sized = <T>(short: T, full: T): T => (form === "full" ? full : short);

/** Apart, so that a short run does not take the place of a full one. */
const DIRECTORY = join(import.meta.dirname, ".figures", form);

export type NoteFigure = (row: string, promise: string, figure: string, holds: boolean) => void;

/** Begins the figures of a story anew; each is also printed as it comes. */
export function openFigures(story: string): NoteFigure {
  mkdirSync(DIRECTORY, { recursive: true });
  const file = join(DIRECTORY, `${story.toLowerCase().replaceAll(/\W+/g, "-")}.jsonl`);
  rmSync(file, { force: true });
  return (row, promise, figure, holds) => {
    const line: Figure = { story, row, promise, figure, holds, form };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
    process.stderr.write(`${holds ? "✓" : "✗"} ${story} | ${row} | ${figure}\n`);
  };
}

/** Every figure of the last run of each story. */
export function readFigures(): Figure[] {
  if (!existsSync(DIRECTORY)) return [];
  return readdirSync(DIRECTORY)
    .filter((name) => name.endsWith(".jsonl"))
    .flatMap((name) => readFileSync(join(DIRECTORY, name), "utf8").split("\n").filter(Boolean))
    .map((line) => JSON.parse(line) as Figure);
}

/** The value that a share of all is not above. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Milliseconds, as people read them. */
export const ms = (value: number): string =>
  value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
