import { BINARY, startRedis } from "../../support/redis-server.ts";
import { relayTable } from "./relay-table.ts";
import type { Counted } from "../load/orders.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { type RedisWork, watchRedis } from "../redis-figures.ts";
import { say } from "../rounds.ts";
import { TwoPortsLoad, type Where } from "../run-two-ports.ts";
import type { Target } from "../target.ts";
import { type TwoInstances, startTwoInstances } from "../two-instances.ts";
import { planOf } from "../with-load.ts";

const DRIVERS = ["http", "redis"] as const;

export interface RelayRun extends Run {
  /** None without a Redis. */
  drivers: DriverFigures[];
}

export interface DriverFigures {
  driver: (typeof DRIVERS)[number];
  /** All sessions call; the POSTs go to the owner of the stream. */
  local: Pass;
  relayed: Pass;
  /** One call in flight and nothing else. */
  localAlone: Pass;
  relayedAlone: Pass;
}

interface Pass extends Counted {
  /** Of both instances with all of their children. */
  cpuMsPerCall: number;
  redisCpuMsPerCall: number;
  redisCommandsPerCall: number;
}

/** A call whose POST reaches another instance than its stream, beside one whose POST reaches the same. */
export const RELAY: Mode<RelayRun> = {
  name: "relay",
  about: "calls carried between two instances, beside local ones",
  // No child is in its figures.
  targets: ["gateway-builtin"],
  defaults: { sessions: 8, inFlight: 4 },
  run: runRelay,
  table: relayTable,
};

async function runRelay(target: Target, round: number, options: Options): Promise<RelayRun> {
  const run: RelayRun = { target: target.name, round, leftovers: [], drivers: [] };
  if (BINARY === undefined) {
    say("relay is skipped: neither redis-server nor valkey-server is on the PATH");
    return run;
  }
  for (const driver of round % 2 === 1 ? DRIVERS : DRIVERS.toReversed()) {
    const { figures, leftovers } = await withDriver(driver, target, round, options);
    run.drivers.push(figures);
    run.leftovers.push(...leftovers);
  }
  return run;
}

async function withDriver(
  driver: DriverFigures["driver"],
  target: Target,
  round: number,
  options: Options,
): Promise<{ figures: DriverFigures; leftovers: string[] }> {
  // With a flag it is never one that others use too.
  const redis = await startRedis(["--loglevel", "warning"]);
  const closing: (() => unknown)[] = [() => redis.stop()];
  try {
    const watch = await watchRedis(redis.url);
    closing.unshift(() => watch.close());
    const instances = await startTwoInstances(target, {
      REDIS_URL: redis.url,
      SESSION_RELAY_DRIVER: driver,
    });
    closing.unshift(() => instances.close());
    const load = new TwoPortsLoad();
    closing.unshift(() => load.close());
    const figures = await measure(driver, { target, instances, load, options, round, redis: watch.read });
    await load.close();
    return { figures, leftovers: await instances.close() };
  } finally {
    for (const close of closing) await close();
  }
}

interface Bench {
  target: Target;
  round: number;
  options: Options;
  instances: TwoInstances;
  load: TwoPortsLoad;
  redis(): Promise<RedisWork>;
}

/** The same sessions call both ways, in an order that turns with the round. */
async function measure(driver: DriverFigures["driver"], bench: Bench): Promise<DriverFigures> {
  const { target, instances, load, options, round } = bench;
  const plan = planOf(target, instances.owner.port, { ...options, inFlight: Math.max(1, options.inFlight) });
  await load.open({ plan, otherPort: instances.other.port }, options.sessions);
  const passes = {} as Record<Where | `${Where}-alone`, Pass>;
  for (const where of round % 2 === 1 ? (["owner", "other"] as const) : (["other", "owner"] as const)) {
    passes[where] = await pass(bench, where, false, options.warmUpSeconds);
    // By now the code is warm.
    passes[`${where}-alone`] = await pass(bench, where, true, Math.min(1, options.warmUpSeconds));
  }
  return {
    driver,
    local: passes.owner,
    relayed: passes.other,
    localAlone: passes["owner-alone"],
    relayedAlone: passes["other-alone"],
  };
}

async function pass(bench: Bench, where: Where, alone: boolean, warmUpSeconds: number): Promise<Pass> {
  const { instances, load, options, redis } = bench;
  await load.warmUp(where, alone, warmUpSeconds);
  const redisBefore = await redis();
  const cpuBefore = instances.cpuSeconds();
  const counted = await load.count(options.seconds);
  const cpuSeconds = instances.cpuSeconds() - cpuBefore;
  const redisAfter = await redis();
  const answered = counted.right + counted.wrongSession;
  if (answered === 0) {
    throw new Error(`no call to the ${where} was answered: ${counted.firstError ?? "none failed either"}`);
  }
  return {
    ...counted,
    cpuMsPerCall: (cpuSeconds * 1000) / answered,
    redisCpuMsPerCall: ((redisAfter.cpuSeconds - redisBefore.cpuSeconds) * 1000) / answered,
    redisCommandsPerCall: (redisAfter.commands - redisBefore.commands) / answered,
  };
}
