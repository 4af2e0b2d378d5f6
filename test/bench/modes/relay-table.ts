import { figure, median, table } from "../figures.ts";
import { spread } from "../ratios.ts";
import type { DriverFigures, RelayRun } from "./relay.ts";

const HEAD = [
  "target",
  "relay",
  "local CPU ms/call",
  "relayed CPU ms/call",
  "x local",
  "its rounds",
  "Redis CPU ms/call",
  "Redis commands/call",
  "local calls/s",
  "relayed calls/s",
  "alone: local p50 ms",
  "relayed p50 ms",
  "added p50 ms",
  "added p99 ms",
  "not right",
  "generator share",
];

/** Ratios and differences are formed within a run, between calls of the same sessions to the same two processes. */
export function relayTable(runs: readonly RelayRun[]): string {
  const all = runs.flatMap(({ target, drivers }) => drivers.map((figures) => ({ target, figures })));
  if (runs.length > 0 && all.length === 0)
    return "Skipped: neither redis-server nor valkey-server is on the PATH.\n";
  const rows = new Map<string, DriverFigures[]>();
  for (const { target, figures } of all) {
    const name = `${target} | ${figures.driver}`;
    rows.set(name, [...(rows.get(name) ?? []), figures]);
  }
  return table(
    HEAD,
    [...rows].map(([name, figures]) => [...name.split(" | "), ...relayCells(figures)]),
  );
}

function relayCells(all: readonly DriverFigures[]): string[] {
  const middle = (of: (figures: DriverFigures) => number): string => figure(median(all.map(of)));
  const ratios = all.map(({ local, relayed }) => relayed.cpuMsPerCall / local.cpuMsPerCall);
  const notRight = all.reduce((sum, figures) => sum + countNotRight(figures), 0);
  return [
    middle(({ local }) => local.cpuMsPerCall),
    middle(({ relayed }) => relayed.cpuMsPerCall),
    figure(median(ratios)),
    spread(ratios),
    middle(({ relayed }) => relayed.redisCpuMsPerCall),
    middle(({ relayed }) => relayed.redisCommandsPerCall),
    middle(({ local }) => local.right / local.seconds),
    middle(({ relayed }) => relayed.right / relayed.seconds),
    middle(({ localAlone }) => localAlone.p50Ms),
    middle(({ relayedAlone }) => relayedAlone.p50Ms),
    middle(({ localAlone, relayedAlone }) => relayedAlone.p50Ms - localAlone.p50Ms),
    middle(({ localAlone, relayedAlone }) => relayedAlone.p99Ms - localAlone.p99Ms),
    String(notRight),
    middle(({ local, relayed }) => Math.max(local.generatorShare, relayed.generatorShare)),
  ];
}

/** Wrong, stray and failed calls, and sessions that were lost. */
function countNotRight({ local, relayed, localAlone, relayedAlone }: DriverFigures): number {
  return [local, relayed, localAlone, relayedAlone].reduce(
    (sum, { wrongSession, stray, errors, lostSessions }) =>
      sum + wrongSession + stray + errors + lostSessions,
    0,
  );
}
