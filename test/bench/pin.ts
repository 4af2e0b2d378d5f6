import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import process from "node:process";

// A system's command and no package's: without it nothing is pinned.
const TASKSET = "taskset";

export const SERVER_CORE = 0;
export const GENERATOR_CORE = 1;

/** Server and generator have a core each: on one core each would be measured with the other's work in between. */
export const canPin =
  cpus().length > 1 && spawnSync(TASKSET, ["-c", String(GENERATOR_CORE), "true"]).status === 0;

export function pinned(core: number, words: readonly string[]): string[] {
  return canPin ? [TASKSET, "-c", String(core), ...words] : [...words];
}

/** Puts the bench itself where the generator is: some modes have their clients in it. */
export function pinOurselves(): void {
  if (canPin) spawnSync(TASKSET, ["-a", "-p", "-c", String(GENERATOR_CORE), String(process.pid)]);
}
