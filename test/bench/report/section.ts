import type { Mode, Options, Run } from "../mode.ts";
import { MODES } from "../modes.ts";
import { GENERAL } from "../options.ts";
import { runRounds } from "../rounds.ts";
import { findTargets } from "../targets.ts";
import { plainWords } from "./plain-words.ts";

/** One table of the report, and what must run for it. */
export interface Section {
  id: string;
  title: string;
  /** The name of a mode. */
  mode: string;
  /** What differs from the mode's own. */
  options: Partial<Omit<Options, "targets">>;
  /** Without them: those that the mode is made for. */
  targets?: readonly string[];
  /** How to read it. */
  text: string;
  /** About how long it takes on two cores; the plan's sum has a bound. */
  estimateSeconds: number;
}

export interface SectionFigures {
  id: string;
  options: Options;
  runs: Run[];
  /** What did not run and why, in words for the page. */
  failures: string[];
  /** The mode's own table. */
  table: string;
}

/** Runs one section. It never fails as a whole: what went wrong is part of what came out. */
export async function runSection(section: Section): Promise<SectionFigures> {
  const failures: string[] = [];
  const mode = MODES.find(({ name }) => name === section.mode);
  if (mode === undefined) {
    const options = { ...GENERAL, ...section.options };
    return { id: section.id, options, runs: [], failures: [`no mode is called ${section.mode}`], table: "" };
  }
  const options = optionsOf(section, mode);
  const figures: SectionFigures = { id: section.id, options, runs: [], failures, table: "" };
  try {
    figures.runs = await runRounds(rememberFailures(mode, failures), options);
    // Only now: the rounds install what they need.
    failures.push(...findMissing(options.targets ?? mode.targets));
    failures.push(...figures.runs.flatMap(nameLeftovers));
    if (figures.runs.length > 0) figures.table = mode.table(figures.runs, options);
  } catch (error) {
    failures.push(plainWords(error));
  }
  return figures;
}

function optionsOf({ targets, options }: Section, mode: Mode): Options {
  return {
    ...GENERAL,
    ...mode.defaults,
    ...options,
    targets: targets === undefined ? undefined : [...targets],
  };
}

function findMissing(names: readonly string[]): string[] {
  return findTargets(names).flatMap((target) => {
    const missing = target.missing();
    return missing === undefined ? [] : [`${target.name} was left out: ${plainWords(missing)}`];
  });
}

/** The rounds go on after a failed run and tell it on stderr alone; the page must tell it too. */
function rememberFailures(mode: Mode, failures: string[]): Mode {
  return {
    ...mode,
    run: async (target, round, options) => {
      try {
        return await mode.run(target, round, options);
      } catch (error) {
        failures.push(`${target.name} failed in round ${round}: ${plainWords(error)}`);
        throw error;
      }
    },
  };
}

function nameLeftovers({ target, round, leftovers }: Run): string[] {
  return leftovers.length === 0
    ? []
    : [`${target} left ${leftovers.length} processes behind in round ${round}`];
}
