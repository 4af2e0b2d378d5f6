import { describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { openSession, reasonOf } from "./open-session.ts";
import { LIMITS } from "./scripted.ts";

describe("Session", () => {
  it("opens its link at the first message and forwards the bytes it was given", async () => {
    const { deliver, upstream, link } = openSession();
    expect(upstream.links).toHaveLength(0);
    const text = '{ "jsonrpc":"2.0", "id":9007199254740993, "method":"m", "x-vendor":1.0 }';
    await deliver(text);
    expect(link().sent).toEqual([text]);
  });

  it("keeps the order of messages that come while the link is being opened, and after", async () => {
    let open = (): void => undefined;
    const { call, link } = openSession({
      limits: { inFlight: 100 },
      gate: new Promise<void>((resolve) => (open = resolve)),
    });
    const early = [1, 2, 3].map((id) => call(id));
    open();
    await early[0];
    await Promise.all([...early, call(4), call(5)]);
    expect(link().sent.map((text) => (JSON.parse(text) as { id: number }).id)).toEqual([1, 2, 3, 4, 5]);
  });

  it("puts a pretty-printed message on one line, because a line break would end it on stdio", async () => {
    const { deliver, link } = openSession();
    await deliver('{\n"jsonrpc":"2.0",\r\n"method":"m"}');
    expect(link().sent).toEqual(['{ "jsonrpc":"2.0",  "method":"m"}']);
  });

  it("BAD-35 refuses an id that is in flight, and takes it again when it is answered", async () => {
    const { call, link, answers } = openSession();
    await call(1);
    expect(await reasonOf(call(1))).toBe("duplicate_id");
    link().say({ jsonrpc: "2.0", id: 1, result: {} });
    expect(await reasonOf(call(1))).toBe("given");
    expect(answers()).toHaveLength(1);
  });

  it("LIM-18 takes as many requests in flight as its limit and not one more", async () => {
    const { call, session, link } = openSession({ limits: { inFlight: 3 } });
    for (const id of [1, 2, 3]) expect(await reasonOf(call(id))).toBe("given");
    expect(await reasonOf(call(4))).toBe("too_many_in_flight");
    link().say({ jsonrpc: "2.0", id: 2, result: {} });
    expect(await reasonOf(call(4))).toBe("given");
    expect(session.inFlight).toBe(3);
  });

  it("forgets a cancelled request, so that cancelling cannot use the limit up", async () => {
    const { call, deliver, session } = openSession({ limits: { inFlight: 1 } });
    await call("a");
    await deliver({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "a" } });
    expect(session.inFlight).toBe(0);
    expect(await reasonOf(call("b"))).toBe("given");
  });

  it("takes a request that could not be given out of flight again", async () => {
    const { call, session, link } = openSession();
    await call(1);
    link().answer = Promise.reject(new GatewayError("upstream_busy"));
    expect(await reasonOf(call(2))).toBe("upstream_busy");
    expect(session.inFlight).toBe(1);
  });

  it("BAD-38 is initialized once, unless the server refused", async () => {
    const { call, link, told } = openSession();
    await call(1, "initialize", { a: 1 });
    expect(await reasonOf(call(2, "initialize"))).toBe("already_initialized");
    link().say({ jsonrpc: "2.0", id: 1, error: { code: 1, message: "no" } });
    expect(await reasonOf(call(3, "initialize", { a: 2 }))).toBe("given");
    link().say({ jsonrpc: "2.0", id: 3, result: {} });
    expect(await reasonOf(call(4, "initialize"))).toBe("already_initialized");
    expect(told).toEqual([{ initialize: { a: 1 } }, { initialize: { a: 2 } }]);
  });

  it("FLT-36 drops and counts what is not JSON-RPC, answers to nothing, and answers that come twice", async () => {
    const { call, session, link, answers } = openSession();
    await call(1);
    for (const line of [
      "banner",
      "null",
      "[]",
      '{"jsonrpc":"2.0"}',
      '{"jsonrpc":"2.0","id":null,"error":{}}',
    ])
      link().say(line);
    link().say({ jsonrpc: "2.0", id: 99, result: {} });
    link().say({ jsonrpc: "2.0", id: 1, result: {} });
    link().say({ jsonrpc: "2.0", id: 1, result: {} });
    expect(session.dropped).toBe(7);
    expect(answers().map(({ id }) => id)).toEqual([1]);
  });

  it("FLT-40 BAD-37 passes the client's answer only to a question of the server, and only once", async () => {
    const { call, deliver, link } = openSession();
    await call(1);
    link().say({ jsonrpc: "2.0", id: 1, method: "sampling/createMessage", params: {} });
    await deliver({ jsonrpc: "2.0", id: 7, result: {} });
    await deliver({ jsonrpc: "2.0", id: 1, result: { a: 1 } });
    await deliver({ jsonrpc: "2.0", id: 1, result: { a: 2 } });
    expect(
      link()
        .sent.slice(1)
        .map((text) => JSON.parse(text) as unknown),
    ).toEqual([{ jsonrpc: "2.0", id: 1, result: { a: 1 } }]);
  });

  it("FLT-30 answers every request in flight when the server ends, then ends the stream", async () => {
    const { call, session, link, answers, stream, ends } = openSession();
    await call(1);
    await call("b");
    link().events.onEnd("upstream_exited");
    expect(answers().map(({ id, error }) => [id, error?.data])).toEqual([
      [1, { reason: "upstream_exited" }],
      ["b", { reason: "upstream_exited" }],
    ]);
    expect([stream.end_, ends, session.isOpen]).toEqual(["ended", ["upstream_exited"], false]);
    expect(await reasonOf(call(3))).toBe("session_not_found");
  });

  it("ends its link when the stream ends, even one that is still being opened", async () => {
    let open = (): void => undefined;
    const { stream, call, upstream, ends } = openSession({
      gate: new Promise<void>((resolve) => (open = resolve)),
    });
    const pending = reasonOf(call(1));
    stream.close();
    open();
    await pending;
    await expect.poll(() => upstream.links[0]?.closes).toBeGreaterThan(0);
    expect(ends).toEqual(["client_gone"]);
  });

  it("pauses the server behind a client that lags, and lets it go on", async () => {
    const { call, link, stream } = openSession();
    await call(1);
    stream.keepsUp = false;
    const note = { jsonrpc: "2.0", method: "n", params: { text: "x".repeat(600) } };
    for (let count = 0; count < 3; count += 1) link().say(note);
    expect(link().isPaused).toBe(true);
    stream.drain();
    expect(link().isPaused).toBe(false);
    expect(stream.written).toHaveLength(3);
  });
});

describe("Session, as time goes by", () => {
  it("LIM-17 ends when no message comes in time, and not before", async () => {
    const { session, clock, ends } = openSession();
    session.beat(LIMITS.firstPostMs - 1);
    expect(ends).toEqual([]);
    clock.now = LIMITS.firstPostMs;
    session.beat(clock.now);
    expect(ends).toEqual(["no_first_message"]);
  });

  it("LIM-16 ends when it is idle too long; heartbeats do not count, messages of either side do", async () => {
    const { session, clock, ends, deliver, link } = openSession();
    await deliver({ jsonrpc: "2.0", method: "n" });
    clock.now = 1000;
    link().say({ jsonrpc: "2.0", method: "n" });
    session.beat(LIMITS.idleMs + 999);
    expect(ends).toEqual([]);
    session.beat(LIMITS.idleMs + 1000);
    expect(ends).toEqual(["idle"]);
  });

  it("is looked at again when something happens, however calm it was", async () => {
    const { session, clock, stream, ends, call, link } = openSession({ limits: { slowReaderMs: 1000 } });
    await call(1);
    link().say({ jsonrpc: "2.0", id: 1, result: {} });
    stream.take();
    session.beat(1);
    stream.keepsUp = false;
    clock.now = 10;
    link().say({ jsonrpc: "2.0", method: "n", params: { text: "x".repeat(600) } });
    session.beat(1009);
    expect(ends).toEqual([]);
    session.beat(2000);
    expect(ends).toEqual(["slow_reader"]);
  });

  it("is not idle while a request is in flight", async () => {
    const { session, ends, call } = openSession({ limits: { requestTimeoutMs: Infinity } });
    await call(1);
    session.beat(LIMITS.idleMs * 2);
    expect(ends).toEqual([]);
  });

  it("FLT-33 answers a request that takes too long, tells the server, and lives on", async () => {
    const { session, clock, call, link, answers, ends } = openSession({ limits: { requestTimeoutMs: 1000 } });
    await call("x");
    clock.now = 500;
    await call("y");
    session.beat(999);
    expect(answers()).toEqual([]);
    session.beat(1000);
    expect(answers()).toMatchObject([{ id: "x", error: { data: { reason: "upstream_timeout" } } }]);
    expect(JSON.parse(link().sent.at(-1) as string)).toMatchObject({
      method: "notifications/cancelled",
      params: { requestId: "x" },
    });
    expect([ends, session.inFlight]).toEqual([[], 1]);
  });

  it("lets progress start the count again", async () => {
    const { session, clock, call, link, answers } = openSession({ limits: { requestTimeoutMs: 1000 } });
    await call(1);
    clock.now = 900;
    link().say({
      jsonrpc: "2.0",
      method: "notifications/progress",
      params: { progressToken: 1, progress: 1 },
    });
    session.beat(1800);
    expect(answers()).toHaveLength(1);
    session.beat(1900);
    expect(answers()).toHaveLength(2);
  });

  it("FLT-51 cuts a stream that stands still, later the more it was given to take", async () => {
    const { session, stream, ends, call, link } = openSession();
    await call(1);
    stream.keepsUp = false;
    stream.pendingBytes = 32_000;
    link().say({ jsonrpc: "2.0", method: "n" });
    session.beat(LIMITS.slowReaderMs + 999);
    expect(ends).toEqual([]);
    session.beat(LIMITS.slowReaderMs + 1000);
    expect([ends, stream.end_]).toEqual([["slow_reader"], "cut"]);
  });

  it("LIM-15 cuts a client for whom too much waits", async () => {
    const { stream, ends, call, link } = openSession();
    await call(1);
    stream.keepsUp = false;
    const note = { jsonrpc: "2.0", method: "n", params: { text: "x".repeat(5000) } };
    for (let count = 0; count < 2; count += 1) link().say(note);
    expect(ends).toEqual([]);
    link().say(note);
    expect([ends, stream.end_]).toEqual([["slow_reader"], "cut"]);
  });

  it("writes the heartbeat when it is due, and says so", () => {
    const { session, stream } = openSession({ limits: { firstPostMs: Infinity, idleMs: Infinity } });
    const beats = [29_999, 30_000, 30_001, 60_000].map((now) => session.beat(now));
    expect([beats, stream.pings]).toEqual([[false, true, false, true], 2]);
  });
});
