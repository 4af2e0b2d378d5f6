import { describe, expect, it } from "vitest";
import type { SessionRecord } from "../../src/session-store/session-store.ts";
import { ALICE, BACK, createCluster, NAMED } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

/** An instance that slept while another one took over its session. */
async function open({ isOrphan = false } = {}) {
  const cluster = createCluster();
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2")];
  const { session, stream } = await there.connect(NAMED);
  if (isOrphan) stream.close();
  await settled();
  const record = (await cluster.store.get(session.id)) as SessionRecord;
  const told = () => there.upstream.links.flatMap((link) => link.told);
  /** What the store says of the session, and of its client. */
  const said = async () => ({
    record: await cluster.store.get(session.id),
    trace: (await cluster.store.trace(here.sessions.index.fingerprintOf(NAMED)))?.sessions,
  });
  await here.claims.claim(record);
  await settled();
  cluster.clock.now += 3000;
  return { ...cluster, here, there, session, stream, told, said };
}

describe("an instance that slept while another took its session", () => {
  it("forgets nothing of the new owner's client when its own server dies before it has looked", async () => {
    const { session, said } = await open();
    session.close("upstream_exited");
    await settled();
    expect((await said()).trace).toEqual([session.id]);
  });

  it("carries out nothing of what comes for it from others, however short the sleep was", async () => {
    const { there, session, told } = await open();
    const before = told().length;
    const bodies = [Buffer.from(JSON.stringify(CALL))];
    const head = { session: session.id, caller: "alice" };
    // Six that waited in its sockets, and come at once.
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => there.summons.receive("i-1", { kind: "post", head, bodies })),
    );
    expect(answers).toEqual(Array.from({ length: 6 }, () => ({ delivery: "gone" })));
    expect([session.isOpen, told().length]).toEqual([false, before]);
  });

  it("does not attach a stream to it, and does not say that it has it", async () => {
    const { there, session } = await open({ isOrphan: true });
    const mark = there.sessions.index.fingerprintOf(NAMED);
    const head = { session: session.id, caller: "alice", stream: "x", address: "memory:i-1" };
    const seek = { kind: "seek", head: { client: mark }, bodies: [] };
    const [sought, attached] = await Promise.all([
      there.summons.receive("i-1", seek),
      there.summons.receive("i-1", { kind: "attach", head, bodies: [] }),
    ]);
    expect(sought).toEqual({ delivery: "delivered", orphans: [], held: [], fresh: 0 });
    expect(attached).toEqual({ delivery: "gone" });
  });

  it.each([true, false])(
    "leaves the record and the trace of the next owner alone when it finds out, orphan %s",
    async (isOrphan) => {
      const { there, session, said, stream } = await open({ isOrphan });
      const before = await said();
      expect(before).toMatchObject({ record: { owner: "i-1", epoch: 2 }, trace: [session.id] });
      await there.sessions.beat();
      await there.sessions.beat();
      expect([session.isOpen, stream.end_ === "ended" || isOrphan]).toEqual([false, true]);
      expect(await said()).toEqual(before);
      await there.sessions.close(() => 1);
      expect(await said()).toEqual(before);
    },
  );

  it("does not remove the record of the next owner when it ends the session before it finds out", async () => {
    const { there, session, said } = await open();
    const { record } = await said();
    session.close("idle");
    await there.sessions.beat();
    await there.sessions.close(() => 1);
    expect((await said()).record).toEqual(record);
  });

  it("does not end it for its age: it lets go of it first, and the client still finds the next owner", async () => {
    const { clock, start, here, there, session, said } = await open({ isOrphan: true });
    here.sessions.find(session.id)?.attach(new ScriptedStream());
    // Long past the grace of a session without a stream.
    clock.now += 200_000;
    await there.sessions.beat();
    expect(session.isOpen).toBe(false);
    expect(await said()).toMatchObject({ record: { owner: "i-1" }, trace: [session.id] });
    await here.sessions.beat();
    const third = await start("i-3");
    const found = await third.reception.findAnywhere(NAMED, BACK);
    expect(found).toMatchObject({ sessionId: session.id, owner: { instanceId: "i-1" } });
  });

  it("keeps what nobody has taken: a sleep alone ends no session", async () => {
    const { start, clock } = createCluster();
    const here = await start("i-1");
    const { session, stream } = await here.connect(ALICE);
    await settled();
    clock.now += 80_000;
    expect(here.sessions.mustVerify).toBe(true);
    await here.sessions.beat();
    expect([session.isOpen, stream.end_, here.sessions.mustVerify]).toEqual([true, "open", false]);
  });

  it("keeps its open sessions while the store is away, since their streams are the truth", async () => {
    const { start, store, clock } = createCluster();
    const here = await start("i-1");
    const { session, stream } = await here.connect(ALICE);
    await settled();
    store.extend = () => Promise.reject(new Error("away"));
    clock.now += 80_000;
    await here.sessions.verify();
    await here.post(session, CALL);
    expect([session.isOpen, stream.end_, session.inFlight]).toEqual([true, "open", 1]);
  });
});
