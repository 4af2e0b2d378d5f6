import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { onTestFinished } from "vitest";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";

/** Upstash as a story sees it that must not share its own loop with it. */
export interface StandIn {
  url: string;
  token: string;
  /** As the command line and `SESSION_MIRROR` take it. */
  storeUrl: string;
  /** What it holds, past its API. */
  db: Redis;
  /** Commands on its bill so far. */
  billed(): Promise<number>;
}

const PROCESS = fileURLToPath(new URL("migrate-upstash.ts", import.meta.url));

/** A Redis with a connection of the test's own; both end with the test. */
export async function startSource(flags: readonly string[]): Promise<{ redis: RedisUnderTest; db: Redis }> {
  const redis = await startRedis(["--loglevel", "warning", ...flags]);
  const db = new Redis(redis.url);
  db.on("error", () => undefined);
  onTestFinished(async () => {
    db.disconnect();
    await redis.stop();
  });
  return { redis, db };
}

/** Starts the stand-in in a process of its own before a Redis of its own. */
export async function startStandIn(): Promise<StandIn> {
  const { redis, db } = await startSource(["--maxmemory", "1gb"]);
  const child = spawn(process.execPath, ["--import", "tsx", PROCESS, redis.url], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.disconnect();
    await once(child, "exit");
  });
  const [{ url, token }] = (await once(child, "message")) as [{ url: string; token: string }];
  return {
    url,
    token,
    storeUrl: url.replace("://", `://:${encodeURIComponent(token)}@`),
    db,
    billed: async () => {
      const told = once(child, "message") as Promise<[{ billed: number }]>;
      child.send("bill");
      return (await told)[0].billed;
    },
  };
}
