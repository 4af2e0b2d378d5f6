import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import type { JournalChange, SessionStore } from "../../src/session-store/session-store.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { startUpstash, type Fault, type UpstashUnderTest } from "../support/upstash-server.ts";
import { aChange, TTL } from "./backend.ts";
import { tellAll } from "./records.ts";

let redis: RedisUnderTest;
let upstash: UpstashUnderTest;

beforeAll(async () => {
  redis = await startRedis();
  upstash = await startUpstash({ redisUrl: redis.url });
});
beforeEach(() => {
  upstash.heal();
  upstash.resetBilled();
});
afterAll(async () => {
  await upstash.close();
  await redis.stop();
});

function open(deadlineMs = 2000): SessionStore {
  const { url, token } = upstash;
  const store = openUpstashSessionStore({ url, token, prefix: "mcp:", deadlineMs, log: createLog("silent") });
  onTestFinished(() => store.close());
  return store;
}

/** The requests that `work` makes: their path, their bytes and the names of their commands. */
async function requestsOf(work: () => Promise<unknown>) {
  const before = upstash.requests().length;
  await work();
  return upstash
    .requests()
    .slice(before)
    .map(({ path, headers, commands }) => ({
      path,
      bytes: Number(headers["content-length"]),
      names: commands.map(([name]) => String(name).toUpperCase()),
    }));
}

/** Expects what was put to be all that is stored. Comparing large buffers by `toEqual` takes seconds. */
async function holds(store: SessionStore, { id: journal, put }: JournalChange): Promise<void> {
  const read = await store.readJournal(journal, 0);
  expect(read.size).toBe(put.size);
  for (const [name, bytes] of put) expect(read.get(name)?.equals(bytes), name).toBe(true);
}

const kilobytes = (count: number): string => "x".repeat(count * 1000);
const id = randomUUID();

test.each<[string, (store: SessionStore) => Promise<unknown>, Record<string, number>]>([
  ["enlist", (store) => store.enlist("client", id, {}, TTL), { HSET: 1, EXPIRE: 1 }],
  ["trace", (store) => store.trace("client"), { HGETALL: 1 }],
  ["trace of nobody", (store) => store.trace(randomUUID()), { HGETALL: 1 }],
  ["delist", (store) => store.delist("client", id), { HDEL: 1 }],
  ["seat", (store) => store.seat("caller", id, "owner", TTL), { HSET: 1, EXPIRE: 1, HLEN: 1 }],
  [
    "unseat of 100",
    (store) =>
      store.unseat(
        "caller",
        Array.from({ length: 100 }, () => id),
      ),
    { HDEL: 1 },
  ],
  ["unseat of none", (store) => store.unseat("caller", []), {}],
  ["seatsOf", (store) => store.seatsOf("caller"), { HGETALL: 1 }],
  ["a change of nothing", (store) => store.writeJournals([aChange({})], TTL), { EXPIRE: 1 }],
  [
    "a change that puts 100 entries",
    (store) =>
      store.writeJournals(
        [aChange(Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`${at}`, "{}"])))],
        TTL,
      ),
    { HSET: 1, EXPIRE: 1 },
  ],
  [
    "a change that drops 100 entries",
    (store) =>
      store.writeJournals([aChange({}, { drop: Array.from({ length: 100 }, (_, at) => `${at}`) })], TTL),
    { HDEL: 1, EXPIRE: 1 },
  ],
  [
    "three changes that put and drop",
    (store) =>
      store.writeJournals(
        ["1", "2", "3"].map((text) => aChange({ a: text }, { drop: ["b"] })),
        TTL,
      ),
    { HSET: 3, HDEL: 3, EXPIRE: 3 },
  ],
  [
    "an entry of 2 MB",
    (store) => store.writeJournals([aChange({ a: kilobytes(2000) })], TTL),
    { HSET: 1, EXPIRE: 1 },
  ],
  [
    "a change of 2 MB in small entries",
    (store) =>
      store.writeJournals(
        [
          aChange(Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`${at}`, kilobytes(100)])), {
            drop: ["x"],
          }),
        ],
        TTL,
      ),
    { HSET: 3, HDEL: 1, EXPIRE: 1 },
  ],
  ["no changes", (store) => store.writeJournals([], TTL), {}],
  ["readJournal", (store) => store.readJournal(id, 0), { HGETALL: 1 }],
  ["removeJournal", (store) => store.removeJournal(id, 0), { DEL: 1 }],
])("is billed for %s as published", async (_, verb, bill) => {
  await verb(open());
  expect(upstash.billedByCommand()).toEqual(bill);
});

test("sends 100 small changes in one HTTP request, an enlist and a seat in one each", async () => {
  const store = open();
  const changes = Array.from({ length: 100 }, () => aChange({ a: "1" }, { drop: ["b"] }));
  const requests = await requestsOf(async () => {
    await store.writeJournals(changes, TTL);
    await store.enlist("client", id, {}, TTL);
    await store.seat("caller", id, "owner", TTL);
  });
  expect(requests.map(({ path, names }) => [path, names.length])).toEqual([
    ["/pipeline", 300],
    ["/pipeline", 2],
    ["/pipeline", 3],
  ]);
});

test("keeps each HTTP request below 900 KB, whatever its texts become in JSON", async () => {
  const store = open();
  const texts = ['é😀\\"\n\u0001', "x", '""""', "\u2028"].map((unit) =>
    unit.repeat(200_000 / Buffer.byteLength(unit)),
  );
  const changes = texts.flatMap((text) => [
    aChange({ a: text, b: text, c: text }),
    aChange({}, { drop: [text.slice(0, 1000)] }),
  ]);
  const requests = await requestsOf(() => store.writeJournals(changes, TTL));
  expect(Math.max(...requests.map(({ bytes }) => bytes))).toBeLessThanOrEqual(900_000);
  expect(requests.length).toBeLessThan(12);
  for (const change of changes) await holds(store, change);
});

test("sends an entry above 900 KB alone", async () => {
  const store = open();
  const large = aChange({ small: "1", large: kilobytes(1500), last: "2" });
  const requests = await requestsOf(() => store.writeJournals([aChange(), large, aChange()], TTL));
  const sizes = requests.map(({ bytes }) => Math.round(bytes / 100_000));
  expect(sizes).toEqual([0, 15, 0]);
  await holds(store, large);
});

test("gives a journal its expiry with the first request that writes to it", async () => {
  const store = open();
  const change = aChange({ a: kilobytes(800), b: kilobytes(800) });
  const requests = await requestsOf(() => store.writeJournals([change], TTL));
  expect(requests.map(({ names }) => names)).toEqual([["HSET", "EXPIRE"], ["HSET"]]);
});

test("stops at the first request that fails, and at the deadline", async () => {
  const changes = Array.from({ length: 4 }, () => aChange({ a: kilobytes(800) }));
  for (const [fault, sent] of [
    [{ kind: "answer", status: 500, body: "{}" }, 1],
    [{ kind: "delay", milliseconds: 600 }, 2],
  ] satisfies [Fault, number][]) {
    upstash.fail(() => fault);
    const store = open(1000);
    const requests = await requestsOf(async () => {
      await expect(store.writeJournals(changes, TTL)).rejects.toMatchObject({ reason: "store_unavailable" });
      await new Promise((resolve) => setTimeout(resolve, 1000));
    });
    expect(requests).toHaveLength(sent);
  }
});

test.each<[string, string]>([
  ["no list", '{"result":"OK"}'],
  ["half a pair", '{"result":["a"]}'],
  ["numbers", '{"result":["a",1]}'],
])("calls %s instead of a hash unavailable, and shows none of it", async (_, body) => {
  upstash.fail(() => ({ kind: "answer", status: 200, body }));
  const store = open();
  for (const work of [store.trace("client"), store.readJournal("canary", 0)]) {
    const error: unknown = await work.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: "store_unavailable", cause: { code: "BAD_ANSWER" } });
  }
});

test("calls a pipeline with an answer too few, and one refused in part, unavailable, and shows no entry", async () => {
  const store = open();
  for (const body of [
    '[{"result":1}]',
    "[]",
    '[{"result":1},{"error":"ERR max single record size exceeded canary"}]',
  ]) {
    upstash.fail(() => ({ kind: "answer", status: 200, body }));
    const work = store.writeJournals([aChange({ a: "canary" })], TTL);
    const error: unknown = await work.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: "store_unavailable" });
    expect(tellAll(error)).not.toContain("canary");
    await expect(store.enlist("canary", id, {}, TTL)).rejects.toMatchObject({ reason: "store_unavailable" });
  }
});
