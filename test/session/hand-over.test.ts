import { afterEach, describe, expect, it, vi } from "vitest";
import { ALICE, createCluster } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";
import { eventually } from "../support/eventually.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

afterEach(() => vi.restoreAllMocks());

/** An instance that is told to go, and a client of it; `drain` resolves when it has let go. */
async function open(timeIsUp = new AbortController()) {
  const cluster = createCluster();
  const there = await cluster.start("i-2");
  const { session, stream } = await there.connect();
  await settled();
  const drain = async () => {
    const drained = there.goDown(timeIsUp.signal);
    await eventually(() => session.isLeaving || session.inFlight > 0);
    return { drained };
  };
  return { ...cluster, there, session, stream, drain, timeIsUp };
}

describe("a session of an instance that goes down", () => {
  it("is let go of at a quiet moment: its stream ends, and its record waits for the next owner as long as the client may", async () => {
    const { store, there, session, stream, drain, clock } = await open();
    const { drained } = await drain();
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
    stream.close();
    await drained;
    expect(await store.get(session.id)).toMatchObject({ owner: "i-2", epoch: 1, released: true });
    expect([session.isOpen, there.sessions.count]).toEqual([false, 0]);
    // It is not listed as over, or no client could find it.
    expect(await store.trace(there.sessions.index.fingerprintOf(ALICE))).toMatchObject({
      sessions: [session.id],
    });
    clock.now += 119_999;
    expect(await store.get(session.id)).toBeDefined();
    clock.now += 2;
    expect(await store.get(session.id)).toBeUndefined();
  });

  it("waits for what is in flight, and leaves that when time is up", async () => {
    const { store, there, session, stream, drain, timeIsUp } = await open();
    vi.spyOn(Math, "random").mockReturnValue(0);
    await there.post(session, CALL);
    const { drained } = await drain();
    await settled(10);
    expect([session.isLeaving, stream.end_]).toEqual([false, "open"]);
    timeIsUp.abort();
    await eventually(() => session.isLeaving);
    stream.close();
    await drained;
    expect([...(await store.readJournal(session.id, 1)).keys()]).toEqual(["r:7"]);
  });

  it("goes on at the next owner: what waited comes first, and what was in flight gets one outcome", async () => {
    const { start, there, session, stream, drain, timeIsUp } = await open();
    await there.post(session, CALL);
    there.upstream.links[0]?.say({ jsonrpc: "2.0", method: "taken" });
    there.upstream.links[0]?.say({ jsonrpc: "2.0", method: "not taken" });
    stream.take();
    const { drained } = await drain();
    timeIsUp.abort();
    await eventually(() => session.isLeaving);
    there.upstream.links[0]?.say({ jsonrpc: "2.0", method: "late" });
    stream.close();
    await drained;
    const here = await start("i-1");
    const found = await here.reception.findAnywhere(ALICE, {
      last: undefined,
      protocolVersion: "2025-06-18",
    });
    if (typeof found !== "object" || !("session" in found)) throw new Error("not found");
    const back = new ScriptedStream();
    found.session.attach(back);
    await settled();
    expect(back.messages.map(({ id, method, error }) => method ?? [id, error?.data.reason])).toEqual([
      "not taken",
      "late",
      [7, "upstream_restarted"],
    ]);
    expect(back.sequences.toSorted((one, other) => one - other)).toEqual(back.sequences);
  });

  it("stays when the store cannot be told, and is ended like any other", async () => {
    const { store, there, session, stream, drain } = await open();
    store.replace = () => Promise.reject(new Error("away"));
    const { drained } = await drain();
    stream.close();
    await drained;
    expect([session.isOpen, there.sessions.count]).toEqual([true, 1]);
    await there.sessions.close(() => 1);
    expect(session.isOpen).toBe(false);
  });

  it("is not handed over when it could not go on: its client has introduced nobody", async () => {
    const { store, there, drain } = await open();
    const fresh = there.sessions.open(ALICE);
    const stream = new ScriptedStream();
    fresh.attach(stream);
    await drain();
    expect([fresh.isLeaving, stream.end_]).toEqual([false, "open"]);
    await there.sessions.close(() => 5);
    expect([stream.end_, stream.retryMs, await store.get(fresh.id)]).toEqual(["ended", 5, undefined]);
  });

  it("takes its other names along, for messages that are on their way", async () => {
    const { start, there, session, stream, store } = await open();
    stream.close();
    const fresh = there.sessions.open(ALICE);
    const second = new ScriptedStream();
    fresh.attach(second);
    await settled();
    there.sessions.merge(fresh, session);
    await settled();
    const drained = there.goDown();
    await eventually(() => session.isLeaving);
    second.close();
    await drained;
    expect(await store.get(session.id)).toMatchObject({ released: true });
    const here = await start("i-1");
    await here.deliver(fresh.id, CALL);
    expect(here.upstream.links[0]?.told.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "m",
    ]);
  });
});
