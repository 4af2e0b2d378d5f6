import { describe, expect, it } from "vitest";
import { ALICE, BACK, BOB, createCluster, NAMED } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

/** Two instances, and a client of the second whose stream was cut. */
async function open(visitor = ALICE) {
  const cluster = createCluster();
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session, stream } = await there.connect(visitor);
  stream.close();
  await settled();
  const owner = { instanceId: "i-2", address: "memory:i-2" };
  const last = { last: { sessionId: session.id, sequence: 4 }, protocolVersion: undefined };
  return { ...cluster, here, there, session, owner, last };
}

describe("a client that comes back to another instance", () => {
  it("is sent to the living owner of the session that it names, to go on behind its last event", async () => {
    const { here, session, owner, last } = await open();
    const found = await here.reception.findAnywhere(ALICE, last);
    expect(found).toEqual({ sessionId: session.id, owner, after: 4 });
    expect(here.sessions.count).toBe(0);
  });

  it.each([
    ["by its name, from anywhere", NAMED, { ...NAMED, userAgent: "other", address: "10.0.0.9" }],
    ["by its program and address", ALICE, ALICE],
  ])("is sent to the living owner of its orphan, known %s", async (_how, then, now) => {
    const { here, session, owner } = await open(then);
    expect(await here.reception.findAnywhere(now, BACK)).toEqual({ sessionId: session.id, owner });
    // Not for certain without asking the others.
    expect(here.reception.findHere(now, BACK)).toBeUndefined();
  });

  it("gets the session of an owner whose lease is gone, with what it was", async () => {
    const { here, there, session, last } = await open();
    await there.crash();
    for (const back of [last, BACK]) {
      const found = await here.reception.findAnywhere(ALICE, back);
      expect(found).toMatchObject({ session: { id: session.id, epoch: 2 } });
    }
    expect(here.sessions.count).toBe(1);
  });

  it("gets the session of an owner that is proven dead, although its lease still stands", async () => {
    for (const named of [true, false]) {
      const { here, network, session, last } = await open();
      network.kill("i-2");
      const found = await here.reception.findAnywhere(ALICE, named ? last : BACK);
      expect(found).toMatchObject({ session: { id: session.id, epoch: 2 } });
    }
  });

  it.each(["unreachable", "unknown"] as const)(
    "gets no session of an owner that may live: it was %s",
    async (mishap) => {
      const { here, network, store, session, last } = await open();
      network.mishap = () => mishap;
      expect(await here.reception.findAnywhere(ALICE, last)).toBeUndefined();
      expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
      expect(await store.get(session.id)).toMatchObject({ owner: "i-2", epoch: 1 });
    },
  );

  it("gets no session of a living owner when the relay is off", async () => {
    const { start } = createCluster();
    const [here, there] = [
      await start("i-1", { isRelayOn: false }),
      await start("i-2", { isRelayOn: false }),
    ];
    const { session, stream } = await there.connect();
    stream.close();
    await settled();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    await there.crash();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toMatchObject({ session: { id: session.id } });
  });

  it("never gets another caller's session, of a living owner or a dead one", async () => {
    const { here, there, last, store, session } = await open(NAMED);
    const bob = { ...NAMED, caller: "bob" };
    for (const visitor of [BOB, bob]) {
      for (const back of [last, BACK])
        expect(await here.reception.findAnywhere(visitor, back)).toBeUndefined();
    }
    await there.crash();
    for (const back of [last, BACK]) expect(await here.reception.findAnywhere(bob, back)).toBeUndefined();
    expect(await store.get(session.id)).toMatchObject({ epoch: 1, caller: "alice" });
  });

  it("is not guessed at when one orphan is here and another there", async () => {
    const { here, session } = await open();
    const { stream, session: other } = await here.connect();
    stream.close();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    expect(here.reception.findHere(ALICE, BACK)).toBeUndefined();
    other.close("idle");
    await settled();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toMatchObject({ sessionId: session.id });
  });

  it("gets the orphan of a living owner before what a dead one left, since that has lost nothing", async () => {
    const { start, here, session } = await open(NAMED);
    const third = await start("i-3");
    await third.connect(NAMED);
    await settled();
    await third.crash();
    expect(await here.reception.findAnywhere(NAMED, BACK)).toMatchObject({ sessionId: session.id });
    expect(here.sessions.count).toBe(0);
  });

  it("gets what an owner has let go of before what a dead one left", async () => {
    const { start, here, there, session } = await open(NAMED);
    await there.goDown();
    const third = await start("i-3");
    await third.connect(NAMED);
    await settled();
    await third.crash();
    expect(await here.reception.findAnywhere(NAMED, BACK)).toMatchObject({ session: { id: session.id } });
  });

  it("is not guessed at without a name when there is any other session like its own, wherever and however that is", async () => {
    for (const other of ["held here", "held there", "left by a dead one", "let go of"]) {
      const { start, here, there, session } = await open();
      const third = await start("i-3");
      const at = { "held here": here, "held there": there }[other] ?? third;
      const { stream } = await at.connect();
      await settled();
      if (other === "left by a dead one") await third.crash();
      if (other === "let go of") {
        const gone = third.goDown();
        stream.close();
        await gone;
      }
      expect([other, await here.reception.findAnywhere(ALICE, BACK)]).toEqual([other, undefined]);
      expect(there.sessions.find(session.id)?.orphanedAt).toBeDefined();
    }
  });

  it("is not guessed at when dead owners left two", async () => {
    const { here, there } = await open();
    await there.connect();
    await settled();
    await there.crash();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    expect(here.sessions.count).toBe(0);
  });

  it("takes over a stream at another instance by its name alone, once that is settled", async () => {
    const { here, clock, session, owner } = await open(NAMED);
    session.attach(new ScriptedStream());
    clock.now += 10_001;
    expect(await here.reception.findAnywhere(NAMED, BACK)).toEqual({ sessionId: session.id, owner });
    const guessed = await open(ALICE);
    guessed.session.attach(new ScriptedStream());
    guessed.clock.now += 10_001;
    expect(await guessed.here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
  });

  it("takes over a carried stream of its name after a second: that may have died with the instance that held it", async () => {
    const { here, clock, session, owner } = await open(NAMED);
    const stream = new ScriptedStream();
    stream.endsUnheard = true;
    session.attach(stream);
    clock.now += 1001;
    expect(await here.reception.findAnywhere(NAMED, BACK)).toEqual({ sessionId: session.id, owner });
  });

  it("is found in the newest of its sessions, however many older ones an instance that died has left", async () => {
    const { here, store, clock, session, owner } = await open(NAMED);
    const mark = here.sessions.index.fingerprintOf(NAMED);
    await store.delist(mark, session.id);
    for (let old = 0; old < 50; old += 1) await store.enlist(mark, `gone-${old}`, {}, 60);
    // Traces are as old as the wall clock says.
    const before = Date.now();
    await expect.poll(() => Date.now()).toBeGreaterThan(before);
    await store.enlist(mark, session.id, {}, 60);
    clock.now += 1;
    expect(await here.reception.findAnywhere(NAMED, BACK)).toEqual({ sessionId: session.id, owner });
  });

  it("is found with the winner when two instances claim its session at once", async () => {
    const { start, here, there, session } = await open();
    const third = await start("i-3");
    await there.crash();
    const found = await Promise.all(
      [here, third].map(({ reception }) => reception.findAnywhere(ALICE, BACK)),
    );
    expect(found).toContainEqual(
      expect.objectContaining({ session: expect.objectContaining({ id: session.id }) }),
    );
    expect(found).toContainEqual(expect.objectContaining({ sessionId: session.id }));
    expect(here.sessions.count + third.sessions.count).toBe(1);
  });

  it("gets a fresh session while the store is away", async () => {
    const { here, store, last } = await open();
    store.trace = () => Promise.reject(new Error("away"));
    store.get = () => Promise.reject(new Error("away"));
    for (const back of [last, BACK]) expect(await here.reception.findAnywhere(ALICE, back)).toBeUndefined();
  });

  it("is not sent to a session that is about to be handed over, and gets it when that is done", async () => {
    const { here, there, session, last } = await open();
    session.leave();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    await there.goDown();
    const found = await here.reception.findAnywhere(ALICE, last);
    expect(found).toMatchObject({ session: { id: session.id, epoch: 2 }, after: 4 });
  });
});
