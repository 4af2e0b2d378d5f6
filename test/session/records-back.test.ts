import { expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { createCluster } from "./instances.ts";
import { settled } from "./scripted.ts";

/** A store that the test takes away. */
function fickle() {
  const state = { isAway: false };
  const store = new Proxy(
    { ...createMemorySessionStore(), kind: "redis" as const },
    {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) =>
          state.isAway
            ? Promise.reject(new GatewayError("store_unavailable"))
            : (member as (...all: unknown[]) => unknown)(...args);
      },
    },
  );
  return { state, store: store as SessionStore };
}

it("a store that is back is told of sessions that began while it was away, before their next heartbeat", async () => {
  const { state, store } = fickle();
  const { start } = createCluster();
  const one = await start("i-1", { store });
  state.isAway = true;
  const { session } = await one.connect();
  await settled();
  state.isAway = false;
  expect(await store.get(session.id)).toBeUndefined();
  await one.sessions.reassert();
  expect(await store.get(session.id)).toMatchObject({ id: session.id, initialize: expect.anything() });
  expect(await store.getLease("i-1")).toBeDefined();
});

it("a client that came while the store was away is known in it seconds after, not half a day", async () => {
  const { state, store } = fickle();
  const { start, clock } = createCluster();
  const one = await start("i-1", { store });
  state.isAway = true;
  const { session } = await one.connect();
  await settled();
  state.isAway = false;
  const mark = one.sessions.index.fingerprintOf(session);
  clock.now += 6000;
  await one.sessions.beat();
  await settled();
  expect((await store.trace(mark))?.sessions).toEqual([session.id]);
  expect((await store.seatsOf(session.caller)).size).toBe(1);
});

it("a store that went back in time ends no session that lives: what it has of an earlier owner is written over", async () => {
  const { store, start, clock } = createCluster();
  const first = await start("i-1");
  const { session } = await first.connect();
  await settled();
  const old = await store.get(session.id);
  await first.crash();
  const second = await start("i-2");
  const claimed = await second.claims.claim(old as NonNullable<typeof old>);
  const now = await store.get(session.id);
  await store.remove([session.id]);
  await store.create(old as NonNullable<typeof old>, 60);
  clock.now += 31_000;
  await second.sessions.reassert();
  await settled();
  expect(claimed?.isOpen).toBe(true);
  expect(await store.get(session.id)).toMatchObject({ owner: "i-2", epoch: now?.epoch });
});
