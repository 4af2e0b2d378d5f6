import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import type { Archive } from "../../src/session-store/archive.ts";
import { bridgeSessionStore } from "../../src/session-store/fallback.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { StoreFailure, unavailable } from "../../src/session-store/store-failure.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { aChange } from "./backend.ts";
import { describeSessionStore } from "./conformance.ts";
import { aLease, aRecord } from "./records.ts";

const log = createLog("silent");
const away = unavailable(new StoreFailure("unreachable", "ECONNREFUSED"));
const isAway = { reason: "store_unavailable" };

let redis: RedisUnderTest;
beforeAll(async () => void (redis = await startRedis()));
afterAll(() => redis.stop());

describeSessionStore("Redis, with memory behind it", "inside", async (prefix) => {
  const options = { url: redis.url, prefix: `fallback-${Math.random()}:${prefix}`, deadlineMs: 1000, log };
  const archives: Archive[] = [];
  const [one, other] = [1, 2].map(() => {
    const archive = openRedisArchive(options);
    archives.push(archive);
    const primary = guardSessionStore(openRedisSessionStore(options), { deadlineMs: 1000, log });
    return bridgeSessionStore({ primary, archive, log });
  });
  if (!one || !other) throw new Error("two were opened");
  await Promise.all([one.ready(), other.ready()]);
  return { one, other };
});

/** A store that the test takes away and brings back, with and without what it held, and the bridge over it. */
function setUp() {
  const world = { isAway: false, time: 0 };
  const held = createMemorySessionStore({ now: () => world.time });
  const unless =
    (target: object) =>
    (_: object, name: string): unknown => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) =>
        world.isAway && name !== "close"
          ? Promise.reject(away)
          : (member as (...all: unknown[]) => unknown)(...args);
    };
  const answers = { ...held, kind: "redis" };
  const store = new Proxy({}, { get: unless(answers) }) as SessionStore;
  const archive = new Proxy({}, { get: unless(held.archive) }) as Archive;
  const guard = { deadlineMs: 1000, log, now: () => world.time, random: () => 0 };
  const primary = guardSessionStore(store, guard);
  const bridge = bridgeSessionStore({ primary, archive, log, now: () => world.time });
  onTestFinished(() => bridge.close());
  const back = async (): Promise<void> => {
    world.isAway = false;
    world.time += 5000;
    await bridge.beat(world.time);
  };
  return { world, held, answers, bridge, back };
}

describe("a store with memory behind it", () => {
  test("goes on with what this process wrote, when it goes away", async () => {
    const { world, bridge } = setUp();
    const record = aRecord();
    const lease = aLease();
    const change = aChange();
    await bridge.create(record, 60);
    await bridge.putLease(lease, 60);
    await bridge.writeJournals([change], 60);
    await bridge.seat("alice", record.id, "i", 60);
    world.isAway = true;
    expect(await bridge.get(record.id)).toEqual(record);
    expect(await bridge.getLease(lease.id)).toEqual(lease);
    expect(await bridge.readJournal(change.id, change.epoch)).toEqual(change.put);
    expect(await bridge.seat("alice", "another", "i", 60)).toBe(2);
    expect(bridge.fallback()).toMatchObject({ isBridging: true });
  });

  test("says of what it cannot know that it cannot, and never that it is not there", async () => {
    const { world, held, bridge } = setUp();
    const stranger = aRecord();
    await held.create(stranger, 60);
    world.isAway = true;
    await expect(bridge.get(stranger.id)).rejects.toMatchObject(isAway);
    await expect(bridge.replace(stranger, { ...stranger, epoch: 1 }, 60)).rejects.toMatchObject(isAway);
    await expect(bridge.removeIf(stranger)).rejects.toMatchObject(isAway);
    await expect(bridge.getLease("i-other")).rejects.toMatchObject(isAway);
    await expect(bridge.trace("mark")).rejects.toMatchObject(isAway);
    await expect(bridge.readJournal(stranger.id, 0)).rejects.toMatchObject(isAway);
  });

  test("has all that was done without it, when it is back", async () => {
    const { world, held, bridge, back } = setUp();
    const [kept, changed, removed, born] = [aRecord(), aRecord(), aRecord(), aRecord()];
    for (const record of [kept, changed, removed]) await bridge.create(record, 60);
    const change = aChange({ one: "1", two: "2" });
    await bridge.writeJournals([change], 60);
    world.isAway = true;
    const next = { ...changed, rev: 1, subscriptions: ["a:b"] };
    expect(await bridge.replace(changed, next, 60)).toBe(true);
    expect(await bridge.removeIf(removed)).toBe(true);
    expect(await bridge.create(born, 60)).toBe(true);
    await bridge.writeJournals([{ ...change, put: new Map(), drop: ["one"] }], 60);
    expect(await bridge.extend([kept.id, born.id], 60)).toEqual([kept, born]);
    await back();
    expect(bridge.fallback()).toEqual({ isBridging: false, seconds: undefined, waiting: 0 });
    expect(await held.get(kept.id)).toEqual(kept);
    expect(await held.get(changed.id)).toEqual(next);
    expect(await held.get(removed.id)).toBeUndefined();
    expect(await held.get(born.id)).toEqual(born);
    expect([...(await held.readJournal(change.id, change.epoch)).keys()]).toEqual(["two"]);
  });

  test("gets everything that changed, when it comes back empty", async () => {
    const { world, held, bridge, back } = setUp();
    world.isAway = true;
    const records = Array.from({ length: 1200 }, () => aRecord());
    for (const record of records) await bridge.create(record, 60);
    await held.remove(records.map(({ id }) => id));
    await back();
    expect(
      await held.extend(
        records.map(({ id }) => id),
        60,
      ),
    ).toEqual(records);
  });

  test("gets what nobody touched meanwhile as well, when it comes back empty", async () => {
    const { world, held, bridge, back } = setUp();
    const records = Array.from({ length: 1200 }, () => aRecord());
    for (const record of records) await bridge.create(record, 60);
    const [first] = records as [ReturnType<typeof aRecord>];
    await bridge.enlist("client", first.id, { name: "x" }, 60);
    world.isAway = true;
    await bridge.extend([first.id], 60);
    await held.remove(records.map(({ id }) => id));
    await held.archive.remove(["client:client"]);
    await back();
    const ids = records.map(({ id }) => id);
    expect(await held.extend(ids, 60)).toEqual(records);
    expect(await held.trace("client")).toMatchObject({ sessions: [first.id] });
  });

  test("keeps a newer version that somebody else wrote meanwhile", async () => {
    const { world, held, bridge, back } = setUp();
    const record = aRecord();
    await bridge.create(record, 60);
    world.isAway = true;
    await bridge.replace(record, { ...record, rev: 1 }, 60);
    const newer = { ...record, owner: "i-other", epoch: record.epoch + 1 };
    await held.replace(record, newer, 60);
    await back();
    expect(await held.get(record.id)).toEqual(newer);
  });

  test("keeps what an earlier process wrote of clients and callers", async () => {
    const { world, held, bridge, back } = setUp();
    await held.seat("alice", "before", "i-0", 60);
    await held.enlist("mark", "before", { a: 1 }, 60);
    world.isAway = true;
    await bridge.seat("alice", "now", "i-1", 60);
    await bridge.enlist("mark", "now", undefined, 60);
    await bridge.unseat("bob", ["x"]);
    await back();
    expect([...(await held.seatsOf("alice")).keys()].toSorted()).toEqual(["before", "now"]);
    expect(await held.trace("mark")).toMatchObject({ initialize: { a: 1 } });
  });

  test("loses nothing when it goes away again while it is caught up with", async () => {
    const { world, held, answers, bridge, back } = setUp();
    const record = aRecord();
    world.isAway = true;
    await bridge.create(record, 60);
    // Reachable for the question, and gone for the answer.
    answers.ready = () => {
      world.isAway = true;
      return Promise.resolve();
    };
    await back();
    expect(bridge.fallback()).toMatchObject({ isBridging: true, waiting: 1 });
    answers.ready = held.ready;
    await back();
    expect(await held.get(record.id)).toEqual(record);
  });

  test("passes on what a store refuses that is there", async () => {
    const { bridge, answers } = setUp();
    const full = unavailable(new StoreFailure("refused", "OOM"));
    answers.create = () => Promise.reject(full);
    await expect(bridge.create(aRecord(), 60)).rejects.toBeInstanceOf(GatewayError);
    expect(bridge.fallback().isBridging).toBe(false);
  });

  test("begins with memory as soon as somebody looks after it, when nobody asks for a session", async () => {
    const { world, bridge } = setUp();
    await bridge.reach();
    world.isAway = true;
    await expect(bridge.reach()).rejects.toMatchObject(isAway);
    expect(bridge.fallback().isBridging).toBe(true);
    await bridge.ready();
  });

  test("is ready while it is away", async () => {
    const { world, bridge } = setUp();
    world.isAway = true;
    await bridge.create(aRecord(), 60);
    await expect(bridge.ready()).resolves.toBeUndefined();
  });
});
