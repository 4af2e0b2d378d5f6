import { expect, test } from "vitest";
import { byTarget, middle, ratiosWithinRounds, spread, total } from "./ratios.ts";

const run = (target: string, round: number, cost: number) => ({ target, round, cost, leftovers: [] });
const RUNS = [
  run("floor", 1, 2),
  run("ours", 1, 3),
  run("ours", 2, 8),
  run("floor", 2, 4),
  run("ours", 3, 5),
];
const cost = (one: { cost: number }): number => one.cost;

test("divides by the base of the same round, and leaves out a round without one", () => {
  expect(ratiosWithinRounds(RUNS, "ours", "floor", cost)).toEqual([1.5, 2]);
  expect(ratiosWithinRounds(RUNS, "floor", "floor", cost)).toEqual([1, 1]);
  expect(ratiosWithinRounds(RUNS, "ours", "nobody", cost)).toEqual([]);
});

test("names each target once, in the order of the first round", () => {
  expect(byTarget(RUNS).map(({ name, own }) => [name, own.length])).toEqual([
    ["floor", 2],
    ["ours", 3],
  ]);
});

test("draws a dash where nothing was measured", () => {
  expect([middle([], cost), spread([]), total([], cost)]).toEqual(["-", "-", "0"]);
  expect([middle(RUNS, cost), spread([1, 3, 2]), total(RUNS, cost)]).toEqual(["4", "1-3", "22"]);
});
