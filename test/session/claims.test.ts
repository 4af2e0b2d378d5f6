import { describe, expect, it } from "vitest";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { createCluster } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

/** Two instances, and the record of a third one's session. */
async function cluster() {
  const { store, clock, network, start } = createCluster();
  const [first, second, third] = [await start("i-1"), await start("i-2"), await start("i-3")];
  const { session } = await third.connect();
  await third.post(session, {
    jsonrpc: "2.0",
    id: 1,
    method: "logging/setLevel",
    params: { level: "debug" },
  });
  await third.post(session, { jsonrpc: "2.0", id: 2, method: "resources/subscribe", params: { uri: "a:b" } });
  await settled();
  const record = (await store.get(session.id)) as SessionRecord;
  return { store, clock, network, first, second, third, session, record };
}

describe("a session whose owner is dead", () => {
  it("is claimed by exactly one of those who try, which owns it from then on", async () => {
    const { store, first, second, record } = await cluster();
    const claimed = await Promise.all([first.claims.claim(record), second.claims.claim(record)]);
    expect(claimed.filter((session) => session !== undefined)).toHaveLength(1);
    const winner = claimed[0] === undefined ? second : first;
    const loser = winner === first ? second : first;
    expect(winner.sessions.find(record.id)).toBeDefined();
    expect(loser.sessions.find(record.id)).toBeUndefined();
    const { rev, ...rest } = record;
    expect(rev).toBeGreaterThan(0);
    expect(await store.get(record.id)).toEqual({
      ...rest,
      owner: winner === first ? "i-1" : "i-2",
      epoch: record.epoch + 1,
    });
    // The record that the loser knew is not true any more.
    expect(await loser.claims.claim(record)).toBeUndefined();
  });

  it("is claimed once on one instance, however many ask at once", async () => {
    const { first, record } = await cluster();
    const [one, other] = await Promise.all([first.claims.claim(record), first.claims.claim(record)]);
    expect(one).toBeDefined();
    expect(other).toBe(one);
    expect(first.sessions.count).toBe(1);
  });

  it("is not claimed when its record has changed since it was read", async () => {
    const { store, first, record } = await cluster();
    await store.replace(record, { ...record, subscriptions: [] }, 60);
    expect(await first.claims.claim(record)).toBeUndefined();
    expect(await store.get(record.id)).toMatchObject({ owner: "i-3" });
  });

  it("is not claimed by an instance that drains", async () => {
    const { store, first, record } = await cluster();
    await first.sessions.drain(AbortSignal.abort());
    expect(await first.claims.claim(record)).toBeUndefined();
    expect(await store.get(record.id)).toEqual(record);
  });

  it("is there with all that its client had told, and waits for its client", async () => {
    const { clock, first, record, session } = await cluster();
    clock.now = 50_000;
    const claimed = await first.claims.claim(record);
    expect(claimed).toMatchObject({
      id: session.id,
      caller: "alice",
      epoch: 2,
      orphanedAt: 50_000,
      hasBegun: true,
    });
    const stream = new ScriptedStream();
    claimed?.attach(stream);
    if (claimed !== undefined) await first.post(claimed, { jsonrpc: "2.0", id: 3, method: "m" });
    expect(first.upstream.links[0]?.told).toMatchObject([
      { method: "initialize", params: { clientInfo: { name: "c" } } },
      { method: "notifications/initialized" },
      { method: "logging/setLevel", params: { level: "debug" } },
      { method: "resources/subscribe", params: { uri: "a:b" } },
      { id: 3 },
    ]);
  });

  it("is found out by its old owner, if that was only asleep, which lets go of it and writes nothing", async () => {
    const { store, clock, first, third, record, session } = await cluster();
    await first.claims.claim(record);
    const claimed = await store.get(record.id);
    clock.now += 91_000;
    expect(third.sessions.mustVerify).toBe(true);
    await third.sessions.verify();
    expect([session.isOpen, third.sessions.count]).toEqual([false, 0]);
    await third.sessions.beat();
    expect(await store.get(record.id)).toEqual(claimed);
  });
});

describe("a session that its owner has let go of", () => {
  it("is claimed, and is nobody's to claim again", async () => {
    const { store, first, second, record } = await cluster();
    const released = { ...record, released: true } as const;
    await store.replace(record, released, 60);
    expect(await first.claims.claim(released)).toBeDefined();
    const now = await store.get(record.id);
    const { rev: _rev, ...rest } = record;
    expect(now).toEqual({ ...rest, owner: "i-1", epoch: 2 });
    expect(now).not.toHaveProperty("released");
    expect(await second.claims.claim(released)).toBeUndefined();
  });

  it("is claimed with what was left in its journal, which is then empty", async () => {
    const { store, first, record } = await cluster();
    const put = new Map([
      ["m:7", Buffer.from('{"jsonrpc":"2.0","method":"seven"}')],
      ["m:6", Buffer.from('{"jsonrpc":"2.0","id":6,"result":{}}')],
      ["r:8", Buffer.from('{"jsonrpc":"2.0","id":8,"method":"m"}')],
    ]);
    await store.writeJournals([{ id: record.id, epoch: 1, put, drop: [] }], 60);
    const claimed = await first.claims.claim(record);
    const stream = new ScriptedStream();
    claimed?.attach(stream);
    expect(stream.messages).toMatchObject([
      { id: 6 },
      { method: "seven" },
      { id: 8, error: { data: { reason: "upstream_restarted" } } },
    ]);
    expect(stream.sequences).toEqual([6, 7, 1_000_000_001]);
    await settled();
    expect(await store.readJournal(record.id, 1)).toEqual(new Map());
  });
});

it("whoever waits for claims goes on when the last has its outcome, good or bad", async () => {
  const { store, first, record } = await cluster();
  const order: string[] = [];
  store.replace = () => Promise.reject(new Error("away"));
  const claim = first.claims.claim(record).catch(() => void order.push("claim"));
  await first.claims.settled();
  await claim;
  order.push("settled");
  expect(order).toEqual(["claim", "settled"]);
  await first.claims.settled();
});
