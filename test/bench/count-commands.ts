import { setTimeout as sleep } from "node:timers/promises";
import { startRedis } from "../support/redis-server.ts";
import { startUpstash } from "../support/upstash-server.ts";
import { watchRedis } from "./redis-figures.ts";

const LOOK_EVERY_MS = 100;
/** Longer than the beat at which sessions that are over are removed together. */
const QUIET_MS = 1500;
const SETTLE_WITHIN_MS = 20_000;

/** A store that counts the commands of those who use it. */
export interface CountedStore {
  /** What makes a gateway use it. */
  env: Record<string, string>;
  /** Commands so far; where it can tell them apart without the leases of instances. */
  commands(): Promise<number>;
  /** Leases written so far; NaN where it cannot tell them apart. */
  leases(): number;
  close(): Promise<void>;
}

/** Upstash's REST API in front of a real Redis: what counts is the bill. */
export async function openBilledStore(): Promise<CountedStore> {
  const redis = await startRedis(["--loglevel", "warning"]);
  try {
    const upstash = await startUpstash({ redisUrl: redis.url });
    const isLease = (command: readonly (string | Buffer)[]): boolean =>
      String(command[1]).includes(":instance:");
    const leases = (): number =>
      upstash.requests().reduce((sum, { commands }) => sum + commands.filter(isLease).length, 0);
    return {
      env: { UPSTASH_REDIS_REST_URL: upstash.url, UPSTASH_REDIS_REST_TOKEN: upstash.token },
      commands: async () => upstash.billed() - leases(),
      leases,
      close: async () => {
        await upstash.close();
        await redis.stop();
      },
    };
  } catch (error) {
    await redis.stop();
    throw error;
  }
}

/** A real Redis, which counts itself. */
export async function openRedisStore(): Promise<CountedStore> {
  const redis = await startRedis(["--loglevel", "warning"]);
  try {
    const watch = await watchRedis(redis.url);
    return {
      env: { REDIS_URL: redis.url },
      commands: async () => (await watch.read()).commands,
      leases: () => Number.NaN,
      close: async () => {
        watch.close();
        await redis.stop();
      },
    };
  } catch (error) {
    await redis.stop();
    throw error;
  }
}

/** The commands so far, once no more come. */
export async function settled(store: CountedStore): Promise<number> {
  const deadline = performance.now() + SETTLE_WITHIN_MS;
  let seen = await store.commands();
  for (let quietMs = 0; quietMs < QUIET_MS && performance.now() < deadline; quietMs += LOOK_EVERY_MS) {
    await sleep(LOOK_EVERY_MS);
    const now = await store.commands();
    if (now !== seen) quietMs = 0;
    seen = now;
  }
  return seen;
}
