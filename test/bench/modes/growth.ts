import { type CallRun, CALL } from "./call.ts";
import { figure, median, table } from "../figures.ts";
import type { Mode, Run } from "../mode.ts";
import { byTarget, middle, ratiosWithinRounds, spread } from "../ratios.ts";

const FEW_SESSIONS = 64;

export interface GrowthRun extends Run {
  few: CallRun;
  many: CallRun;
}

/** Calls in 64 sessions and, on another fresh server right after, in many: what a call costs must not follow them. */
export const GROWTH: Mode<GrowthRun> = {
  name: "growth",
  about: `CPU per call with ${FEW_SESSIONS} sessions and with --sessions, one right after the other`,
  // Without a child per session: the system's work with a thousand processes is not the gateway's.
  targets: ["sse-bridge-shared", "gateway-shared"],
  defaults: { sessions: 1000, against: "sse-bridge-shared" },
  async run(target, round, options) {
    const few = await CALL.run(target, round, { ...options, sessions: FEW_SESSIONS });
    const many = await CALL.run(target, round, options);
    return { target: target.name, round, few, many, leftovers: [...few.leftovers, ...many.leftovers] };
  },
  table: (runs, { against, sessions }) => growthTable(runs, against, sessions),
};

function growthTable(runs: readonly GrowthRun[], against: string, sessions: number): string {
  const head = ["target", `CPU ms/call at ${FEW_SESSIONS}`, `at ${figure(sessions)}`, "growth", "its rounds"];
  return table(
    [...head, "x growth of base", "errors"],
    byTarget(runs).map(({ name, own }) => [
      name,
      middle(own, ({ few }) => few.cpuMsPerCall),
      middle(own, ({ many }) => many.cpuMsPerCall),
      middle(own, growthOf),
      spread(own.map(growthOf)),
      figure(median(ratiosWithinRounds(runs, name, against, growthOf))),
      String(own.reduce((sum, { few, many }) => sum + few.errors + many.errors, 0)),
    ]),
  );
}

function growthOf({ few, many }: GrowthRun): number {
  return many.cpuMsPerCall / few.cpuMsPerCall;
}
