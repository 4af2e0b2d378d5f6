import { setTimeout as sleep } from "node:timers/promises";
import { BINARY } from "../../support/redis-server.ts";
import { type CountedStore, openBilledStore, openRedisStore, settled } from "../count-commands.ts";
import { figure, median, table } from "../figures.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { say } from "../rounds.ts";
import { TwoPortsLoad, type Where } from "../run-two-ports.ts";
import type { Target } from "../target.ts";
import { type TwoInstances, startTwoInstances } from "../two-instances.ts";
import { interrupted, planOf } from "../with-load.ts";

const CALL_SECONDS = 1;
const WARM_UP_SECONDS = 0.5;
const HOUR_SECONDS = 3600;

export interface StoreCostRun extends Run {
  /** None without a Redis. */
  costs: Cost[];
}

/** How many commands one of something costs. */
interface Cost {
  what: string;
  commands: number;
  /** What docs/upstash.md says of it. */
  promised: string;
}

/** What two instances ask of the store that they share. */
export const STORE_COST: Mode<StoreCostRun> = {
  name: "store-cost",
  about: "commands of the store; --seconds says how long the hour of idle sessions is",
  targets: ["gateway-builtin"],
  defaults: { rounds: 1, sessions: 20, inFlight: 1, seconds: 30 },
  run: runStoreCost,
  table: storeCostTable,
};

interface Scene {
  open(): Promise<CountedStore>;
  env: Record<string, string>;
  measure(bench: Bench): Promise<Cost[]>;
}

interface Bench {
  store: CountedStore;
  instances: TwoInstances;
  load: TwoPortsLoad;
  sessions: number;
  seconds: number;
  /** Opens all sessions. */
  openSessions(): Promise<void>;
}

async function runStoreCost(target: Target, round: number, options: Options): Promise<StoreCostRun> {
  const run: StoreCostRun = { target: target.name, round, leftovers: [], costs: [] };
  if (BINARY === undefined) {
    say("store-cost is skipped: neither redis-server nor valkey-server is on the PATH");
    return run;
  }
  if (options.seconds < 4)
    throw new Error("--seconds must be 4 or more: records are extended every 2 s then");
  // An hour of the defaults, run faster: what counts is how often a record is extended while it lives.
  const fast = { SESSION_TTL_SECONDS: String(options.seconds), HEARTBEAT_SECONDS: "1" };
  // With an orphan's grace of 0 a session ends with its stream.
  const brief = { SESSION_ORPHAN_GRACE: "0" };
  const scenes: Scene[] = [
    { open: openBilledStore, env: { SESSION_RELAY_DRIVER: "upstash", ...brief }, measure: measureLife },
    { open: openBilledStore, env: { SESSION_RELAY_DRIVER: "http", ...fast }, measure: measureHour },
    { open: openRedisStore, env: { SESSION_RELAY_DRIVER: "redis" }, measure: measureRedis },
  ];
  for (const scene of scenes) {
    const { costs, leftovers } = await play(scene, target, options);
    run.costs.push(...costs);
    run.leftovers.push(...leftovers);
  }
  return run;
}

/** One scene on a fresh store. A caller's limit is below the instance's, as it is by default: only then is it an index. */
async function play(
  { open, env, measure }: Scene,
  target: Target,
  options: Options,
): Promise<{ costs: Cost[]; leftovers: string[] }> {
  const store = await open();
  const closing: (() => unknown)[] = [() => store.close()];
  try {
    const limits = { MAX_SESSIONS: "2000", MAX_SESSIONS_PER_KEY: "1000" };
    const instances = await startTwoInstances(target, { ...limits, ...store.env, ...env });
    closing.unshift(() => instances.close());
    const load = new TwoPortsLoad();
    closing.unshift(() => load.close());
    const { sessions, seconds, inFlight } = options;
    const plan = planOf(target, instances.owner.port, { ...options, inFlight: Math.max(1, inFlight) });
    const openSessions = (): Promise<void> => load.open({ plan, otherPort: instances.other.port }, sessions);
    const costs = await measure({ store, instances, load, sessions, seconds, openSessions });
    await load.close();
    return { costs, leftovers: await instances.close() };
  } finally {
    for (const close of closing) await close();
  }
}

async function measureLife({ store, load, sessions, openSessions }: Bench): Promise<Cost[]> {
  const before = await settled(store);
  await openSessions();
  const opened = await settled(store);
  const local = await perCall(store, load, "owner");
  const relayed = await perCall(store, load, "other");
  const ending = await settled(store);
  await load.hangUp();
  const life = opened - before + (await settled(store)) - ending;
  return [
    {
      what: "Upstash: opening, initializing and closing a session",
      commands: life / sessions,
      promised: "10",
    },
    { what: "Upstash: a call on its own instance", commands: local, promised: "0" },
    { what: "Upstash: a call that is carried over upstash", commands: relayed, promised: "2" },
  ];
}

async function measureHour({ store, load, sessions, seconds, openSessions }: Bench): Promise<Cost[]> {
  await openSessions();
  const relayed = await perCall(store, load, "other");
  const before = await store.commands();
  const leasesBefore = store.leases();
  await sleep(seconds * 1000, undefined, { signal: interrupted });
  const idle = (await store.commands()) - before;
  const leases = ((store.leases() - leasesBefore) / 2) * (HOUR_SECONDS / seconds);
  return [
    { what: "Upstash: a call that is carried over http", commands: relayed, promised: "0" },
    { what: "Upstash: an idle session, an hour", commands: idle / sessions, promised: "at most 3" },
    { what: "Upstash: an instance's lease, an hour", commands: leases, promised: "120" },
  ];
}

async function measureRedis({ store, load, openSessions }: Bench): Promise<Cost[]> {
  await openSessions();
  const local = await perCall(store, load, "owner");
  const relayed = await perCall(store, load, "other");
  return [
    { what: "Redis: a call on its own instance", commands: local, promised: "0" },
    { what: "Redis: a call that is carried over redis", commands: relayed, promised: "2" },
  ];
}

/** One call in flight. By the time that counts the owner is known; asking who it is costs 2, every 5 seconds. */
async function perCall(store: CountedStore, load: TwoPortsLoad, where: Where): Promise<number> {
  await load.warmUp(where, true, WARM_UP_SECONDS);
  const before = await store.commands();
  const { right, errors, wrongSession, firstError } = await load.count(CALL_SECONDS);
  const commands = (await store.commands()) - before;
  if (right === 0 || errors + wrongSession > 0) {
    throw new Error(`${right} right answers, ${wrongSession} wrong ones, ${errors} errors: ${firstError}`);
  }
  return commands / right;
}

export function storeCostTable(runs: readonly StoreCostRun[]): string {
  const all = runs.flatMap(({ costs }) => costs);
  if (runs.length > 0 && all.length === 0) {
    return "Skipped: neither redis-server nor valkey-server is on the PATH.\n";
  }
  const names = [...new Set(all.map(({ what }) => what))];
  return table(
    ["commands of", "measured", "promised in upstash.md"],
    names.map((name) => {
      const own = all.filter(({ what }) => what === name);
      return [name, figure(median(own.map(({ commands }) => commands))), own[0]?.promised ?? ""];
    }),
  );
}
