import { expect, it } from "vitest";
import { relayTable } from "./relay-table.ts";
import type { DriverFigures, RelayRun } from "./relay.ts";

function aPass(cpuMsPerCall: number, p50Ms: number, errors = 0): DriverFigures["local"] {
  return {
    seconds: 2,
    right: 2000,
    wrongSession: 0,
    stray: 0,
    errors,
    lostSessions: 0,
    p50Ms,
    p99Ms: p50Ms * 2,
    generatorShare: 0.25,
    cpuMsPerCall,
    redisCpuMsPerCall: 0.01,
    redisCommandsPerCall: 2,
  };
}

function aRun(round: number, local: number, relayed: number): RelayRun {
  const figures: DriverFigures = {
    driver: "http",
    local: aPass(local, 4),
    relayed: aPass(relayed, 8, 1),
    localAlone: aPass(local, 0.25),
    relayedAlone: aPass(relayed, 0.75),
  };
  return { target: "gateway", round, leftovers: [], drivers: [figures] };
}

it("compares a carried call with a local one of the same run, and only then takes the median", () => {
  // In the second round the machine was half as fast; its ratio is the same kind of figure all the same.
  const rows = relayTable([aRun(1, 0.1, 0.2), aRun(2, 0.2, 0.6), aRun(3, 0.1, 0.25)]).split("\n");
  const cells = rows[2]?.split("|").map((cell) => cell.trim());
  expect(cells?.slice(1, 7)).toEqual(["gateway", "http", "0.1", "0.25", "2.5", "2-3"]);
  expect(cells?.slice(11, 16)).toEqual(["0.25", "0.75", "0.5", "1", "3"]);
});

it("says that there was no Redis rather than showing an empty table", () => {
  expect(relayTable([{ target: "gateway", round: 1, leftovers: [], drivers: [] }])).toMatch(/^Skipped/);
});
