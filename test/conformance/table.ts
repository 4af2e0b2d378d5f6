import { readFileSync, writeFileSync } from "node:fs";
import { type Difference, isLost, type Score } from "./score.ts";

/** What one suite saw of one target. */
export interface Row {
  target: string;
  /** What stands in the table. */
  words: string;
  suite: string;
  version: string;
  score: Score;
  checks: Score;
  /** Against the direct run; none for the direct run itself. */
  differences: Difference[];
}

const ratio = ({ passed, total }: Score) => `${passed}/${total}`;

/** The table of `docs/protocol.md`, in Markdown: a line for each target, a column for each suite. */
export function renderTable(rows: readonly Row[]): string {
  const suites = [...new Map(rows.map(({ suite, version }) => [suite, version]))];
  const targets = [...new Map(rows.map(({ target, words }) => [target, words]))];
  const heads = suites.map(([suite, version]) => `${version} \`${suite}\``);
  const notes: string[] = [];
  const lines = targets.map(([target, words]) => {
    const cells = suites.map(([suite]) => {
      const row = rows.find((each) => each.target === target && each.suite === suite);
      if (row === undefined) return "–";
      const marks = notesOf(row).map((note) => {
        if (!notes.includes(note)) notes.push(note);
        return ` [${notes.indexOf(note) + 1}]`;
      });
      return `${ratio(row.score)}${marks.join("")}`;
    });
    return [words, ...cells];
  });
  const table = [["Server behind the gateway", ...heads], heads.map(() => "---").concat("---"), ...lines];
  return [
    ...table.map((cells) => `| ${cells.join(" | ")} |`),
    ...(notes.length === 0 ? [] : ["", ...notes.map((note, index) => `${index + 1}. ${note}`)]),
  ].join("\n");
}

/** A sentence for each scenario that differs from the direct run. */
function notesOf({ differences }: Row): string[] {
  return [...new Set(differences.map(({ scenario }) => scenario))].map((scenario) => {
    const own = differences.filter((difference) => difference.scenario === scenario);
    const ids = [...new Set(own.map(({ id }) => `\`${id}\``))].join(", ");
    if (own.some(isLost)) return `\`${scenario}\` (${ids}): **lost**.`;
    return `\`${scenario}\` (${ids}): nothing to look at, which is no fault.`;
  });
}

/** What a person at a terminal reads: the scores, then each difference with the suite's own words. */
export function renderText(rows: readonly Row[]): string {
  return rows
    .flatMap((row) => [
      `${row.target.padEnd(8)} ${row.suite.padEnd(12)} ${ratio(row.score).padStart(7)}   checks ${ratio(row.checks)}`,
      ...row.differences.map((difference) => {
        const kind = isLost(difference) ? "LOST" : "no case";
        return `    ${kind}: ${difference.scenario} ${difference.id} (${difference.status}) ${difference.message}`;
      }),
    ])
    .join("\n");
}

const [BEGIN, END] = ["<!-- conformance: begin -->", "<!-- conformance: end -->"];

/** Puts the table between its marks in a document. */
export function writeTable(file: string, table: string): void {
  const text = readFileSync(file, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`${file} has no ${BEGIN} and ${END}`);
  writeFileSync(file, `${text.slice(0, from + BEGIN.length)}\n${table}\n${text.slice(to)}`);
}
