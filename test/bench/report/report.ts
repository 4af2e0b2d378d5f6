import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { say } from "../rounds.ts";
import { interrupted } from "../with-load.ts";
import { drawChart } from "./chart.ts";
import { type Figures, readFigures, writeFigures } from "./figures-file.ts";
import { GOALS } from "./goals.ts";
import { judge } from "./judge.ts";
import { targetsTable, writePage } from "./page.ts";
import { panelsOf } from "./panels.ts";
import { PLAN } from "./plan.ts";
import { type Section, type SectionFigures, runSection } from "./section.ts";
import { SHORT, compare, comparisonTable, complaintsOf, hasShape } from "./short.ts";
import { describeTaking } from "./taken.ts";

const FIGURES = new URL("../figures.json", import.meta.url);
const DOCS = new URL("../../../docs/", import.meta.url);

/**
 * `report`: runs the plan and writes the page, its chart and the committed figures, all from this one run. With
 * `--sections a,b` only these are run and printed, and nothing is written.
 */
export async function runReport(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { sections: { type: "string" } } });
  if (values.sections === undefined) {
    await writeReport(PLAN, { figures: FIGURES, docs: DOCS });
    return;
  }
  const { sections } = await runSections(findSections(values.sections.split(",")));
  for (const { section, figures } of sections) {
    process.stdout.write(`\n${section.title}\n\n${figures.table}`);
    for (const failure of figures.failures) process.stdout.write(`- ${failure}\n`);
  }
  const goals = GOALS.filter((goal) => sections.some(({ section }) => section.id === goal.section));
  const measured = sections.map(({ figures }) => figures);
  process.stdout.write(`\n${targetsTable(goals.map((goal) => judge(goal, measured)))}`);
}

/** Runs all sections and writes what came out; nothing when it is interrupted. */
export async function writeReport(
  plan: readonly Section[],
  into: { figures: URL; docs: URL },
): Promise<void> {
  const { sections, minutes } = await runSections(plan);
  const figures: Figures = { taken: describeTaking(), sections: sections.map((one) => one.figures) };
  const verdicts = GOALS.map((goal) => judge(goal, figures.sections));
  writeFigures(into.figures, figures);
  writeFileSync(new URL("performance.svg", into.docs), drawChart(panelsOf(figures.sections)));
  writeFileSync(
    new URL("performance.md", into.docs),
    writePage({ taken: figures.taken, minutes, verdicts, sections }),
  );
}

/** `short`: runs the short section and fails when a gateway has become dearer than the committed figures allow. */
export async function runShort(args: string[]): Promise<void> {
  parseArgs({ args, options: {} });
  const committed = readFigures(FIGURES)?.sections.find(({ id }) => id === SHORT.id);
  if (committed === undefined) {
    throw new Error("no figures are committed to compare with: run `npm run bench -- report` first");
  }
  if (!hasShape(committed.options, SHORT.options)) {
    throw new Error("the committed figures are of another shape: run `npm run bench -- report` first");
  }
  const figures = await runSection(SHORT);
  if (interrupted.aborted) throw new Error("interrupted");
  const comparisons = compare(committed, figures);
  process.stdout.write(`${comparisonTable(comparisons)}\n`);
  const complaints = complaintsOf(comparisons);
  for (const complaint of complaints) process.stdout.write(`${complaint}\n`);
  if (complaints.length > 0) process.exitCode = 1;
}

interface Sections {
  sections: { section: Section; figures: SectionFigures }[];
  minutes: number;
}

async function runSections(plan: readonly Section[]): Promise<Sections> {
  const startedAt = performance.now();
  const sections: Sections["sections"] = [];
  for (const section of plan) {
    const sectionAt = performance.now();
    say(`section ${section.id}, about ${section.estimateSeconds} s`);
    const figures = await runSection(section);
    if (interrupted.aborted) throw new Error("interrupted: nothing is written");
    if (figures.runs.length === 0) process.exitCode = 1;
    sections.push({ section, figures });
    say(`section ${section.id} took ${Math.round((performance.now() - sectionAt) / 1000)} s`);
  }
  return { sections, minutes: (performance.now() - startedAt) / 60_000 };
}

function findSections(ids: readonly string[]): Section[] {
  return ids.map((id) => {
    const section = PLAN.find((one) => one.id === id);
    if (section === undefined) {
      throw new Error(`no section is called ${id}; there are ${PLAN.map((one) => one.id).join(", ")}`);
    }
    return section;
  });
}
