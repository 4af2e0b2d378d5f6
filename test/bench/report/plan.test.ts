import { expect, test } from "vitest";
import { MODES } from "../modes.ts";
import { TARGETS } from "../targets.ts";
import { GOALS } from "./goals.ts";
import { PLAN } from "./plan.ts";

const MOST_SECONDS = 42 * 60;

test("every section has an id of its own, a mode and targets that exist", () => {
  expect(new Set(PLAN.map(({ id }) => id)).size).toBe(PLAN.length);
  const modes = new Set(MODES.map(({ name }) => name));
  expect(PLAN.map(({ mode }) => mode).filter((mode) => !modes.has(mode))).toEqual([]);
  const targets = new Set(TARGETS.map(({ name }) => name));
  const named = PLAN.flatMap((section) => [...(section.targets ?? []), section.options.against ?? "gateway"]);
  expect(named.filter((name) => !targets.has(name))).toEqual([]);
});

test("a section measures what its ratios compare with", () => {
  for (const { id, targets, options } of PLAN) {
    if (targets === undefined || options.against === undefined) continue;
    expect([id, targets.includes(options.against)]).toEqual([id, true]);
  }
});

test("every goal is judged by targets that its section measures", () => {
  for (const { words, section, of, than = [] } of GOALS) {
    const found = PLAN.find(({ id }) => id === section);
    const mode = MODES.find(({ name }) => name === found?.mode);
    const measured = found?.targets ?? mode?.targets ?? [];
    expect([words, [of, ...than].filter((name) => !measured.includes(name))]).toEqual([words, []]);
  }
  expect(new Set(GOALS.map(({ target }) => target))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
});

test("the whole of it takes no longer than somebody will wait", () => {
  expect(PLAN.reduce((sum, { estimateSeconds }) => sum + estimateSeconds, 0)).toBeLessThanOrEqual(
    MOST_SECONDS,
  );
});
