import { describe, expect, it } from "vitest";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { laneId } from "../../src/session/lane-id.ts";
import { ALICE, BOB, createCluster, type Instance } from "./instances.ts";
import { reasonOf } from "./open-session.ts";
import { ScriptedStream, settled, type ScriptedLink } from "./scripted.ts";
import { eventually } from "../support/eventually.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "tools/call", params: { _meta: { progressToken: "p" } } };
const PROGRESS = { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: "p" } };
const ANSWER = { jsonrpc: "2.0", id: 7, result: {} };

/** A stream whose client takes whatever it is given. */
class TakingStream extends ScriptedStream {
  override write(sequence: number, message: Buffer): boolean {
    super.write(sequence, message);
    queueMicrotask(() => this.take());
    return this.keepsUp;
  }

  override end(retryMs?: number): void {
    super.end(retryMs);
    queueMicrotask(() => this.close());
  }
}

let tags = 0;

/** Gives a request to a session that is not here, with a stream for its answer. */
function ask(at: Instance, id: string, message: { id: unknown } = CALL, caller = "alice") {
  const stream = new TakingStream();
  const lane = laneId(`t-${(tags += 1)}`, JSON.stringify(message.id));
  const bytes = Buffer.from(JSON.stringify(message));
  const given = at.elsewhere.deliver(id, caller, bytes, scanMessage(bytes) as Envelope, { lane, stream });
  given.catch(() => undefined);
  return { stream, lane, given };
}

/** Two instances, and a Streamable session of the second, whose client has introduced itself. */
async function open(isRelayOn = true) {
  const cluster = createCluster();
  const [here, there] = [
    await cluster.start("i-1", { isRelayOn }),
    await cluster.start("i-2", { isRelayOn }),
  ];
  const session = there.sessions.open(ALICE, { transport: "streamable" });
  const stream = new TakingStream();
  const initialize = {
    jsonrpc: "2.0",
    id: "init",
    method: "initialize",
    params: { clientInfo: { name: "c" } },
  };
  const bytes = Buffer.from(JSON.stringify(initialize));
  await session.deliver(bytes, scanMessage(bytes) as Envelope, { lane: laneId("first", '"init"'), stream });
  await there.sessions.beat();
  await there.post(session, { jsonrpc: "2.0", method: "notifications/initialized" });
  await settled();
  const owner = { instanceId: "i-2", address: "memory:i-2" };
  const link = (at: Instance) => at.upstream.links.at(-1) as ScriptedLink;
  return { ...cluster, here, there, session, id: session.id, owner, link };
}

describe("a request for a Streamable session that is not here", () => {
  it("is answered on its own stream, and what comes before as well", async () => {
    const { here, there, id, session, link } = await open();
    const { stream, given } = ask(here, id);
    await given;
    expect(link(there).told.at(-1)).toEqual(CALL);
    expect(session.orphanedAt).toBeUndefined();
    link(there).say(PROGRESS);
    await expect.poll(() => stream.messages).toEqual([PROGRESS]);
    link(there).say(ANSWER);
    await expect.poll(() => stream.end_).toBe("ended");
    expect(stream.messages).toEqual([PROGRESS, ANSWER]);
    expect(stream.retryMs).toBeUndefined();
    await expect.poll(() => session.orphanedAt).toBeDefined();
    expect(here.carrier.count).toBe(0);
  });

  it("comes out in one piece with its answer when that is all, so that it can be plain JSON", async () => {
    const { here, there, id, link } = await open();
    const { stream, given } = ask(here, id);
    await given;
    const turns: string[] = [];
    const [write, end] = [stream.write.bind(stream), stream.end.bind(stream)];
    stream.write = (...all) => (turns.push("write"), queueMicrotask(() => turns.push("turn")), write(...all));
    stream.end = (...all) => (turns.push("end"), end(...all));
    link(there).say(ANSWER);
    await expect.poll(() => stream.end_).toBe("ended");
    expect(turns.slice(0, 2)).toEqual(["write", "end"]);
  });

  it("goes to an instance that claims the session when its owner is dead, and is answered there", async () => {
    const { here, there, id, link } = await open();
    await there.crash();
    const { stream, given } = ask(here, id);
    await given;
    expect(here.sessions.find(id)).toMatchObject({ epoch: 2, transport: "streamable" });
    expect(link(here).told.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/call",
    ]);
    link(here).say(ANSWER);
    expect([stream.messages, stream.end_]).toEqual([[ANSWER], "ended"]);
  });

  it("waits for a session that is being handed over, and is answered by its next owner", async () => {
    const { here, there, id, session, link } = await open();
    const own = new TakingStream();
    session.attach(own);
    own.end = (retryMs) => void (own.retryMs = retryMs);
    const drained = there.goDown();
    await eventually(() => session.isLeaving);
    const { stream, given } = ask(here, id);
    await settled();
    expect(stream.events).toBeUndefined();
    own.close();
    await drained;
    await given;
    link(here).say(ANSWER);
    expect([stream.messages, stream.end_]).toEqual([[ANSWER], "ended"]);
  });

  it("is refused when the relay is off, and its stream is nobody's", async () => {
    const { here, id } = await open(false);
    const { stream, given } = ask(here, id);
    expect(await reasonOf(given)).toBe("session_elsewhere");
    expect([stream.events, stream.end_, stream.written]).toEqual([undefined, "open", []]);
  });

  it.each(["unreachable", "unknown", "unheard"] as const)(
    "leaves its stream untouched and unheld when its owner was %s",
    async (mishap) => {
      const { here, id, network } = await open();
      network.mishap = ({ kind }) => (kind === "post" ? mishap : undefined);
      const { stream, given } = ask(here, id);
      expect(await reasonOf(given)).toBe(mishap === "unreachable" ? "owner_unreachable" : "delivery_unknown");
      expect([stream.events, stream.end_, stream.written]).toEqual([undefined, "open", []]);
      expect(here.carrier.count).toBe(0);
    },
  );

  it("that the owner refuses leaves its stream untouched and unheld, on both sides", async () => {
    const { here, there, id, session, network } = await open();
    const first = ask(here, id);
    await first.given;
    const twin = ask(here, id);
    expect(await reasonOf(twin.given)).toBe("duplicate_id");
    expect([twin.stream.events, twin.stream.end_, twin.stream.written]).toEqual([undefined, "open", []]);
    expect([here.carrier.count, session.inFlight]).toEqual([1, 1]);
    const streams = network.sent.filter(({ kind }) => kind === "post").map(({ head }) => head["stream"]);
    expect(
      await there.summons.receive("i-1", { kind: "hello", head: { streams }, bodies: [] }),
    ).toMatchObject({
      gone: [streams[1]],
    });
  });

  it("is nobody's when another caller asks", async () => {
    const { here, there, id, link } = await open();
    const { stream, given } = ask(here, id, CALL, "bob");
    expect(await reasonOf(given)).toBe("session_not_found");
    expect(stream.events).toBeUndefined();
    expect(link(there).told.at(-1)?.method).toBe("notifications/initialized");
  });

  it("keeps its answer for who comes again when its client went", async () => {
    const { here, there, id, link, owner } = await open();
    const { stream, lane, given } = ask(here, id);
    await given;
    link(there).say(PROGRESS);
    await expect.poll(() => stream.written.length).toBe(1);
    stream.close();
    await settled();
    link(there).say(ANSWER);
    const next = new TakingStream();
    await here.carrier.carry(
      next,
      { sessionId: id, owner, lane, after: stream.sequences[0] as number },
      { caller: "alice" },
    );
    await expect.poll(() => next.end_).toBe("ended");
    expect([next.messages, next.retryMs]).toEqual([[ANSWER], undefined]);
    expect(here.carrier.count).toBe(0);
  });

  it("is to be asked for again when its owner died with it", async () => {
    const { here, there, id, clock } = await open();
    const { stream, lane, given } = ask(here, id);
    await given;
    await there.crash();
    clock.now += 1000;
    here.carrier.beat(clock.now);
    await expect.poll(() => [stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
    const found = await here.reception.findById(id, "alice");
    const session = found !== undefined && "session" in found ? found.session : undefined;
    const next = new TakingStream();
    session?.resumeLane(lane, next, 0);
    // Nothing was kept of it beyond its owner.
    expect(next.messages).toMatchObject([{ id: 7, error: { data: { reason: "answer_lost" } } }]);
  });
});

describe("a Streamable session of another instance", () => {
  it("is found by its id, of its own transport alone", async () => {
    const { here, there, id, owner } = await open();
    expect(await here.reception.findById(id, "alice")).toEqual({ sessionId: id, owner });
    expect(await here.reception.findById(id, "bob")).toBeUndefined();
    const { session: sse } = await there.connect();
    expect(await here.reception.findById(sse.id, "alice")).toBeUndefined();
    expect(await there.reception.findById(sse.id, "alice")).toBeUndefined();
    const back = { last: { sessionId: id, sequence: 1 }, protocolVersion: undefined };
    expect(there.reception.findHere(ALICE, back)).toBeUndefined();
    for (const at of [here, there])
      expect(await at.reception.findAnywhere({ ...ALICE, clientId: "x" }, back)).toBeUndefined();
    expect(await reasonOf(here.elsewhere.expect(id, "alice", { transport: "streamable" }))).toBe("given");
    expect(await reasonOf(here.elsewhere.expect(id, "alice"))).toBe("session_not_found");
    expect(await reasonOf(here.elsewhere.expect(sse.id, "alice", { transport: "streamable" }))).toBe(
      "session_not_found",
    );
  });

  it("is claimed by who looks for it when its owner is dead", async () => {
    const { here, there, id } = await open();
    await there.crash();
    expect(await here.reception.findById(id, "alice")).toMatchObject({ session: { id, epoch: 2 } });
  });

  it("sends what is for all of its client on a stream that reaches it from here", async () => {
    const { here, there, id, owner, link } = await open();
    link(there).say({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    const own = new TakingStream();
    await here.carrier.carry(own, { sessionId: id, owner }, { caller: "alice" });
    await expect.poll(() => own.messages).toMatchObject([{ method: "notifications/tools/list_changed" }]);
  });
});

describe("ending a session that is not here", () => {
  it("ends it at its owner", async () => {
    const { here, there, session, id } = await open();
    await here.elsewhere.end(id, "alice");
    expect(session.isOpen).toBe(false);
    expect(await reasonOf(ask(here, id).given)).toBe("session_not_found");
    await there.sessions.beat();
    here.whereabouts.forget(id);
    expect(await reasonOf(here.elsewhere.end(id, "alice"))).toBe("session_not_found");
  });

  it("ends what a dead owner left", async () => {
    const { here, there, store, id } = await open();
    await there.crash();
    await here.elsewhere.end(id, "alice");
    await settled();
    await here.sessions.beat();
    expect(await store.get(id)).toBeUndefined();
    expect(here.sessions.count).toBe(0);
  });

  it("is not for another caller, and is not done behind its back", async () => {
    const { here, there, session, id } = await open();
    expect(await reasonOf(here.elsewhere.end(id, BOB.caller))).toBe("session_not_found");
    const close = { kind: "close", head: { session: id, caller: "bob" }, bodies: [] };
    await there.summons.receive("i-1", close);
    expect(session.isOpen).toBe(true);
  });

  it("is refused when its owner cannot be told, or the relay is off", async () => {
    const { here, id, network, session } = await open();
    network.mishap = ({ kind }) => (kind === "close" ? "unreachable" : undefined);
    expect(await reasonOf(here.elsewhere.end(id, "alice"))).toBe("owner_unreachable");
    network.mishap = ({ kind }) => (kind === "close" ? "unknown" : undefined);
    expect(await reasonOf(here.elsewhere.end(id, "alice"))).toBe("delivery_unknown");
    expect(session.isOpen).toBe(true);
    const off = await open(false);
    expect(await reasonOf(off.here.elsewhere.end(off.id, "alice"))).toBe("session_elsewhere");
  });
});
