import type { CallRun } from "../modes/call.ts";

/** A run for tests, of which only the CPU of a call is told. */
export function run(target: string, round: number, cpuMsPerCall: number): CallRun {
  const memory = { processes: 1, rssBytes: 1, pssBytes: 1 };
  return {
    target,
    round,
    cpuMsPerCall,
    leftovers: [],
    cpuSource: "cgroup v2",
    callsPerSecond: 1,
    serverShare: 1,
    isValid: true,
    before: memory,
    after: memory,
    seconds: 1,
    right: 1,
    wrongSession: 0,
    stray: 0,
    errors: 0,
    lostSessions: 0,
    p50Ms: 1,
    p99Ms: 1,
    generatorShare: 0.5,
  };
}
