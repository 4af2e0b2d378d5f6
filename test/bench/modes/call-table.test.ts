import { expect, test } from "vitest";
import type { CallRun } from "./call.ts";
import { callTable } from "./call-table.ts";

const memory = { processes: 1, rssBytes: 1e6, pssBytes: 1e6 };

function run(target: string, round: number, differing: Partial<CallRun>): CallRun {
  return {
    target,
    round,
    leftovers: [],
    seconds: 1,
    right: 1000,
    wrongSession: 0,
    stray: 0,
    errors: 0,
    lostSessions: 0,
    p50Ms: 1,
    p99Ms: 2,
    generatorShare: 0.5,
    cpuSource: "/proc",
    cpuMsPerCall: 1,
    callsPerSecond: 1000,
    serverShare: 1,
    isValid: true,
    before: memory,
    after: memory,
    ...differing,
  };
}

const cellsOf = (runs: CallRun[], name: string): string[] =>
  callTable(runs, "floor")
    .split("\n")
    .find((line) => line.startsWith(`| ${name} `))
    ?.split(" | ") ?? [];

test("reports no rate and no latency of runs in which the generator was the limit", () => {
  const tooFast = { isValid: false, generatorShare: 0.95, callsPerSecond: 9999 };
  const cells = cellsOf([run("fast", 1, tooFast), run("fast", 2, tooFast)], "fast");
  expect(cells.slice(5, 8)).toEqual(["-", "-", "-"]);
  expect(cells).toContain("0.95 (2 invalid)");
  const mixed = cellsOf([run("fast", 1, tooFast), run("fast", 2, {})], "fast");
  expect(mixed[5]).toBe("1,000");
});

test("compares within a round", () => {
  const runs = [
    run("floor", 1, { cpuMsPerCall: 1 }),
    run("slow", 1, { cpuMsPerCall: 3 }),
    run("floor", 2, { cpuMsPerCall: 10 }),
    run("slow", 2, { cpuMsPerCall: 20 }),
  ];
  expect(cellsOf(runs, "slow").slice(3, 5)).toEqual(["2.5", "2-3"]);
});
