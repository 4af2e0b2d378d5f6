import { describe, expect, it } from "vitest";
import { FAULTS, GatewayError, type Reason } from "../../src/errors.ts";
import { ALICE, createCluster } from "./instances.ts";
import { reasonOf } from "./open-session.ts";
import { ScriptedStream, settled } from "./scripted.ts";
import { eventually } from "../support/eventually.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

/** Two instances, and a client of the second. */
async function open(isRelayOn = true) {
  const cluster = createCluster();
  const [here, there] = [
    await cluster.start("i-1", { isRelayOn }),
    await cluster.start("i-2", { isRelayOn }),
  ];
  const { session, stream } = await there.connect();
  await settled();
  return { ...cluster, here, there, session, stream, id: session.id };
}

describe("a message for a session that is not here", () => {
  it("may come when its owner lives, is dead or has let go of it, and not to another caller's", async () => {
    const { here, there, id } = await open();
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("given");
    // With the session's token nobody says who it is.
    expect(await reasonOf(here.elsewhere.expect(id, undefined))).toBe("given");
    expect(await reasonOf(here.elsewhere.expect(id, "bob"))).toBe("session_not_found");
    expect(await reasonOf(here.elsewhere.expect("unknown", "alice"))).toBe("session_not_found");
    await there.crash();
    here.whereabouts.forget(id);
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("given");
  });

  it("is refused as promised when its owner lives and the relay is off, and not before it is known whose it is", async () => {
    const { here, id } = await open(false);
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("session_elsewhere");
    expect(await reasonOf(here.elsewhere.expect(id, "bob"))).toBe("session_not_found");
    expect(await reasonOf(here.deliver(id, CALL))).toBe("session_elsewhere");
  });

  it("reaches its server through the owner, as its own bytes, and counts as given only then", async () => {
    const { here, there, id, session, network } = await open();
    await here.deliver(id, CALL);
    expect(there.upstream.links[0]?.told.at(-1)).toEqual(CALL);
    expect(session.inFlight).toBe(1);
    expect(network.sent.at(-1)).toMatchObject({ kind: "post", head: { session: id, caller: "alice" } });
    expect(here.upstream.links).toHaveLength(0);
  });

  it("is refused by the owner for another caller, who learns nothing of it", async () => {
    const { here, there, id } = await open();
    expect(await reasonOf(here.deliver(id, CALL, "bob"))).toBe("session_not_found");
    const answer = await there.summons.receive("i-1", {
      kind: "post",
      head: { session: id, caller: "bob" },
      bodies: [Buffer.from(JSON.stringify(CALL))],
    });
    expect(answer).toEqual({ delivery: "gone" });
    expect(there.upstream.links[0]?.told.at(-1)?.method).toBe("notifications/initialized");
  });

  it("is refused with the owner's own words", async () => {
    const { here, id } = await open();
    await here.deliver(id, CALL);
    expect(await reasonOf(here.deliver(id, CALL))).toBe("duplicate_id");
  });

  it.each(["unknown", "unreachable", "dead"] as const)(
    "that its owner did not take before it went down in order goes to the next one: it was %s",
    async (mishap) => {
      const { here, there, id, session, stream, network } = await open();
      // What is believed of the owner is older than its word that it goes.
      await here.whereabouts.find(id);
      const drained = there.goDown();
      await eventually(() => session.isLeaving);
      network.mishap = ({ kind }) => (kind === "post" ? mishap : undefined);
      const given = here.deliver(id, CALL);
      await settled();
      stream.close();
      await drained;
      await given;
      expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
    },
  );

  it.each(["unknown", "unreachable"] as const)(
    "that did not reach an owner whose lease is gone goes to whoever claims the session: it was %s",
    async (mishap) => {
      const { here, there, id, network } = await open();
      await here.whereabouts.find(id);
      await there.crash();
      network.mishap = ({ kind }) => (kind === "post" ? mishap : undefined);
      await here.deliver(id, CALL);
      expect(here.sessions.find(id)?.epoch).toBe(2);
      expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
    },
  );

  it("may have been taken by an owner that goes down when its answer stayed out for long: it is not given twice", async () => {
    const { here, there, id, clock, network } = await open();
    await here.whereabouts.find(id);
    await there.sessions.lease.drain();
    network.mishap = ({ kind }) => {
      if (kind === "post") clock.now += 4000;
      return kind === "post" ? "unheard" : undefined;
    };
    expect(await reasonOf(here.deliver(id, CALL))).toBe("delivery_unknown");
    expect(there.upstream.links[0]?.told.at(-1)).toEqual(CALL);
  });

  it("was begun by an owner that goes down before it could answer: it is not given twice", async () => {
    const { here, there, id, network } = await open();
    await here.whereabouts.find(id);
    await there.sessions.lease.drain();
    network.mishap = ({ kind }) => (kind === "post" ? "taken" : undefined);
    expect(await reasonOf(here.deliver(id, CALL))).toBe("delivery_unknown");
    expect(network.count("post")).toBe(1);
  });

  it("may have been taken when nobody can say how its owner is: it is not said to be safe to send again", async () => {
    const { here, id, network, store } = await open();
    await here.whereabouts.find(id);
    network.mishap = ({ kind }) => (kind === "post" ? "unheard" : undefined);
    store.getLease = () => Promise.reject(new GatewayError("store_unavailable"));
    expect(await reasonOf(here.deliver(id, CALL))).toBe("delivery_unknown");
  });

  it.each<[string, "unreachable" | "unknown" | "unheard", Reason, number]>([
    ["cannot be reached", "unreachable", "owner_unreachable", 503],
    ["may have had it", "unknown", "delivery_unknown", 504],
    ["had it without a word", "unheard", "delivery_unknown", 504],
  ])("is refused when its owner %s, and is not tried again", async (_what, mishap, reason, status) => {
    const { here, id, network } = await open();
    network.mishap = ({ kind }) => (kind === "post" ? mishap : undefined);
    expect(await reasonOf(here.deliver(id, CALL))).toBe(reason);
    expect([FAULTS[reason].status, network.count("post")]).toEqual([status, 1]);
  });

  it("goes to a session that this instance claims when its owner is dead, by its lease or by evidence", async () => {
    for (const isKnown of [true, false]) {
      const { here, there, network, id } = await open();
      if (isKnown) await there.crash();
      else network.kill("i-2");
      await here.deliver(id, CALL);
      expect(here.upstream.links[0]?.told.at(-1)).toEqual(CALL);
      expect(here.sessions.find(id)).toMatchObject({ epoch: 2, inFlight: 1 });
    }
  });

  it("that two instances get at once for a dead owner's session is given to both by the one that claims it", async () => {
    const { start, here, there, id } = await open();
    const third = await start("i-3");
    await there.crash();
    await Promise.all([here.deliver(id, CALL), third.deliver(id, { ...CALL, id: 8 })]);
    expect(here.sessions.count + third.sessions.count).toBe(1);
    const told = [...here.upstream.links, ...third.upstream.links].flatMap((link) => link.told);
    expect(new Set(told.slice(2).map(({ id: at }) => at))).toEqual(new Set([7, 8]));
    expect(told).toHaveLength(4);
  });

  it("waits for a session that is being handed over, and goes to its next owner", async () => {
    const { here, there, id, session, stream } = await open();
    const drained = there.goDown();
    await eventually(() => session.isLeaving);
    const given = here.deliver(id, CALL);
    const givenThere = there.deliver(id, { ...CALL, id: 8 });
    await settled();
    stream.close();
    await drained;
    await given;
    // The old owner carries what still reaches it, too.
    await givenThere;
    expect(here.sessions.find(id)?.epoch).toBe(2);
    expect(here.upstream.links[0]?.told.slice(2)).toEqual(expect.arrayContaining([CALL, { ...CALL, id: 8 }]));
  });

  it("is refused when its session is gone from the owner, twice", async () => {
    const { here, there, id, session, store } = await open();
    store.remove = () => Promise.resolve();
    session.close("idle");
    await settled();
    expect(await reasonOf(here.deliver(id, CALL))).toBe("session_not_found");
    expect(there.sessions.count).toBe(0);
  });

  it("for another name of a session whose owner died goes to a server that knows the client", async () => {
    const { here, there, session, stream } = await open();
    stream.close();
    const fresh = there.sessions.open(ALICE);
    fresh.attach(new ScriptedStream());
    await settled();
    there.sessions.merge(fresh, session);
    expect(there.sessions.find(fresh.id)).toBe(session);
    await settled();
    await there.crash();
    await here.deliver(fresh.id, CALL);
    expect(here.upstream.links[0]?.told.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "m",
    ]);
  });
});

describe("what another instance asks", () => {
  it("is refused when nobody knows the word, and never throws", async () => {
    const { there } = await open();
    expect(await there.summons.receive("i-1", { kind: "what", head: {}, bodies: [] })).toEqual({
      delivery: "refused",
      reason: "bad_request",
    });
    const post = (bodies: Buffer[]) => there.summons.receive("i-1", { kind: "post", head: {}, bodies });
    expect(await post([])).toEqual({ delivery: "gone" });
    expect(await post([Buffer.from("{}")])).toEqual({ delivery: "gone" });
  });

  it("is not done for a session that others have claimed while this instance slept", async () => {
    const { here, there, id, clock, session } = await open();
    const place = await here.whereabouts.find(id);
    if (place === undefined) throw new Error("no record");
    await here.claims.claim(place.record);
    clock.now += 91_000;
    const body = Buffer.from(JSON.stringify(CALL));
    const head = { session: id, caller: "alice" };
    const sent = there.upstream.links[0]?.sent.length;
    expect(await there.summons.receive("i-1", { kind: "post", head, bodies: [body] })).toEqual({
      delivery: "gone",
    });
    expect([session.isOpen, there.upstream.links[0]?.sent.length]).toEqual([false, sent]);
  });
});
