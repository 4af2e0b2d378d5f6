import { describe, expect, it } from "vitest";
import type { Found } from "../../src/session/search.ts";
import type { Session } from "../../src/session/session.ts";
import { ALICE, BACK, BOB, createCluster, FIRST, NAMED, type Instance } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

const idOf = (found: Found | "later" | undefined) =>
  typeof found !== "object" ? found : "session" in found ? found.session.id : found.sessionId;
const lastOf = (session: Session, sequence = 3) => ({
  last: { sessionId: session.id, sequence },
  protocolVersion: undefined,
});

/** One instance, and a session of each visitor on it that has lost its stream. */
async function withOrphans(...visitors: Parameters<Instance["connect"]>[0][]) {
  const cluster = createCluster();
  const here = await cluster.start("i-1", { isRelayOn: false });
  const sessions: Session[] = [];
  for (const visitor of visitors) {
    const { session, stream } = await here.connect(visitor);
    stream.close();
    sessions.push(session);
  }
  return { ...cluster, here, sessions, session: sessions[0] as Session };
}

describe("a client that comes back to the instance of its session", () => {
  it("is known by the event that it had last, and goes on behind that", async () => {
    const { here, session } = await withOrphans(ALICE, ALICE);
    expect(here.reception.findHere({ ...ALICE, userAgent: "other" }, lastOf(session))).toEqual({
      session,
      after: 3,
    });
  });

  it("is known by the event that it had last although its old stream looks alive", async () => {
    const { here, session } = await withOrphans(ALICE);
    session.attach(new ScriptedStream());
    expect(idOf(here.reception.findHere(ALICE, lastOf(session)))).toBe(session.id);
  });

  it("is known by the name that it gives itself, wherever it comes from and whatever it says", async () => {
    const { here, sessions } = await withOrphans(ALICE, NAMED);
    const elsewhere = { ...NAMED, userAgent: "other", address: "10.0.0.9" };
    for (const back of [FIRST, BACK]) {
      expect(idOf(here.reception.findHere(elsewhere, back))).toBe(sessions[1]?.id);
    }
  });

  it("is known by its program and address when it says that it was initialized, and exactly one fits", async () => {
    const { here, session } = await withOrphans(ALICE);
    expect(idOf(here.reception.findHere(ALICE, BACK))).toBe(session.id);
    expect(here.reception.findHere(ALICE, FIRST)).toBeUndefined();
    expect(here.reception.findHere({ ...ALICE, address: "10.0.0.9" }, BACK)).toBeUndefined();
    expect(here.reception.findHere({ ...ALICE, userAgent: "other" }, BACK)).toBeUndefined();
    expect(here.reception.findHere(NAMED, BACK)).toBeUndefined();
  });

  it("is not guessed at when two fit, by address or by name", async () => {
    const { here } = await withOrphans(ALICE, ALICE, NAMED, NAMED);
    for (const visitor of [ALICE, NAMED]) {
      expect(here.reception.findHere(visitor, BACK)).toBeUndefined();
      expect(await here.reception.findAnywhere(visitor, BACK)).toBeUndefined();
    }
  });

  it("never gets another caller's session, whatever it names", async () => {
    const { here, session, sessions } = await withOrphans(ALICE, NAMED);
    const asBob = [
      [BOB, lastOf(session)],
      [{ ...NAMED, caller: "bob" }, lastOf(sessions[1] as Session)],
      [BOB, BACK],
      [{ ...NAMED, caller: "bob" }, BACK],
    ] as const;
    for (const [visitor, back] of asBob) {
      expect(here.reception.findHere(visitor, back)).toBeUndefined();
      expect(await here.reception.findAnywhere(visitor, back)).toBeUndefined();
    }
  });

  it("gets no session that has a stream on a guess by program and address", async () => {
    const { here, session, clock } = await withOrphans(ALICE);
    session.attach(new ScriptedStream());
    clock.now += 100_000;
    expect(here.reception.findHere(ALICE, BACK)).toBeUndefined();
    expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
  });

  it("does not get the orphan of another behind its address, while its own stream only looks alive", async () => {
    const { here, clock, session: bobs } = await withOrphans(ALICE);
    await here.connect(ALICE);
    for (const wait of [0, 100_000]) {
      clock.now += wait;
      expect(here.reception.findHere(ALICE, BACK)).toBeUndefined();
      expect(await here.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    }
    // The one that named its last event is certain.
    expect(idOf(here.reception.findHere(ALICE, lastOf(bobs)))).toBe(bobs.id);
    // With a name nobody else is meant.
    const { session: named, stream } = await here.connect(NAMED);
    await here.connect(NAMED);
    stream.close();
    expect(idOf(here.reception.findHere(NAMED, BACK))).toBe(named.id);
  });

  it("takes over a stream that only looks alive by its name, once that has been there for ten seconds", async () => {
    const { here, session, clock } = await withOrphans(NAMED);
    session.attach(new ScriptedStream());
    clock.now += 10_000;
    let answer: Found | "later" | undefined | "none yet" = "none yet";
    const asked = here.reception.findAnywhere(NAMED, BACK).then((found) => (answer = found));
    await settled();
    // Two clients of one name would take turns; so long there may be news of the stream's end.
    expect(answer).toBe("none yet");
    clock.now += 1;
    expect(idOf(await asked)).toBe(session.id);
  });

  it("gets a fresh session when the stream of its name was attached just now and stays", async () => {
    const { here, session, clock } = await withOrphans(NAMED);
    session.attach(new ScriptedStream());
    const asked = here.reception.findAnywhere(NAMED, BACK);
    clock.now += 2001;
    expect(await asked).toBeUndefined();
  });

  it("is no client that has introduced nobody: such a session is not found", async () => {
    const { here } = await withOrphans();
    const session = here.sessions.open(NAMED);
    session.attach(new ScriptedStream());
    expect(await here.reception.findAnywhere(NAMED, BACK)).toBeUndefined();
    expect(idOf(here.reception.findHere(NAMED, lastOf(session)))).toBe(session.id);
  });
});

describe("what the server of a fresh session is told for a client that was initialized before", () => {
  const COMMON = { protocolVersion: "2025-06-18", capabilities: {} };

  it("is what this instance heard last from it, then what the store knows, then the version it names", async () => {
    const { start, store } = createCluster();
    const [first, second] = [await start("i-1"), await start("i-2")];
    await first.connect(ALICE, { clientInfo: { name: "old" } });
    await first.connect(ALICE, { clientInfo: { name: "new" } });
    const told = { initialize: { clientInfo: { name: "new" } } };
    expect(await second.reception.recall(ALICE, undefined)).toEqual(told);
    store.trace = () => Promise.reject(new Error("away"));
    expect(await first.reception.recall(ALICE, undefined)).toEqual(told);
    expect(await second.reception.recall(ALICE, "2025-06-18")).toEqual({
      initialize: { ...COMMON, clientInfo: { name: "unknown", version: "0" } },
    });
    expect(await second.reception.recall(ALICE, undefined)).toBeUndefined();
  });

  it("is nothing of another caller, another program or another name", async () => {
    const { start } = createCluster();
    const here = await start("i-1");
    await here.connect(ALICE);
    for (const visitor of [BOB, { ...ALICE, userAgent: "other" }, { ...ALICE, address: "10.0.0.9" }, NAMED]) {
      expect(await here.reception.recall(visitor, undefined)).toBeUndefined();
    }
  });

  it("is remembered when the session is long over", async () => {
    const { here, session } = await withOrphans(ALICE);
    session.close("idle");
    expect(await here.reception.recall(ALICE, undefined)).toEqual({
      initialize: { clientInfo: { name: "c" } },
    });
  });
});
