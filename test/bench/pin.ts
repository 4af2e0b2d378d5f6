import { spawnSync } from "node:child_process";
import { cpus } from "node:os";

export const SERVER_CORE = 0;
export const GENERATOR_CORE = 1;

/** Server and generator have a core each: on one core each would be measured with the other's work in between. */
export const canPin =
  cpus().length > 1 && spawnSync("taskset", ["-c", String(GENERATOR_CORE), "true"]).status === 0;

export function pinned(core: number, words: readonly string[]): string[] {
  return canPin ? ["taskset", "-c", String(core), ...words] : [...words];
}
