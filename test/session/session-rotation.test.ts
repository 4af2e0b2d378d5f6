import { describe, expect, it } from "vitest";
import { INTRODUCED_AT, openIntroduced, openSession, type OpenSessionOptions } from "./open-session.ts";
import { LIMITS, settled } from "./scripted.ts";

const AGE = 600_000;
const open = (more: OpenSessionOptions = {}) =>
  openIntroduced({ ...more, limits: { streamMaxAgeMs: AGE, idleMs: Infinity, ...more.limits } });

describe("a stream that grows old", () => {
  it("is ended at a quiet moment near its age, with a time to come back, and brings everything first", async () => {
    const { session, stream, call, answer, attach, clock, ends } = await open();
    session.beat(AGE * 0.8 + INTRODUCED_AT - 1);
    expect(stream.end_).toBe("open");
    session.beat((clock.now = AGE * 0.8));
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1234]);
    await call(1);
    answer(1);
    expect(stream.written).toEqual([]);
    stream.close();
    const back = attach();
    expect(back.messages.map(({ id }) => id)).toEqual([1]);
    session.beat((clock.now += AGE * 0.8 - 1));
    expect([back.end_, ends]).toEqual(["open", []]);
    session.beat((clock.now += 1));
    back.take();
    session.beat((clock.now += 1000));
    expect(back.end_).toBe("ended");
  });

  it("is not ended early while a request is in flight", async () => {
    const { session, stream, call, answer, clock } = await open({ limits: { requestTimeoutMs: Infinity } });
    await call(1);
    session.beat((clock.now = AGE * 0.9));
    expect(stream.end_).toBe("open");
    answer(1);
    stream.take();
    session.beat((clock.now += 1000));
    expect(stream.end_).toBe("ended");
  });

  it("is not ended early while its socket has not taken everything", async () => {
    const { session, stream, link, clock } = await open();
    link().say({ jsonrpc: "2.0", method: "n" });
    session.beat((clock.now = AGE * 0.9));
    expect(stream.end_).toBe("open");
    stream.take();
    session.beat(clock.now);
    expect(stream.end_).toBe("ended");
  });

  it("is not ended early within half a second of a message", async () => {
    const { session, stream, deliver, clock } = await open();
    clock.now = AGE * 0.9;
    await deliver({ jsonrpc: "2.0", method: "n" });
    session.beat((clock.now += 500));
    expect(stream.end_).toBe("open");
    session.beat((clock.now += 1));
    expect(stream.end_).toBe("ended");
  });

  it("is ended at its age whatever is in flight, which comes on the next one, once", async () => {
    const { session, stream, call, answer, attach, clock } = await open({
      limits: { requestTimeoutMs: Infinity },
    });
    await call(1);
    await call(2);
    answer(1);
    session.beat((clock.now = AGE + INTRODUCED_AT - 1));
    expect(stream.end_).toBe("open");
    session.beat((clock.now = AGE));
    expect(stream.end_).toBe("ended");
    answer(2);
    // What was written before its end is taken after it.
    stream.take();
    stream.close();
    expect(attach().messages.map(({ id }) => id)).toEqual([2]);
  });

  it("counts its age from when it was attached", async () => {
    const { session, stream, attach, clock } = await open();
    clock.now = AGE * 0.7;
    stream.close();
    const back = attach();
    session.beat((clock.now = AGE * 1.4));
    expect(back.end_).toBe("open");
    session.beat((clock.now = AGE * 1.5));
    expect(back.end_).toBe("ended");
  });

  it("is never ended for its age when that is off, or when its session could not go on", async () => {
    const off = await openIntroduced({ limits: { idleMs: Infinity } });
    off.session.beat((off.clock.now = 1e9));
    expect(off.stream.end_).toBe("open");
    const early = openSession({
      limits: { ...LIMITS, streamMaxAgeMs: AGE, firstPostMs: Infinity, idleMs: Infinity },
    });
    early.session.beat((early.clock.now = 1e9));
    expect(early.stream.end_).toBe("open");
  });
});

describe("a session that is handed over", () => {
  it("ends its stream, takes no message more, and leaves what waits and what is unanswered", async () => {
    const { session, stream, call, answer, deliver, ends, link } = await open();
    await call(1);
    await call(2);
    session.leave();
    expect([session.isLeaving, stream.end_, stream.retryMs]).toEqual([true, "ended", 1234]);
    await expect(deliver({ jsonrpc: "2.0", method: "n" })).rejects.toMatchObject({ reason: "draining" });
    answer(1);
    stream.close();
    const { messages, unanswered } = session.bequeath();
    expect(messages.map(({ sequence, id }) => [sequence, id])).toEqual([[2, "1"]]);
    expect(unanswered.map(({ id, method }) => [id, method])).toEqual([["2", "m"]]);
    session.close("released");
    await settled();
    expect([ends, link().closes]).toEqual([["released"], 1]);
  });

  it("goes on where the next owner finds it: what waited comes first, then answers to what was in flight", async () => {
    const old = await open();
    await old.call(1);
    await old.call(2, "tools/list");
    await old.call(3, "tools/call", { name: "unsafe" });
    old.session.leave();
    old.answer(1);
    old.stream.close();
    const next = openSession({
      epoch: 2,
      limits: { orphanMs: 1000, restarts: 0 },
      told: { initialize: { clientInfo: { name: "c" } } },
    });
    next.upstream.reply = ({ id, method }) =>
      method === undefined || id === undefined ? undefined : { jsonrpc: "2.0", id, result: { by: "next" } };
    const fresh = next.stream;
    fresh.close();
    next.session.inherit(old.session.bequeath());
    await settled();
    const back = next.attach();
    expect(back.messages).toMatchObject([
      { id: 1, result: { of: 1 } },
      { id: 2, result: { by: "next" } },
      { id: 3, error: { data: { reason: "upstream_restarted" } } },
    ]);
    expect(back.sequences).toEqual([2, 1_000_000_001, 1_000_000_002]);
    expect(next.link().told.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/list",
      // The gateway's own: it must know whether the call of a tool may be repeated.
      "tools/list",
    ]);
  });
});
