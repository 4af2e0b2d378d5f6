import { afterEach, describe, expect, it } from "vitest";
import { NO_EVENTS } from "../../src/events.ts";
import { GatewayError } from "../../src/errors.ts";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { LEASE_RENEWAL_SECONDS } from "../../src/session/instance-lease.ts";
import { Sessions } from "../../src/session/sessions.ts";
import type { SessionsParts } from "../../src/session/sessions-parts.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { watched } from "./watched-store.ts";
import { LIMITS, onlyServer, scriptedUpstream, ScriptedStream, settled, silent } from "./scripted.ts";

const ALICE = {
  caller: "alice",
  server: "scripted",
  userAgent: "test",
  address: "127.0.0.1",
  clientId: undefined,
};
const BOB = { ...ALICE, caller: "bob" };
const PATIENT = { ...LIMITS, firstPostMs: Infinity, idleMs: Infinity };

const opened: Sessions[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((sessions) => sessions.close(() => 1)));
});

function openSessions(store: SessionStore, more: Partial<SessionsParts> = {}) {
  const clock = { now: 0 };
  const sessions = new Sessions({
    instanceId: "i-1",
    store,
    servers: onlyServer(scriptedUpstream()),
    maxSessions: 3,
    maxSessionsOf: () => 2,
    mayUse: () => true,
    events: NO_EVENTS,
    limits: PATIENT,
    ttlSeconds: 3600,
    extend: "late",
    durability: "off",
    retryMs: () => 1,
    log: silent,
    now: () => clock.now,
    ...more,
  });
  opened.push(sessions);
  /** Beats every second, up to this one. */
  const beatAt = async (seconds: number) => {
    for (clock.now += 1000; clock.now < seconds * 1000; clock.now += 1000) await sessions.beat();
    clock.now = seconds * 1000;
    await sessions.beat();
  };
  return { sessions, beatAt };
}

describe("Sessions", () => {
  it("LIM-10 LIM-11 holds as many sessions as it may, per caller and in all", () => {
    const { sessions } = openSessions(createMemorySessionStore());
    const first = sessions.open(ALICE);
    sessions.open(ALICE);
    expect(() => sessions.open(ALICE)).toThrow(new GatewayError("too_many_sessions"));
    sessions.open(BOB);
    expect(() => sessions.open(BOB)).toThrow(new GatewayError("overloaded"));
    first.close("client_gone");
    expect(() => sessions.open(ALICE)).not.toThrow();
    expect(sessions.count).toBe(3);
  });

  it("LIM-10 LIM-11 holds twice as many of clients that come back, and no more, nor any new one beyond the limit", () => {
    const back = { isReturning: true };
    const { sessions } = openSessions(createMemorySessionStore());
    for (let one = 0; one < 4; one += 1) sessions.open(ALICE, back);
    expect(() => sessions.open(ALICE, back)).toThrow(new GatewayError("too_many_sessions"));
    expect(() => sessions.open(BOB)).toThrow(new GatewayError("overloaded"));
    for (let one = 0; one < 2; one += 1) sessions.open(BOB, back);
    expect(() => sessions.open({ ...BOB, caller: "carol" }, back)).toThrow(new GatewayError("overloaded"));
    expect(sessions.count).toBe(6);
  });

  it("LIM-10 gives every place back, however often sessions come and go", () => {
    const { sessions } = openSessions(createMemorySessionStore());
    for (let round = 0; round < 1000; round += 1) sessions.open(ALICE).close("client_gone");
    sessions.open(ALICE);
    sessions.open(ALICE);
    expect(sessions.count).toBe(2);
  });

  it("finds a session while it is open and no longer", () => {
    const { sessions } = openSessions(createMemorySessionStore());
    const session = sessions.open(ALICE);
    expect(sessions.find(session.id)).toBe(session);
    session.close("idle");
    expect(sessions.find(session.id)).toBeUndefined();
  });

  it("ends all streams with a time to come back when it closes, and leaves nothing in the store", async () => {
    const store = createMemorySessionStore();
    const { sessions, beatAt } = openSessions(store);
    const session = sessions.open(ALICE);
    const stream = new ScriptedStream();
    session.attach(stream);
    await beatAt(0);
    expect(await store.getLease("i-1")).toMatchObject({ state: "serving" });
    await sessions.close(() => 777);
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 777]);
    expect(await store.get(session.id)).toBeUndefined();
    expect(await store.getLease("i-1")).toBeUndefined();
  });

  it("says in its lease that it will drain before it takes nothing new, and then takes nothing new", async () => {
    const { store, watch } = watched();
    const { sessions, beatAt } = openSessions(store);
    await beatAt(0);
    await sessions.lease.drain();
    expect(await store.getLease("i-1")).toMatchObject({ state: "draining" });
    expect(() => sessions.open(ALICE)).not.toThrow();
    watch.calls.length = 0;
    await sessions.drain(AbortSignal.timeout(1000));
    expect(() => sessions.open(ALICE)).toThrow(new GatewayError("draining"));
    expect(watch.calls).not.toContain("putLease");
  });
});

describe("records of Sessions", () => {
  it("has a record as soon as the session is open, and its initialize once it was sent", async () => {
    const store = createMemorySessionStore();
    const { sessions } = openSessions(store);
    const session = sessions.open(ALICE);
    await expect
      .poll(() => store.get(session.id))
      .toMatchObject({ owner: "i-1", caller: "alice", server: "scripted", epoch: 1 });
    const params = Buffer.from('{"clientInfo":{"name":"x"}}');
    const message = Buffer.concat([
      Buffer.from('{"jsonrpc":"2.0","id":1,"method":"initialize","params":'),
      params,
      Buffer.from("}"),
    ]);
    await session.deliver(message, scanMessage(message) as Envelope);
    await expect
      .poll(() => store.get(session.id))
      .toMatchObject({ initialize: { clientInfo: { name: "x" } } });
  });

  it("knows nothing of an earlier conversation once its client has started clean", async () => {
    const store = createMemorySessionStore();
    const { sessions } = openSessions(store, { limits: { ...PATIENT, orphanMs: 1000 } });
    const session = sessions.open(ALICE);
    const post = async (id: number, method: string, params: unknown) => {
      const message = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      await session.deliver(message, scanMessage(message) as Envelope);
    };
    session.attach(new ScriptedStream());
    await post(1, "initialize", { old: true });
    await post(2, "logging/setLevel", { level: "debug" });
    await post(3, "resources/subscribe", { uri: "a:b" });
    await expect.poll(() => store.get(session.id)).toMatchObject({ subscriptions: ["a:b"] });
    session.attach(new ScriptedStream());
    await post(1, "initialize", { fresh: true });
    await expect.poll(() => store.get(session.id)).toMatchObject({ initialize: { fresh: true } });
    expect(await store.get(session.id)).not.toHaveProperty("logLevel");
    expect(await store.get(session.id)).not.toHaveProperty("subscriptions");
  });

  it("extends late: only once less than half of the expiry is left", async () => {
    const { store, watch } = watched();
    const { sessions, beatAt } = openSessions(store);
    sessions.open(ALICE);
    await beatAt(0);
    watch.calls.length = 0;
    for (let seconds = 1; seconds <= 3600; seconds += 1) await beatAt(seconds);
    expect(watch.calls.filter((verb) => verb === "extend")).toHaveLength(2);
  });

  it("extends always: at each heartbeat", async () => {
    const { store, watch } = watched();
    const { sessions, beatAt } = openSessions(store, { extend: "always" });
    sessions.open(ALICE);
    await beatAt(0);
    watch.calls.length = 0;
    for (let seconds = 1; seconds <= 3600; seconds += 1) await beatAt(seconds);
    expect(watch.calls.filter((verb) => verb === "extend")).toHaveLength(120);
  });

  it("renews the lease every 30 s, and sooner after a failure", async () => {
    const { store, watch } = watched();
    const { beatAt } = openSessions(store);
    await beatAt(0);
    await beatAt(LEASE_RENEWAL_SECONDS - 1);
    expect(watch.calls).toEqual(["putLease"]);
    watch.isAway = true;
    await beatAt(LEASE_RENEWAL_SECONDS);
    watch.isAway = false;
    await beatAt(LEASE_RENEWAL_SECONDS + 4);
    expect(watch.calls).toHaveLength(2);
    await beatAt(LEASE_RENEWAL_SECONDS + 5);
    expect(watch.calls).toHaveLength(3);
  });

  it("FLT-07 writes a record again that vanished", async () => {
    const store = createMemorySessionStore();
    const { sessions, beatAt } = openSessions(store, { extend: "always" });
    const session = sessions.open(ALICE);
    await beatAt(0);
    await store.remove([session.id]);
    await beatAt(30);
    await expect.poll(() => store.get(session.id)).toMatchObject({ owner: "i-1" });
    expect(session.isOpen).toBe(true);
  });

  it("FLT-15 lets go of a session that another instance owns, and leaves its record alone", async () => {
    const store = createMemorySessionStore();
    const { sessions, beatAt } = openSessions(store, { extend: "always" });
    const session = sessions.open(ALICE);
    await expect.poll(() => store.get(session.id)).toBeDefined();
    const record = await store.get(session.id);
    if (record === undefined) throw new Error("no record");
    await store.replace(record, { ...record, owner: "i-2", epoch: 2 }, 3600);
    await beatAt(30);
    expect(session.isOpen).toBe(false);
    await beatAt(60);
    expect(await store.get(session.id)).toMatchObject({ owner: "i-2" });
  });

  it("FLT-02 opens and keeps sessions while the store is away, and records them when it is back", async () => {
    const { store, watch } = watched();
    watch.isAway = true;
    const { sessions, beatAt } = openSessions(store);
    const kept = sessions.open(ALICE);
    const gone = sessions.open(ALICE);
    await beatAt(30);
    gone.close("client_gone");
    watch.isAway = false;
    await beatAt(60);
    await expect.poll(() => store.get(kept.id)).toBeDefined();
    expect(await store.get(gone.id)).toBeUndefined();
  });

  it("knows its own record again when a write that was given up on had been carried out", async () => {
    const inner = createMemorySessionStore();
    let fails = 1;
    const store: SessionStore = {
      ...inner,
      create: async (record, ttlSeconds) => {
        const created = await inner.create(record, ttlSeconds);
        if ((fails -= 1) >= 0) throw new GatewayError("store_unavailable");
        return created;
      },
    };
    const { sessions, beatAt } = openSessions(store);
    const session = sessions.open(ALICE);
    await beatAt(30);
    await beatAt(60);
    expect(session.isOpen).toBe(true);
    expect(await store.get(session.id)).toMatchObject({ owner: "i-1" });
  });

  it("removes the record of a session that ends while it is being written", async () => {
    const inner = createMemorySessionStore();
    let write = (): void => undefined;
    const gate = new Promise<void>((resolve) => (write = resolve));
    const store: SessionStore = {
      ...inner,
      create: (record, ttl) => gate.then(() => inner.create(record, ttl)),
    };
    const { sessions, beatAt } = openSessions(store);
    const session = sessions.open(ALICE);
    session.close("client_gone");
    await beatAt(1);
    write();
    await expect.poll(() => inner.get(session.id)).toBeDefined();
    await beatAt(2);
    expect(await inner.get(session.id)).toBeUndefined();
  });

  it("removes a record as the store confirmed it, and whatever is there when nothing was confirmed", async () => {
    const { store, watch } = watched();
    const { sessions, beatAt } = openSessions(store);
    const confirmed = [sessions.open(ALICE), sessions.open(BOB)];
    await beatAt(0);
    confirmed.forEach((session) => session.close("client_gone"));
    watch.calls.length = 0;
    await beatAt(1);
    expect(watch.calls).toEqual(["removeIf", "removeIf"]);
    watch.isAway = true;
    sessions.open(ALICE).close("client_gone");
    watch.isAway = false;
    await settled();
    watch.calls.length = 0;
    await beatAt(2);
    expect(watch.calls.filter((verb) => verb.startsWith("remove"))).toEqual(["remove"]);
  });
});
