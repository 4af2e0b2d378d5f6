import { describe, expect, it } from "vitest";
import type { Visitor } from "../../src/session/fingerprint.ts";
import { ALICE, BACK, createCluster, NAMED } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "m" };

/** Three instances: `owner` has a session, `carrier` its client's stream, and `here` is where the client goes next. */
async function open(visitor: Visitor) {
  const cluster = createCluster();
  const [owner, carrier, here] = [
    await cluster.start("i-owner"),
    await cluster.start("i-carrier"),
    await cluster.start("i-here"),
  ];
  const { session, stream: first } = await owner.connect(visitor);
  first.close();
  await settled();
  const carried = new ScriptedStream();
  const peer = { instanceId: "i-owner", address: "memory:i-owner" };
  await carrier.carrier.carry(carried, { sessionId: session.id, owner: peer }, { caller: "alice" });
  await owner.post(session, CALL);
  return {
    ...cluster,
    owner,
    carrier,
    here,
    session,
    carried,
    found: { sessionId: session.id, owner: peer },
  };
}

describe.each([
  ["that has a name", NAMED],
  ["that has none", ALICE],
])("a client %s whose stream was carried by an instance that was killed", (_which, visitor) => {
  it("gets its session at a third one, at once, with the answer to what is in flight", async () => {
    const { carrier, here, owner, session, found } = await open(visitor);
    await carrier.crash();
    expect(session.orphanedAt).toBeUndefined();
    expect(await here.reception.findAnywhere(visitor, BACK)).toEqual(found);
    expect(session.orphanedAt).toBeDefined();
    const back = new ScriptedStream();
    await here.carrier.carry(back, found, { caller: "alice" });
    owner.upstream.links[0]?.say({ jsonrpc: "2.0", id: 7, result: {} });
    await settled();
    expect(back.messages.map(({ id }) => id)).toEqual([7]);
  });

  it("gets its session at the owner itself", async () => {
    const { carrier, owner, session } = await open(visitor);
    await carrier.crash();
    expect(await owner.reception.findAnywhere(visitor, BACK)).toEqual({ session });
  });

  it("gets it as well when the instance lives, and has lost the stream without saying so", async () => {
    const { network, here, carried, found, session } = await open(visitor);
    network.mishap = ({ kind }) => (kind === "detach" ? "unreachable" : undefined);
    carried.close();
    await settled();
    expect(session.orphanedAt).toBeUndefined();
    expect(await here.reception.findAnywhere(visitor, BACK)).toEqual(found);
    expect(session.orphanedAt).toBeDefined();
  });
});

describe("a carried stream", () => {
  it.each(["unreachable", "unknown"] as const)(
    "is not given up for an instance that may live: it was %s",
    async (mishap) => {
      const { network, owner, session } = await open(ALICE);
      network.mishap = ({ to }) => (to === "i-carrier" ? mishap : undefined);
      await session.confirmStream();
      expect(session.orphanedAt).toBeUndefined();
      expect(await owner.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    },
  );

  it("is confirmed by the instance that holds it, and stays its client's", async () => {
    const { network, owner, session, carried } = await open(ALICE);
    expect(await owner.reception.findAnywhere(ALICE, BACK)).toBeUndefined();
    const asked = network.sent.filter(({ kind, head }) => kind === "hello" && "held" in head);
    expect(asked).toMatchObject([{ to: "i-carrier" }]);
    expect([session.orphanedAt, carried.end_]).toEqual([undefined, "open"]);
  });

  it("of its name is taken over after a second, and waited for until then", async () => {
    const { clock, here, found } = await open(NAMED);
    let answer: unknown = "none yet";
    const asked = here.reception.findAnywhere(NAMED, BACK).then((came) => (answer = came));
    clock.now += 1000;
    await settled(20);
    expect(answer).toBe("none yet");
    clock.now += 1;
    expect(await asked).toEqual(found);
  });

  it("is named in a hello, which says what is not there of either side's", async () => {
    const { carrier, network } = await open(ALICE);
    const stream = network.sent.findLast(({ kind }) => kind === "attach")?.head["stream"];
    const hello = (from: string) =>
      carrier.summons.receive(from, {
        kind: "hello",
        head: { streams: ["a"], held: [stream, "b"] },
        bodies: [],
      });
    expect(await hello("i-owner")).toEqual({ delivery: "delivered", gone: ["a"], lost: ["b"] });
    // Who does not own the session has no stream there.
    expect(await hello("i-here")).toMatchObject({ lost: [stream, "b"] });
    const bare = { kind: "hello", head: { streams: 7, held: "x" }, bodies: [] };
    expect(await carrier.summons.receive("i-owner", bare)).toEqual({
      delivery: "delivered",
      gone: [],
      lost: [],
    });
  });
});
