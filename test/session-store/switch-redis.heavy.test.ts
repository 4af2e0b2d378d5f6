import { randomUUID } from "node:crypto";

import { expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { mirrorSessionStore } from "../../src/session-store/mirror.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { switchOver } from "../../src/session-store/switch.ts";
import { openUpstashArchive } from "../../src/session-store/upstash-archive.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { startRedis } from "../support/redis-server.ts";
import { startUpstash } from "../support/upstash-server.ts";
import { quick } from "./mirrored.ts";
import { aLease, aRecord } from "./records.ts";

const SESSIONS = 400;
const BUSY = 50;
const TTL = 3600;

test("moves sessions of two gateways from Redis to Upstash while they are used, for a few commands each", async () => {
  const log = createLog("silent");
  const [redis, behind] = await Promise.all([startRedis(), startRedis(["--maxmemory", "200mb"])]);
  const upstash = await startUpstash({ redisUrl: behind.url });
  const prefix = `${randomUUID()}:`;
  const deadlineMs = 3000;
  const [one, other] = [
    { url: redis.url, prefix, deadlineMs, log },
    { url: upstash.url, token: upstash.token, prefix, deadlineMs, log },
  ];
  const serve = (instanceId: string) =>
    mirrorSessionStore({
      primary: guardSessionStore(openRedisSessionStore(one), { deadlineMs, log }),
      mirror: guardSessionStore(openUpstashSessionStore(other), { deadlineMs, log }),
      primaryArchive: openRedisArchive(one),
      mirrorArchive: openUpstashArchive(other),
      queueLimit: 10_000,
      syncSeconds: 0,
      instanceId,
      log,
      now: quick,
    });
  const gateways = ["a", "b"].map((id) => ({ id, store: serve(id) }));
  const [from, to] = [openRedisArchive(one), openUpstashArchive(other)];
  const beats = setInterval(() => {
    for (const { id, store } of gateways) {
      store.beat();
      void store.putLease(aLease({ id }), 90).catch(() => undefined);
    }
  }, 100);
  onTestFinished(async () => {
    clearInterval(beats);
    await Promise.all(gateways.map(({ store }) => store.close()));
    await Promise.all([from.close(), to.close()]);
    await upstash.close();
    await Promise.all([redis.stop(), behind.stop()]);
  });
  await Promise.all([...gateways.map(({ store }) => store.ready()), from.ready(), to.ready()]);
  const records = Array.from({ length: SESSIONS }, (_, at) => aRecord({ owner: at % 2 ? "a" : "b" }));
  for (const record of records) await gateways[0]?.store.create(record, TTL);
  let isOver = false;
  const problems: unknown[] = [];
  const newest = new Map(records.map((record) => [record.id, record]));
  const used = records.slice(0, BUSY).map(async ({ id }, at) => {
    const store = gateways[at % 2]?.store;
    while (!isOver) {
      const held = newest.get(id);
      if (!store || !held) throw new Error("all are known");
      const next = { ...held, rev: (held.rev ?? 0) + 1 };
      try {
        if (!(await store.replace(held, next, TTL))) throw new Error("another one wrote it");
        newest.set(id, next);
      } catch (error) {
        problems.push(error);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  const report = await switchOver({ from, to, batch: 200, now: quick, pollMs: 50, waitMs: 600_000 });
  isOver = true;
  await Promise.all(used);
  expect(problems).toEqual([]);
  const found = await to.readKeys(records.map(({ id }) => `session:${id}`));
  expect(found.map((entry) => entry?.value)).toEqual(
    records.map(({ id }) => JSON.stringify(orderedLike(newest.get(id)))),
  );
  expect(report.commandsPerKey).toBeLessThan(60);
}, 60_000);

/** The record as stores write it: `rev` comes after `epoch`. */
function orderedLike(record: ReturnType<typeof aRecord> | undefined) {
  if (record?.rev === undefined) return record;
  const { v, id, owner, epoch, rev, ...rest } = record;
  return { v, id, owner, epoch, rev, ...rest };
}
