import process from "node:process";
import type { Mode, Options, Run } from "./mode.ts";
import type { Target } from "./target.ts";
import { findTargets } from "./targets.ts";
import { interrupted } from "./with-load.ts";

/**
 * Every target of a mode, round by round in turn, odd rounds forwards and even ones backwards, so that a drift of the
 * machine falls on all alike. A run that fails is told and left out; `process.exitCode` is 1 then.
 */
export async function runRounds<R extends Run>(mode: Mode<R>, options: Options): Promise<R[]> {
  const targets: Target[] = [];
  for (const target of findTargets(options.targets ?? mode.targets)) {
    await target.prepare?.();
    const missing = target.missing();
    if (missing === undefined) targets.push(target);
    else say(`${target.name} is skipped: ${missing}`);
  }
  const runs: R[] = [];
  for (let round = 1; round <= options.rounds; round += 1) {
    for (const target of round % 2 === 1 ? targets : targets.toReversed()) {
      if (interrupted.aborted) return runs;
      const startedAt = performance.now();
      try {
        const done = await mode.run(target, round, options);
        runs.push(done);
        say(
          `${mode.name} round ${round} ${target.name}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`,
        );
        for (const left of done.leftovers) say(`left behind by ${target.name}: ${left}`);
      } catch (error) {
        // The other runs are still worth their time.
        const why = error instanceof Error ? error.message : String(error);
        say(`${mode.name} round ${round} ${target.name} failed: ${why}`);
        process.exitCode = 1;
      }
    }
  }
  return runs;
}

export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
