import { describe, expect, it } from "vitest";
import type { GatewayEvent } from "../../src/events.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { closeKeys } from "../../src/session/close-sessions.ts";
import { createCluster } from "./instances.ts";
import { LIMITS, settled } from "./scripted.ts";

/** An instance with a session that has begun, and its record. */
async function withSession(more: object = {}) {
  const cluster = createCluster();
  const events: GatewayEvent[] = [];
  const one = await cluster.start("i-1", { events: { emit: (event) => void events.push(event) }, ...more });
  const { session, stream } = await one.connect();
  await settled();
  const record = (await cluster.store.get(session.id)) as SessionRecord;
  const ends = () => events.flatMap((event) => (event.type === "session_closed" ? [event.end] : []));
  return { ...cluster, one, session, stream, record, events, ends };
}

describe("a session whose end an operator has asked for", () => {
  const marked = (record: SessionRecord): SessionRecord => ({
    ...record,
    rev: (record.rev ?? 0) + 1,
    ending: true,
  });

  it("ends when its owner finds word of it in its lease, and its record goes", async () => {
    const { store, clock, one, session, record, ends } = await withSession();
    await store.replace(record, marked(record), 60);
    const lease = await store.getLease("i-1");
    await store.putLease({ ...(lease as NonNullable<typeof lease>), look: true }, 60);
    clock.now += 30_000;
    await one.sessions.beat();
    await settled();
    expect(session.isOpen).toBe(false);
    expect(ends()).toEqual(["operator"]);
    await one.sessions.beat();
    expect(await store.get(session.id)).toBeUndefined();
    expect(await store.getLease("i-1")).not.toHaveProperty("look");
  });

  it("ends when its owner wants to change its record, which is not written over", async () => {
    const { store, one, session, record, ends } = await withSession();
    await store.replace(record, marked(record), 60);
    await one.post(session, { jsonrpc: "2.0", id: 7, method: "logging/setLevel", params: { level: "info" } });
    await settled();
    expect(ends()).toEqual(["operator"]);
    await one.sessions.beat();
    expect(await store.get(session.id)).toBeUndefined();
  });

  it("is not taken up by another instance when its owner is dead", async () => {
    const { store, start, record } = await withSession();
    await store.replace(record, marked(record), 60);
    await store.removeLease("i-1");
    const other = await start("i-2");
    expect(await other.claims.claim(marked(record))).toBeUndefined();
  });
});

describe("a session whose key is revoked", () => {
  it("ends with the sessions of that key, and no other", async () => {
    const revoked = new Set<string>();
    const { one, ends } = await withSession({ mayUse: (key: string) => !revoked.has(key) });
    const mine = one.sessions.open({ ...visitor, key: "k_1" });
    const other = one.sessions.open({ ...visitor, key: "k_2" });
    revoked.add("k_1");
    closeKeys(
      one.sessions.index,
      (key) => !revoked.has(key),
      () => 1,
    );
    expect([mine.isOpen, other.isOpen]).toEqual([false, true]);
    expect(ends()).toEqual(["key_revoked"]);
  });

  it("is not taken up by another instance", async () => {
    const { store, start, one } = await withSession();
    const session = one.sessions.open({ ...visitor, key: "k_1" });
    await settled();
    const record = (await store.get(session.id)) as SessionRecord;
    expect(record.key).toBe("k_1");
    await store.removeLease("i-1");
    const without = await start("i-2", { mayUse: (key) => key !== "k_1" });
    expect(await without.claims.claim(record)).toBeUndefined();
    const other = await start("i-3");
    expect(await other.claims.claim(record)).toBeDefined();
  });
});

describe("a session that may live for an hour", () => {
  const limits = { maxAgeMs: 3_600_000 };

  it("ends after it, however busy it is", async () => {
    const { one, clock, session, ends } = await withSession({ limits: patient(limits) });
    clock.now += 3_599_000 - 30_000;
    await one.sessions.beat();
    expect(session.isOpen).toBe(true);
    clock.now += 1000;
    await one.sessions.beat();
    expect(ends()).toEqual(["expired"]);
  });

  it("is as old on the next instance as it was", async () => {
    const { store, start, record } = await withSession();
    const old = { ...record, createdAt: new Date(Date.now() - 3_600_000).toISOString() };
    await store.replace(record, old, 60);
    await store.removeLease("i-1");
    const other = await start("i-2", { limits: patient(limits) });
    const claimed = await other.claims.claim(old);
    await other.sessions.beat();
    expect(claimed?.isOpen).toBe(false);
  });
});

const visitor = { caller: "default", server: "scripted", userAgent: "", address: "", clientId: undefined };

/** Limits that nothing but the one in question ends a session by. */
const patient = (limits: object) => ({
  ...LIMITS,
  orphanMs: Infinity,
  firstPostMs: Infinity,
  idleMs: Infinity,
  ...limits,
});
