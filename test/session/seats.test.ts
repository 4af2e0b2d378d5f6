import { describe, expect, it, onTestFinished } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { NO_EVENTS } from "../../src/events.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { Sessions } from "../../src/session/sessions.ts";
import type { SessionsParts } from "../../src/session/sessions-parts.ts";
import { LIMITS, onlyServer, ScriptedStream, scriptedUpstream, settled, silent } from "./scripted.ts";

const ALICE = { caller: "alice", server: "scripted", userAgent: "", address: "", clientId: undefined };
const tooMany = new GatewayError("too_many_sessions");

/** Instances over one store that they share, with a clock of their own. */
function cluster(most: number) {
  const calls: string[] = [];
  const memory = createMemorySessionStore();
  const state = { isAway: false };
  const store = new Proxy(
    { ...memory, kind: "redis" },
    {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          calls.push(String(name));
          if (state.isAway) return Promise.reject(new GatewayError("store_unavailable"));
          return (member as (...all: unknown[]) => unknown)(...args);
        };
      },
    },
  ) as SessionStore;
  const clock = { now: 0 };

  async function start(instanceId: string, more: Partial<SessionsParts> = {}) {
    const sessions = new Sessions({
      instanceId,
      store,
      servers: onlyServer(scriptedUpstream()),
      maxSessions: 100,
      maxSessionsOf: () => most,
      mayUse: () => true,
      limits: { ...LIMITS, firstPostMs: Infinity, idleMs: Infinity },
      ttlSeconds: 3600,
      extend: "late",
      durability: "off",
      retryMs: () => 1,
      events: NO_EVENTS,
      log: silent,
      now: () => clock.now,
      ...more,
    });
    onTestFinished(() => sessions.close(() => 1));
    await sessions.beat();
    return sessions;
  }
  return { store, memory, state, calls, clock, start };
}

describe("the sessions of a caller on all instances", () => {
  it("are no more than its limit, however many come at once and wherever", async () => {
    const { start } = cluster(10);
    const instances = [await start("i-1"), await start("i-2"), await start("i-3")];
    const storm = Array.from({ length: 100 }, (_, n) => (instances[n % 3] as Sessions).admit(ALICE));
    const outcomes = await Promise.allSettled(storm);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(10);
    expect(instances.reduce((sum, { count }) => sum + count, 0)).toBe(10);
    for (const outcome of outcomes)
      if (outcome.status === "rejected") expect(outcome.reason).toEqual(tooMany);
  });

  it("make room for others when they end, whichever instance they were on", async () => {
    const { start } = cluster(2);
    const [one, other] = [await start("i-1"), await start("i-2")];
    const [first] = await Promise.all([one.admit(ALICE), one.admit(ALICE)]);
    await expect(other.admit(ALICE)).rejects.toEqual(tooMany);
    first?.close("client_gone");
    await settled();
    await expect(other.admit(ALICE)).resolves.toBeDefined();
  });

  it("are given up for others while they wait for their clients, however many come at once", async () => {
    const { start } = cluster(10);
    const limits = { ...LIMITS, orphanMs: Infinity, firstPostMs: Infinity, idleMs: Infinity };
    const one = await start("i-1", { limits });
    for (let n = 0; n < 8; n += 1) {
      const session = await one.admit({ ...ALICE, clientId: `c${n}` });
      session.introduce({ initialize: {} });
      const stream = new ScriptedStream();
      session.attach(stream);
      stream.close();
      expect(session.orphanedAt).toBeDefined();
    }
    const storm = await Promise.allSettled(Array.from({ length: 10 }, () => one.admit(ALICE)));
    expect(storm.filter(({ status }) => status === "fulfilled")).toHaveLength(10);
    expect(one.count).toBe(10);
  });

  it("are another caller's business only when they are its own", async () => {
    const { start } = cluster(1);
    const [one, other] = [await start("i-1"), await start("i-2")];
    await one.admit(ALICE);
    await expect(other.admit({ ...ALICE, caller: "bob" })).resolves.toBeDefined();
  });

  it("are forgotten when their instance is dead, at the next that would be one too many", async () => {
    const { start, store, memory } = cluster(2);
    const [one, other] = [await start("i-1"), await start("i-2")];
    await Promise.all([one.admit(ALICE), one.admit(ALICE)]);
    await expect(other.admit(ALICE)).rejects.toEqual(tooMany);
    await memory.removeLease("i-1");
    const later = await start("i-3");
    await expect(later.admit(ALICE)).resolves.toBeDefined();
    expect([...new Set((await store.seatsOf("alice")).values())]).toEqual(["i-3"]);
  });

  it("are put right where this instance has left one that it does not hold", async () => {
    const { start, memory } = cluster(1);
    const one = await start("i-1");
    await memory.seat("alice", "00000000-0000-0000-0000-000000000000", "i-1", 60);
    await expect(one.admit(ALICE)).resolves.toBeDefined();
  });

  it("are counted by each instance for itself while the store is away, and noted when it is back", async () => {
    const { start, state, clock, memory } = cluster(1);
    const [one, other] = [await start("i-1"), await start("i-2")];
    state.isAway = true;
    await one.admit(ALICE);
    await other.admit(ALICE);
    await expect(one.admit(ALICE)).rejects.toEqual(tooMany);
    state.isAway = false;
    clock.now += 31_000;
    await Promise.all([one.beat(), other.beat()]);
    await settled();
    expect((await memory.seatsOf("alice")).size).toBe(2);
  });

  it("leave no seat behind when they end while the store is away", async () => {
    const { start, state, clock, memory } = cluster(2);
    const [one, other] = [await start("i-1"), await start("i-2")];
    const mine = await Promise.all([one.admit(ALICE), one.admit(ALICE)]);
    state.isAway = true;
    for (const session of mine) session.close("client_gone");
    await settled();
    state.isAway = false;
    clock.now += 6000;
    await one.beat();
    await settled();
    expect((await memory.seatsOf("alice")).size).toBe(0);
    await expect(other.admit(ALICE)).resolves.toBeDefined();
  });

  it("have one seat when two turn out to be one client's", async () => {
    const { start, memory } = cluster(5);
    const one = await start("i-1");
    const [old, fresh] = [await one.admit(ALICE), await one.admit({ ...ALICE, key: "k_2" })];
    fresh.attach(new ScriptedStream());
    one.merge(fresh, old);
    await settled();
    expect([...(await memory.seatsOf("alice")).keys()]).toEqual([old.id]);
    expect(old.key, "it ends with the key that was shown last").toBe("k_2");
  });

  it("may be twice as many of clients that come back", async () => {
    const { start } = cluster(1);
    const [one, other] = [await start("i-1"), await start("i-2")];
    await one.admit(ALICE);
    await expect(other.admit(ALICE, { isReturning: true })).resolves.toBeDefined();
    await expect(other.admit(ALICE, { isReturning: true })).rejects.toEqual(tooMany);
  });

  it("cost the store one call to open and one to close, and none in between", async () => {
    const { start, calls, clock } = cluster(5);
    const one = await start("i-1");
    calls.length = 0;
    const session = await one.admit(ALICE);
    session.attach(new ScriptedStream());
    expect(calls.filter((name) => /seat/.test(name))).toEqual(["seat"]);
    for (clock.now = 1000; clock.now < 3_600_000; clock.now += 10_000) await one.beat();
    session.close("client_gone");
    await settled();
    expect(calls.filter((name) => /seat/.test(name))).toEqual(["seat", "unseat"]);
  });

  it("are noted again before the store forgets them", async () => {
    const { start, calls, clock } = cluster(5);
    const one = await start("i-1");
    (await one.admit(ALICE)).attach(new ScriptedStream());
    calls.length = 0;
    clock.now += 12 * 3600 * 1000;
    await one.beat();
    expect(calls.filter((name) => name === "seat")).toHaveLength(1);
  });
});
