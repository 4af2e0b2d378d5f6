import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { plainWords } from "./plain-words.ts";
import type { SectionFigures } from "./section.ts";
import type { Taken } from "./taken.ts";

/** What one run of the report gave, as it is committed. */
export interface Figures {
  taken: Taken;
  /** Without the tables, which the page has. */
  sections: Omit<SectionFigures, "table">[];
}

/** Undefined when there are none yet. */
export function readFigures(file: URL): Figures | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Figures) : undefined;
}

export function writeFigures(file: URL, figures: Figures): void {
  writeFileSync(file, `${JSON.stringify(figures, tidy, 2)}\n`);
}

/** Four digits are more than is known, and words of servers may hold paths of this machine. */
function tidy(key: string, value: unknown): unknown {
  if (key === "table") return undefined;
  if (typeof value === "number" && !Number.isInteger(value)) return Number(value.toPrecision(4));
  return typeof value === "string" ? plainWords(value) : value;
}
