import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { mirrorSessionStore, type MirroredSessionStore } from "../../src/session-store/mirror.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { writeControl } from "../../src/session-store/switch-control.ts";
import { openUpstashArchive } from "../../src/session-store/upstash-archive.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { startUpstash } from "../support/upstash-server.ts";
import { keysOf, rejectsUnavailable } from "./backend.ts";
import { describeSessionStore } from "./conformance.ts";
import { QuickStage } from "./mirrored.ts";
import { plugInto } from "./plug.ts";
import { aLease, aRecord } from "./records.ts";

const log = createLog("silent");
const deadlineMs = 1000;

let redis: RedisUnderTest;
let behind: RedisUnderTest;
let raw: RespConnection;
let rawBehind: RespConnection;

beforeAll(async () => {
  [redis, behind] = await Promise.all([startRedis(), startRedis(["--maxmemory", "200mb"])]);
  [raw, rawBehind] = await Promise.all([openResp(redis.url), openResp(behind.url)]);
});
afterAll(async () => {
  raw.close();
  rawBehind.close();
  await Promise.all([redis.stop(), behind.stop()]);
});

type Pair = { redisUrl: string; upstash: { url: string; token: string }; prefix: string };

/** Redis, mirrored to Upstash. */
function open(
  { redisUrl, upstash, prefix }: Pair,
  over: { syncSeconds?: number } = {},
): MirroredSessionStore {
  const one = { url: redisUrl, prefix, deadlineMs, log };
  const other = { ...upstash, prefix, deadlineMs, log };
  const store = mirrorSessionStore({
    primary: guardSessionStore(openRedisSessionStore(one), { deadlineMs, log }),
    mirror: guardSessionStore(openUpstashSessionStore(other), { deadlineMs, log }),
    primaryArchive: openRedisArchive(one),
    mirrorArchive: openUpstashArchive(other),
    queueLimit: 10_000,
    syncSeconds: 300,
    instanceId: randomUUID(),
    log,
    ...over,
  });
  return store;
}

for (const phase of ["none", "to"] as const) {
  const name = { none: "Redis with a mirror", to: "a mirror that was switched to" }[phase];
  describeSessionStore(name, "outside", async (prefix) => {
    const server = await startUpstash({ redisUrl: behind.url });
    const plug = await plugInto(Number(new URL(redis.url).port));
    const pair: Pair = { redisUrl: `redis://127.0.0.1:${plug.port}`, upstash: server, prefix };
    const archive = openRedisArchive({ url: redis.url, prefix, deadlineMs, log });
    await archive.ready();
    if (phase === "none") await archive.remove(["moving"]);
    else await writeControl(archive, { id: "move", phase, side: "from" });
    await archive.close();
    const [one, other] = [open(pair), open(pair)];
    await Promise.all([one.ready(), other.ready()]);
    expect(one.mirrorState().phase).toBe(phase);
    return {
      one,
      other,
      outside: {
        ...keysOf(phase === "to" ? rawBehind : raw),
        unplug: async () => {
          await Promise.all([plug.pull(), server.close()]);
        },
      },
      end: async () => {
        await plug.pull();
        await server.close();
      },
    };
  });
}

describeSessionStore("the middle of a switch", "inside", async () => {
  const stage = new QuickStage();
  await writeControl(stage.one.archive(), { id: "move", phase: "pivot", side: "from" });
  const [one, other] = ["one", "other"].map((instanceId) => stage.open({ instanceId }));
  if (!one || !other) throw new Error("two were opened");
  return { one, other };
});

test("goes on reading when Redis is killed, and gives it back all when it is there again", async () => {
  const own = await startRedis(["--maxmemory", "100mb"]);
  const server = await startUpstash({ redisUrl: behind.url });
  const store = open({ redisUrl: own.url, upstash: server, prefix: `${randomUUID()}:` });
  onTestFinished(async () => {
    clearInterval(beats);
    await store.close();
    await server.close();
    await own.stop();
  });
  const beats = setInterval(() => store.beat(), 50);
  await store.ready();
  const records = Array.from({ length: 300 }, () => aRecord());
  await Promise.all(records.map((record) => store.create(record, 60)));
  await store.putLease(aLease(), 60);
  await eventually(() => expect(store.mirrorState()).toMatchObject({ queued: 0, divergent: 0 }));
  own.pause?.();
  // A store that answers nothing more is told from one that has nothing.
  const found = await Promise.all(records.slice(0, 20).map(({ id }) => store.get(id)));
  expect(found).toEqual(records.slice(0, 20));
  await rejectsUnavailable(store.create(aRecord(), 60));
  expect(store.mirrorState().isReading).toBe(true);
  await own.restart?.();
  await eventually(async () => {
    expect(store.mirrorState()).toMatchObject({ isReading: false, divergent: 0, sync: "idle" });
    expect(await store.get(records[299]?.id ?? "")).toEqual(records[299]);
  });
  expect(
    await store.extend(
      records.map(({ id }) => id),
      60,
    ),
  ).toEqual(records);
}, 40_000);
