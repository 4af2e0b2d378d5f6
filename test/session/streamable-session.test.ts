import { describe, expect, it } from "vitest";
import { laneId, requestIdOf } from "../../src/session/lane-id.ts";
import type { SessionLimits } from "../../src/session/session-parts.ts";
import { decodeInheritance, encodeInheritance } from "../../src/session/journal.ts";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { DURABLE, openSession, reasonOf } from "./open-session.ts";
import { offers, ScriptedStream } from "./scripted.ts";

const tool = (id: unknown, token?: unknown) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name: "t", ...(token === undefined ? {} : { _meta: { progressToken: token } }) },
});
const progress = (token: unknown) => ({
  jsonrpc: "2.0",
  method: "notifications/progress",
  params: { progressToken: token, progress: 1 },
});

/** A session of a Streamable client that has introduced itself, and no stream. */
async function open(limits: Partial<SessionLimits> = {}) {
  const opened = openSession({ transport: "streamable", limits: { ...DURABLE, ...limits } });
  opened.stream.close();
  opened.upstream.reply = offers({});
  let lanes = 0;
  const ask = async (message: { id: unknown; [member: string]: unknown }) => {
    const stream = new ScriptedStream();
    const lane = laneId(`t-${(lanes += 1)}`, JSON.stringify(message.id));
    const bytes = Buffer.from(JSON.stringify(message));
    await opened.session.deliver(bytes, scanMessage(bytes) as Envelope, { lane, stream });
    return { stream, lane };
  };
  const first = await ask({
    id: "init",
    jsonrpc: "2.0",
    method: "initialize",
    params: { clientInfo: { name: "c" } },
  });
  first.stream.take();
  first.stream.close();
  const say = (message: unknown) => opened.link().say(message);
  return { ...opened, ask, say, first };
}

describe("an answer to a Streamable client", () => {
  it("goes to the stream of its own POST, which ends with it", async () => {
    const { ask, answer, first } = await open();
    expect(first.stream.messages).toMatchObject([{ id: "init" }]);
    const [one, other] = [await ask(tool(1)), await ask(tool("1"))];
    answer("1");
    expect(other.stream.messages).toMatchObject([{ id: "1" }]);
    expect([one.stream.end_, other.stream.end_]).toEqual(["open", "ended"]);
    expect(other.stream.retryMs).toBeUndefined();
    answer(1);
    expect(one.stream.messages).toMatchObject([{ id: 1 }]);
  });

  it("waits behind a reader that lags, and the stream ends when it has all", async () => {
    const { ask, say, answer } = await open();
    const { stream } = await ask(tool(1, "p"));
    stream.keepsUp = false;
    say(progress("p"));
    answer(1);
    expect([stream.messages.length, stream.end_]).toEqual([1, "open"]);
    stream.drain();
    expect(stream.messages).toMatchObject([{ method: "notifications/progress" }, { id: 1 }]);
    expect(stream.end_).toBe("ended");
  });

  it("is a timeout's error when the server gives none in time", async () => {
    const { ask, session, clock } = await open({ requestTimeoutMs: 1000 });
    const { stream } = await ask(tool(1));
    clock.now += 1001;
    session.beat(clock.now);
    expect(stream.messages).toMatchObject([{ id: 1, error: { data: { reason: "upstream_timeout" } } }]);
    expect(stream.end_).toBe("ended");
  });
});

describe("what the server says besides", () => {
  it("about a request goes to that request's stream, by its token, before its answer", async () => {
    const { ask, say } = await open();
    const [one, other] = [await ask(tool(1, 7)), await ask(tool(2, "é"))];
    say(progress(7));
    say(
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"\\u00e9","progress":1}}',
    );
    expect(one.stream.messages).toMatchObject([{ params: { progressToken: 7 } }]);
    expect(other.stream.messages).toMatchObject([{ params: { progressToken: "é" } }]);
  });

  it("tells tokens of 64 bits apart", async () => {
    const { session, say } = await open();
    const send = (id: number, token: string) => {
      const bytes = Buffer.from(
        `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"_meta":{"progressToken":${token}}}}`,
      );
      const stream = new ScriptedStream();
      void session.deliver(bytes, scanMessage(bytes) as Envelope, {
        lane: laneId(`x${id}`, String(id)),
        stream,
      });
      return stream;
    };
    const [one, other] = [send(1, "9007199254740993"), send(2, "9007199254740992")];
    say('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9007199254740993}}');
    expect([one.messages.length, other.messages.length]).toEqual([1, 0]);
  });

  it("as a question goes with the newest request, and waits for the client's own stream when there is none", async () => {
    const { ask, say, attach } = await open();
    const { stream } = await ask(tool(1));
    say({ jsonrpc: "2.0", id: "q1", method: "elicitation/create" });
    expect(stream.messages).toMatchObject([{ id: "q1" }]);
    say({ jsonrpc: "2.0", id: 1, result: {} });
    say({ jsonrpc: "2.0", id: "q2", method: "roots/list" });
    expect(stream.messages).toHaveLength(2);
    expect(attach().messages).toMatchObject([{ id: "q2" }]);
  });

  it("to all of the client goes to its own stream alone, and is kept until there is one", async () => {
    const { ask, say, attach } = await open();
    const { stream } = await ask(tool(1));
    say({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    say({ jsonrpc: "2.0", method: "notifications/resources/updated", params: { uri: "x" } });
    expect(stream.messages).toEqual([]);
    expect(attach().messages).toMatchObject([
      { method: "notifications/tools/list_changed" },
      { method: "notifications/resources/updated" },
    ]);
  });
});

describe("a request's stream that is cut", () => {
  it("is gone on with after the last event, without what that event was before", async () => {
    const { ask, say, answer, session } = await open();
    const { stream, lane } = await ask(tool(1, "p"));
    say(progress("p"));
    say(progress("p"));
    stream.take(2);
    const [seen] = stream.sequences;
    stream.close();
    answer(1);
    const next = new ScriptedStream();
    session.resumeLane(lane, next, seen as number);
    expect(next.messages).toMatchObject([{ method: "notifications/progress" }, { id: 1 }]);
    expect(next.end_).toBe("ended");
  });

  it("keeps its answer for a while, also one that a socket took", async () => {
    const { ask, answer, session, clock } = await open();
    const { stream, lane } = await ask(tool(1));
    answer(1);
    stream.take();
    stream.close();
    const next = new ScriptedStream();
    session.resumeLane(lane, next, 0);
    expect(next.messages).toMatchObject([{ id: 1, result: { of: 1 } }]);
    next.close();
    clock.now += 60_001;
    session.beat(clock.now);
    const late = new ScriptedStream();
    session.resumeLane(lane, late, 0);
    expect(late.messages).toMatchObject([{ id: 1, error: { data: { reason: "answer_lost" } } }]);
    expect(late.end_).toBe("ended");
  });

  it("is not the client's leave: the answer comes on the next stream of a request that is still in flight", async () => {
    const { ask, answer, session, clock } = await open({ orphanMs: 1000 });
    const { stream, lane } = await ask(tool(1));
    stream.close();
    clock.now += 1001;
    session.beat(clock.now);
    const next = new ScriptedStream();
    session.resumeLane(lane, next, 0);
    expect(next.messages).toEqual([]);
    answer(1);
    expect(next.messages).toMatchObject([{ id: 1, result: { of: 1 } }]);
  });

  it("before it began leaves nothing behind", async () => {
    const { ask, answer, session, attach } = await open();
    const { stream } = await ask(tool(1));
    stream.canResume = false;
    stream.close();
    answer(1);
    expect(attach().messages).toEqual([]);
    expect(session.inFlight).toBe(0);
  });

  it("is ended when it is old, for the client to go on with another", async () => {
    const { ask, session, clock, answer } = await open({ streamMaxAgeMs: 5000 });
    const { stream, lane } = await ask(tool(1));
    clock.now += 5000;
    session.beat(clock.now);
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
    stream.close();
    answer(1);
    const next = new ScriptedStream();
    session.resumeLane(lane, next, 0);
    expect(next.messages).toMatchObject([{ id: 1 }]);
  });
});

describe("a Streamable session", () => {
  it("outlives its streams, and ends when nobody has come for long", async () => {
    const { session, ends, clock, attach } = await open({ idleMs: 600_000 });
    const stream = attach();
    clock.now += 700_000;
    session.beat(clock.now);
    expect(session.isOpen).toBe(true);
    stream.close();
    expect(session.orphanedAt).toBe(clock.now);
    clock.now += 599_000;
    session.beat(clock.now);
    expect(session.isOpen).toBe(true);
    clock.now += 700_000;
    session.beat(clock.now);
    expect(ends).toEqual(["idle"]);
  });

  it("takes over when its client's own stream comes a second time", async () => {
    const { attach, say } = await open();
    const [old, next] = [attach(), attach()];
    expect(old.end_).toBe("cut");
    say({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    expect([old.messages.length, next.messages.length]).toEqual([0, 1]);
  });

  it("ends a request's stream when the client cancels it", async () => {
    const { ask, deliver } = await open();
    const { stream } = await ask(tool(1));
    await deliver({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } });
    expect([stream.messages.length, stream.end_]).toEqual([0, "ended"]);
  });

  it("gives a stream back untouched when its request cannot be given", async () => {
    const { ask, session } = await open({ inFlight: 1 });
    await ask(tool(1));
    const stream = new ScriptedStream();
    const bytes = Buffer.from(JSON.stringify(tool(2)));
    const given = (async () =>
      session.deliver(bytes, scanMessage(bytes) as Envelope, { lane: "x", stream }))();
    expect(await reasonOf(given)).toBe("too_many_in_flight");
    expect([stream.end_, stream.written.length]).toEqual(["open", 0]);
  });

  it("goes on when one of its streams stands still for too long: that one is cut", async () => {
    const { ask, say, answer, session, clock, ends } = await open({ slowReaderMs: 1000 });
    const { stream, lane } = await ask(tool(1, "p"));
    stream.keepsUp = false;
    say(progress("p"));
    clock.now += 1001;
    session.beat(clock.now);
    expect([stream.end_, ends]).toEqual(["cut", []]);
    stream.close();
    answer(1);
    const next = new ScriptedStream();
    session.resumeLane(lane, next, 0);
    expect(next.messages).toMatchObject([{ method: "notifications/progress" }, { id: 1 }]);
  });

  it("is ended as a slow reader's when its client's own stream stands still for too long", async () => {
    const { attach, say, session, clock, ends } = await open({ slowReaderMs: 1000 });
    attach().keepsUp = false;
    say({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    clock.now += 1001;
    session.beat(clock.now);
    expect(ends).toEqual(["slow_reader"]);
  });

  it("LIM-15 cuts the stream with most unread bytes when they are too many in all", async () => {
    const { ask, say, ends } = await open({ outboxMaxBytes: 40_000, inFlight: 10 });
    const [small, large, third] = [await ask(tool(1)), await ask(tool(2)), await ask(tool(3))];
    small.stream.pendingBytes = 9000;
    large.stream.pendingBytes = 30_000;
    say({ jsonrpc: "2.0", id: 3, result: { text: "x".repeat(20_000) } });
    expect([small.stream.end_, large.stream.end_, third.stream.end_]).toEqual(["open", "open", "ended"]);
    const fourth = await ask(tool(4));
    fourth.stream.pendingBytes = 10_000;
    say({ jsonrpc: "2.0", id: 4, result: { text: "x".repeat(20_000) } });
    expect([small.stream.end_, large.stream.end_, fourth.stream.end_]).toEqual(["open", "cut", "ended"]);
    expect(ends).toEqual([]);
  });

  it("LIM-15 keeps of the answers that nobody comes for only so many bytes, the latest", async () => {
    const { ask, say, session, ends } = await open({ outboxMaxBytes: 60_000, inFlight: 10 });
    const lanes = [await ask(tool(1)), await ask(tool(2)), await ask(tool(3))];
    for (const { stream } of lanes) stream.close();
    for (const id of [1, 2, 3]) say({ jsonrpc: "2.0", id, result: { text: "x".repeat(20_000) } });
    expect(ends).toEqual([]);
    const again = lanes.map(({ lane }) => {
      const stream = new ScriptedStream();
      session.resumeLane(lane, stream, 0);
      return stream.messages[0]?.error?.data.reason ?? "answered";
    });
    expect(again).toEqual(["answer_lost", "answer_lost", "answered"]);
  });

  it("is not held up by what nobody hears: the oldest of it is forgotten, questions last", async () => {
    const { say, ask, answer, attach, link } = await open({ outboxPauseBytes: 2000 });
    say({ jsonrpc: "2.0", id: "q", method: "roots/list" });
    for (let n = 0; n < 100; n += 1)
      say({ jsonrpc: "2.0", method: "notifications/resources/updated", params: { uri: `demo://${n}` } });
    expect(link().isPaused).toBe(false);
    const { stream } = await ask(tool(1));
    answer(1);
    expect(stream.messages).toMatchObject([{ id: 1 }]);
    const [first, ...rest] = attach().messages;
    expect(first).toMatchObject({ id: "q" });
    expect(rest.at(-1)?.params).toEqual({ uri: "demo://99" });
    expect(rest.length).toBeGreaterThan(10);
    expect(rest.length).toBeLessThan(40);
  });

  it("whose client has not had the answer to its initialize is over: nobody knows its name", async () => {
    const opened = openSession({ transport: "streamable", limits: DURABLE });
    opened.stream.close();
    const stream = new ScriptedStream();
    stream.canResume = false;
    const bytes = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}');
    await opened.session.deliver(bytes, scanMessage(bytes) as Envelope, { lane: laneId("a", "1"), stream });
    stream.close();
    expect(opened.ends).toEqual(["client_gone"]);
  });

  it("that is deleted, or whose server was changed, answers what is in flight", async () => {
    for (const [end, reason] of [
      ["deleted", "session_not_found"],
      ["server_changed", "upstream_exited"],
    ] as const) {
      const { ask, session } = await open();
      const { stream } = await ask(tool(1));
      session.close(end);
      expect(stream.messages).toMatchObject([{ id: 1, error: { data: { reason } } }]);
      expect(stream.end_).toBe("ended");
    }
  });

  it("answers at once who asks for a running request under a lane that is not its own", async () => {
    const { ask, session } = await open();
    await ask(tool(1));
    const stream = new ScriptedStream();
    session.resumeLane(laneId("forged", "1"), stream, 0);
    expect(stream.messages).toMatchObject([{ id: 1, error: { data: { reason: "answer_lost" } } }]);
    expect(stream.end_).toBe("ended");
  });

  it("bequeaths what waits in its lanes, and the next owner goes on with them", async () => {
    const { ask, answer, session } = await open();
    const [one, other] = [await ask(tool(1)), await ask({ ...tool(2), method: "tools/list" })];
    one.stream.close();
    answer(1);
    session.leave();
    expect([other.stream.end_, other.stream.retryMs]).toEqual(["ended", 1234]);
    other.stream.close();
    const left = decodeInheritance(encodeInheritance(session.bequeath()));
    const next = openSession({
      transport: "streamable",
      epoch: 2,
      limits: DURABLE,
      told: { initialize: { clientInfo: { name: "c" } } },
    });
    next.stream.close();
    next.upstream.reply = offers({});
    next.session.inherit(left);
    const [again, listed] = [new ScriptedStream(), new ScriptedStream()];
    next.session.resumeLane(one.lane, again, 0);
    expect(again.messages).toMatchObject([{ id: 1, result: { of: 1 } }]);
    next.session.resumeLane(other.lane, listed, 0);
    await expect.poll(() => next.link().told.map(({ method }) => method)).toContain("tools/list");
    next.answer(2);
    expect(listed.messages).toMatchObject([{ id: 2 }]);
  });
});

describe("a lane's name", () => {
  it("says which request it is of, in letters that stand in an event's id", () => {
    for (const id of ["7", '"a"', '"é\\"\\\\"', "9007199254740993"]) {
      expect(laneId("tag-1", id)).toMatch(/^[\w~-]+$/);
      expect(requestIdOf(laneId("tag-1", id))).toBe(id);
    }
  });

  it("leaves a long id out, and gives nothing that is no id", () => {
    expect(requestIdOf(laneId("tag", JSON.stringify("x".repeat(200))))).toBeUndefined();
    for (const text of ["{}", "null", "1,2", '"a"\n', "\n1", "", "1.5", "[1]"]) {
      expect(requestIdOf(`tag~${Buffer.from(text).toString("base64url")}`)).toBeUndefined();
    }
  });
});

describe("a server that ends its stream and answers later", () => {
  it("has its client come again as well, when that can", async () => {
    const { ask, link, answer, session } = await open();
    const [able, unable] = [await ask(tool(1)), await ask(tool(2))];
    unable.stream.canResume = false;
    link().events.onRest?.("1");
    link().events.onRest?.("2");
    link().events.onRest?.("3");
    expect([able.stream.end_, able.stream.retryMs, unable.stream.end_]).toEqual(["ended", 1234, "open"]);
    able.stream.close();
    answer(1);
    const next = new ScriptedStream();
    session.resumeLane(able.lane, next, 0);
    expect(next.messages).toMatchObject([{ id: 1, result: { of: 1 } }]);
  });
});

describe("room for another session", () => {
  it("is not made by a Streamable one that is between two requests, only by one that was left", async () => {
    const { session, clock } = await open();
    expect(session.orphanedAt).toBeDefined();
    expect(session.isSpare).toBe(false);
    clock.now += 60_000;
    expect(session.isSpare).toBe(true);
  });
});
