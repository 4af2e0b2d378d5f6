import { describe, expect, it } from "vitest";
import { scanMessage } from "../../src/protocol/json-rpc.ts";
import { DURABLE, openIntroduced, openSession } from "./open-session.ts";
import { LIMITS, ScriptedStream, settled } from "./scripted.ts";

const NOTE = { jsonrpc: "2.0", method: "notifications/message", params: {} };

describe("a session whose stream was cut", () => {
  it("waits for its client with its link open, and hands it what came meanwhile, in order", async () => {
    const { session, stream, call, answer, attach, upstream, ends, clock } = await openIntroduced();
    await call(1);
    await call(2);
    clock.now = 7;
    stream.close();
    expect([session.isOpen, session.orphanedAt, ends]).toEqual([true, 7, []]);
    answer(2);
    answer(1);
    const back = attach();
    expect(back.messages.map(({ id }) => id)).toEqual([2, 1]);
    expect(session.orphanedAt).toBeUndefined();
    await call(3);
    answer(3);
    expect(back.messages.map(({ id }) => id)).toEqual([2, 1, 3]);
    expect(upstream.links).toHaveLength(1);
    expect(stream.written).toEqual([]);
  });

  it("takes messages of its client before that has a stream again", async () => {
    const { stream, call, answer, attach, link } = await openIntroduced();
    stream.close();
    await call(1);
    answer(1);
    expect(link().told.at(-1)?.id).toBe(1);
    expect(attach().messages.map(({ id }) => id)).toEqual([1]);
  });

  it("ends when its client stays away for the grace, and not before", async () => {
    const { session, stream, clock, ends, link } = await openIntroduced();
    clock.now = 1000;
    stream.close();
    session.beat(1000 + DURABLE.orphanMs - 1);
    expect(ends).toEqual([]);
    session.beat(1000 + DURABLE.orphanMs);
    expect(ends).toEqual(["client_gone"]);
    await settled();
    expect(link().closes).toBe(1);
  });

  it("counts the grace anew each time", async () => {
    const { session, stream, clock, ends, attach } = await openIntroduced();
    stream.close();
    clock.now = DURABLE.orphanMs - 1;
    const second = attach();
    clock.now += 1000;
    session.beat(clock.now);
    second.close();
    session.beat(clock.now + DURABLE.orphanMs - 1);
    expect(ends).toEqual([]);
  });

  it.each([
    ["its client has not introduced itself", DURABLE, "ping"],
    ["no grace is allowed", { ...LIMITS }, "initialize"],
  ])("ends with its stream when %s", async (_why, limits, method) => {
    const { stream, call, ends, session } = openSession({ limits });
    await call(1, method, {});
    expect(session.isDurable).toBe(false);
    stream.close();
    expect(ends).toEqual(["client_gone"]);
  });

  it("ends as that of a slow reader when too much comes for a client that is away", async () => {
    const { stream, ends, link, session } = await openIntroduced();
    stream.close();
    const note = { ...NOTE, params: { text: "x".repeat(3000) } };
    link().say(note);
    expect(link().isPaused).toBe(true);
    link().say(note);
    expect(ends).toEqual([]);
    link().say(note);
    expect([ends, session.isOpen]).toEqual([["slow_reader"], false]);
  });
});

describe("a second stream for a session", () => {
  it("takes over from one that only looks alive, which is cut, and gets what that one had not taken", async () => {
    const { session, stream, attach, link } = await openIntroduced();
    link().say({ ...NOTE, params: { n: 1 } });
    link().say({ ...NOTE, params: { n: 2 } });
    stream.take(1);
    const second = attach();
    expect(stream.end_).toBe("cut");
    expect(second.messages.map(({ params }) => params)).toEqual([{ n: 2 }]);
    expect(session.orphanedAt).toBeUndefined();
  });

  it("is not touched by anything that the old one still tells", async () => {
    const { session, stream, attach, link, ends } = await openIntroduced();
    const second = attach();
    second.keepsUp = false;
    link().say({ ...NOTE, params: { n: 1 } });
    link().say({ ...NOTE, params: { n: 2 } });
    stream.take(5);
    stream.drain();
    stream.close();
    expect([session.orphanedAt, ends, second.written.length]).toEqual([undefined, [], 1]);
    second.close();
    const third = attach();
    expect(third.messages.map(({ params }) => params?.["n"])).toEqual([1, 2]);
  });

  it("goes on exactly behind the event that its client names", async () => {
    const { stream, attach, link } = await openIntroduced();
    for (const n of [1, 2, 3]) link().say({ ...NOTE, params: { n } });
    stream.take(3);
    stream.close();
    link().say({ ...NOTE, params: { n: 4 } });
    expect(stream.sequences).toEqual([2, 3, 4]);
    expect(attach(3).sequences).toEqual([4, 5]);
  });
});

describe("what a socket took and may have lost", () => {
  const open = async () => {
    const opened = await openIntroduced({ limits: { requestTimeoutMs: Infinity, idleMs: Infinity } });
    opened.clock.now = 10_000;
    return opened;
  };

  it("is a response taken less than a second before its client was last heard, and none before", async () => {
    const { clock, call, answer, stream, attach } = await open();
    for (const id of [1, 2]) await call(id);
    answer(1);
    stream.take();
    clock.now += 1;
    answer(2);
    stream.take();
    clock.now += 1000;
    await call(3);
    clock.now += 30_000;
    stream.close();
    clock.now += 60_000;
    expect(attach().messages.map(({ id }) => id)).toEqual([2]);
  });

  it("is a response since which the client has not spoken, however long before the cut", async () => {
    const { clock, call, answer, stream, attach, session } = await open();
    await call(1);
    answer(1);
    stream.take();
    for (let second = 0; second < 59; second += 1) session.beat((clock.now += 1000));
    stream.close();
    expect(attach().messages.map(({ id }) => id)).toEqual([1]);
  });

  it("is repeated ten times at most, over sockets that each took it", async () => {
    const { call, answer, stream, attach } = await open();
    await call(1);
    answer(1);
    stream.take();
    stream.close();
    const repeats = Array.from({ length: 12 }, () => {
      const again = attach();
      again.take(again.written.length);
      again.close();
      return again.written.length;
    });
    expect(repeats).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
  });

  it("is a response of longer ago when nobody knows when the stream ended", async () => {
    const { clock, call, answer, session, stream, attach } = await open();
    stream.close();
    const carried = new ScriptedStream();
    carried.endsUnheard = true;
    session.attach(carried);
    for (const id of [1, 2]) await call(id);
    answer(1);
    carried.take();
    clock.now += 1;
    answer(2);
    carried.take();
    clock.now += 20_000;
    await call(3);
    clock.now -= 4000;
    carried.close();
    expect(attach().messages.map(({ id }) => id)).toEqual([2]);
  });

  it("is never a notification", async () => {
    const { link, stream, attach } = await open();
    link().say(NOTE);
    stream.take();
    stream.close();
    expect(attach().written).toEqual([]);
  });

  it("is a question of the server: it is asked again a while later, if it is still open then", async () => {
    const { session, link, stream, attach, deliver, clock } = await open();
    for (const id of ["before", "after", "open"]) link().say({ jsonrpc: "2.0", id, method: "roots/list" });
    stream.take(3);
    await deliver({ jsonrpc: "2.0", id: "before", result: {} });
    stream.close();
    session.beat((clock.now += 10_000));
    const back = attach();
    await deliver({ jsonrpc: "2.0", id: "after", result: {} });
    session.beat((clock.now += 2999));
    expect(back.written).toEqual([]);
    session.beat((clock.now += 1));
    session.beat((clock.now += 10_000));
    expect(back.messages.map(({ id }) => id)).toEqual(["open"]);
  });

  it("is a question that is asked again in time, however often the stream is cut meanwhile", async () => {
    const { session, link, stream, attach, clock } = await open();
    link().say({ jsonrpc: "2.0", id: "q", method: "roots/list" });
    stream.take();
    stream.close();
    const backs = [0, 1, 2].map(() => {
      const back = attach();
      session.beat((clock.now += 1000));
      return back;
    });
    expect(backs.map(({ messages }) => messages.map(({ id }) => id))).toEqual([[], [], ["q"]]);
  });

  it("is not what the client says that it has", async () => {
    const { call, answer, stream, attach } = await open();
    await call(1);
    answer(1);
    stream.take();
    stream.close();
    expect(attach(stream.sequences[0]).written).toEqual([]);
  });
});

it("numbers the messages of each owner above those of the one before", async () => {
  const { stream, call, answer } = openSession({ epoch: 3, limits: DURABLE });
  await call(1);
  answer(1);
  expect(stream.sequences).toEqual([2_000_000_001]);
  expect(scanMessage(Buffer.from(stream.written[0]?.[1] ?? ""))).toMatchObject({ id: "1" });
});
