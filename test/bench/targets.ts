import type { Target } from "./target.ts";
import { FLOORS } from "./targets/floors.ts";
import { GATEWAYS } from "./targets/gateways.ts";
import { PEERS } from "./targets/peers.ts";

export const TARGETS: readonly Target[] = [...FLOORS, ...GATEWAYS, ...PEERS];

export function findTargets(names: readonly string[]): Target[] {
  return names.map((name) => {
    const target = TARGETS.find((candidate) => candidate.name === name);
    if (target === undefined) throw new Error(`no target is called ${name}`);
    return target;
  });
}
