import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { ALICE, BACK, createCluster } from "./instances.ts";
import { reasonOf } from "./open-session.ts";
import { ScriptedStream, settled } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };
const away = () => Promise.reject(new GatewayError("store_unavailable"));

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => vi.useRealTimers());

/** A session whose owner is dead, with a call in its journal, and a store that can fail. */
async function open() {
  const cluster = createCluster();
  const { store } = cluster;
  const [here, dead] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session } = await dead.connect();
  await settled();
  await dead.crash();
  const put = new Map([["r:8", Buffer.from('{"jsonrpc":"2.0","id":8,"method":"m"}')]]);
  await store.writeJournals([{ id: session.id, epoch: 1, put, drop: [] }], 60);
  const { get, replace, readJournal } = store;
  /** The claim is carried out or not, and nobody hears of it. */
  const loseClaim = (isCarriedOut: boolean) => {
    store.replace = async (...args) => {
      store.replace = replace;
      if (isCarriedOut) await replace(...args);
      return away();
    };
  };
  const heal = () => Object.assign(store, { get, replace, readJournal });
  const record = (await store.get(session.id)) as SessionRecord;
  return { ...cluster, here, id: session.id, record, loseClaim, heal };
}

describe("a claim of which the store did not tell whether it was carried out", () => {
  it("is found out about: the session that turns out to be ours goes on, with what was in its journal", async () => {
    const { here, id, store, loseClaim } = await open();
    loseClaim(true);
    expect(await reasonOf(here.deliver(id, CALL))).toBe("store_unavailable");
    await settled(10);
    const session = here.sessions.find(id);
    expect(session).toMatchObject({ epoch: 2, isOpen: true });
    expect(await store.get(id)).toMatchObject({ owner: "i-1", epoch: 2 });
    const stream = new ScriptedStream();
    session?.attach(stream);
    expect(stream.messages).toMatchObject([{ id: 8, error: { data: { reason: "upstream_restarted" } } }]);
    await here.deliver(id, CALL);
    expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
  });

  it("does not make the session one that never was: a message for it may be sent again, and is given once it is known", async () => {
    const { here, id, store, loseClaim, heal } = await open();
    loseClaim(true);
    const { get } = store;
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("given");
    const claim = here.claims.claim((await get(id)) as SessionRecord);
    store.get = away;
    expect(await reasonOf(claim)).toBe("store_unavailable");
    await settled();
    expect(here.claims.isUncertain(id, "alice")).toBe(true);
    // The store is back for messages before it is asked again after the claim.
    heal();
    here.whereabouts.forget(id);
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("store_unavailable");
    await vi.advanceTimersByTimeAsync(500);
    await settled(10);
    expect(here.claims.isUncertain(id, "alice")).toBe(false);
    expect(here.sessions.find(id)?.epoch).toBe(2);
    await here.deliver(id, CALL);
    expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
  });

  it("leaves a session alone that turns out to be the dead owner's still, for the next try to claim", async () => {
    const { here, id, store, record, loseClaim } = await open();
    loseClaim(false);
    expect(await reasonOf(here.deliver(id, CALL))).toBe("store_unavailable");
    await settled(10);
    // It is looked at twice: the claim might still be on its way.
    await vi.advanceTimersByTimeAsync(500);
    await settled(10);
    expect([here.sessions.count, here.claims.isUncertain(id, "alice")]).toEqual([0, false]);
    expect(await store.get(id)).toEqual(record);
    await here.deliver(id, CALL);
    expect(here.sessions.find(id)?.epoch).toBe(2);
  });

  it("leaves a session alone that another instance has claimed meanwhile, and sends messages there", async () => {
    const { start, here, id, record, loseClaim } = await open();
    const third = await start("i-3");
    loseClaim(false);
    const doubtful = reasonOf(here.claims.claim(record));
    await third.claims.claim(record);
    expect(await doubtful).toBe("store_unavailable");
    await settled(10);
    expect([here.sessions.count, here.claims.isUncertain(id, "alice")]).toEqual([0, false]);
    here.whereabouts.forget(id);
    const given = here.deliver(id, CALL);
    await given;
    expect(third.upstream.links[0]?.told.at(-1)).toEqual(CALL);
  });

  it("answers 503 to a message, and has its client come again, until that is known", async () => {
    const { here, id, store, loseClaim, heal } = await open();
    loseClaim(true);
    const record = (await store.get(id)) as SessionRecord;
    const claim = here.claims.claim(record);
    store.get = away;
    expect(await reasonOf(claim)).toBe("store_unavailable");
    heal();
    here.whereabouts.forget(id);
    expect(await reasonOf(here.deliver(id, CALL))).toBe("store_unavailable");
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBe("later");
    // Another caller learns nothing of it.
    expect(here.claims.isUncertain(id, "bob")).toBe(false);
  });

  it("does not bring the session to an instance that goes down meanwhile", async () => {
    const { here, id, store, loseClaim, heal } = await open();
    loseClaim(true);
    const record = (await store.get(id)) as SessionRecord;
    const claim = here.claims.claim(record);
    store.get = away;
    expect(await reasonOf(claim)).toBe("store_unavailable");
    heal();
    await here.goDown(AbortSignal.abort());
    await vi.advanceTimersByTimeAsync(500);
    await settled(10);
    expect([here.sessions.count, here.claims.isUncertain(id, "alice")]).toEqual([0, false]);
  });
});

describe("the journal of a session that is claimed", () => {
  it("is asked for again when the store does not answer, and what was in flight has its outcome", async () => {
    const { here, record, store, heal } = await open();
    store.readJournal = away;
    const claim = here.claims.claim(record);
    await settled();
    await vi.advanceTimersByTimeAsync(1000);
    heal();
    await vi.advanceTimersByTimeAsync(500);
    const session = await claim;
    const stream = new ScriptedStream();
    session?.attach(stream);
    expect(stream.messages.map(({ id }) => id)).toEqual([8]);
    await settled();
    expect(await store.readJournal(record.id, 1)).toEqual(new Map());
  });

  it("is given up after a while: the session goes on, and what was not read is not removed", async () => {
    const { here, record, store, heal } = await open();
    store.readJournal = away;
    const claim = here.claims.claim(record);
    await settled();
    // Each pause begins when the last answer is there.
    for (let pause = 0; pause < 12; pause += 1) await vi.advanceTimersByTimeAsync(500);
    expect(await claim).toMatchObject({ epoch: 2, isOpen: true, inFlight: 0 });
    heal();
    expect([...(await store.readJournal(record.id, 1)).keys()]).toEqual(["r:8"]);
  });

  it("is waited for by a client that comes back meanwhile, which gets the session", async () => {
    const { here, id, store, heal } = await open();
    store.readJournal = away;
    const [one, other] = [here.reception.findAnywhere(ALICE, BACK), here.reception.findAnywhere(ALICE, BACK)];
    await settled();
    await vi.advanceTimersByTimeAsync(600);
    heal();
    await vi.advanceTimersByTimeAsync(500);
    expect(await one).toMatchObject({ session: { id } });
    expect(await other).toMatchObject({ session: { id } });
    expect(here.sessions.count).toBe(1);
  });
});
