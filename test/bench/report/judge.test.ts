import { expect, test } from "vitest";
import type { CallRun } from "../modes/call.ts";
import { type Goal, judge, verdictRow } from "./judge.ts";
import { run } from "./runs.ts";

const goal: Goal = {
  target: 1,
  words: "CPU per call, to the floor's",
  section: "calls",
  of: "ours",
  than: ["floor"],
  value: (of: CallRun) => of.cpuMsPerCall,
  bound: { atMost: 1.25 },
  unit: "x",
};
const sections = (...runs: CallRun[]) => [{ id: "calls", runs }];

test("forms ratios within a round, and takes their median", () => {
  // The quotient of the medians would be 2: a machine that slowed down in the middle.
  const figures = sections(
    run("ours", 1, 1),
    run("floor", 1, 1),
    run("ours", 2, 2),
    run("floor", 2, 2),
    run("ours", 3, 8),
    run("floor", 3, 1),
  );
  expect(judge(goal, figures)).toMatchObject({ value: 1, rounds: [1, 1, 8], isMet: true });
});

test("misses what is above the bound, and meets what is at it", () => {
  expect(judge(goal, sections(run("ours", 1, 1.26), run("floor", 1, 1))).isMet).toBe(false);
  expect(judge(goal, sections(run("ours", 1, 1.25), run("floor", 1, 1))).isMet).toBe(true);
});

test("judges beside the best of several, whichever way the bound looks", () => {
  const runs = sections(run("ours", 1, 4), run("slow", 1, 1), run("fast", 1, 2));
  const than = ["slow", "fast", "not installed"];
  expect(judge({ ...goal, than, bound: { atLeast: 3 } }, runs)).toMatchObject({
    value: 2,
    nearest: "fast",
    isMet: false,
  });
  expect(judge({ ...goal, than, bound: { below: 5 } }, runs)).toMatchObject({
    value: 4,
    nearest: "slow",
    isMet: true,
  });
});

test("takes nothing measured for no target met", () => {
  const verdict = judge(goal, []);
  expect(verdict).toMatchObject({ value: undefined, isMet: false });
  expect(verdictRow(verdict).at(-1)).toBe("not measured");
});

test("leaves out rounds without a figure that counts, and keeps those that failed", () => {
  const { than: _, ...absolute } = goal;
  const runs = sections(run("ours", 1, Number.NaN), run("ours", 2, 1));
  expect(judge(absolute, runs)).toMatchObject({ value: 1, rounds: [1] });
  const failed = judge(absolute, sections(run("ours", 1, Number.POSITIVE_INFINITY)));
  expect(verdictRow(failed)).toEqual(["1", goal.words, "at most 1.25 x", "failed", "-", "**missed**"]);
});
