import { describe, expect, it, vi } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import type { Unanswered } from "../../src/session/requests.ts";
import { DURABLE, openIntroduced, openSession, reasonOf } from "./open-session.ts";
import { offers, settled, type Message } from "./scripted.ts";

// A server is started again without a wait.
vi.mock("node:timers/promises", () => ({ setTimeout: () => Promise.resolve() }));

const TOOLS = {
  tools: [
    { name: "reads", annotations: { readOnlyHint: true } },
    { name: "sets", annotations: { idempotentHint: true } },
    { name: "adds", annotations: {} },
  ],
};

/** A client that has listed its server's tools. */
async function open() {
  const opened = await openIntroduced();
  await opened.call("tools", "tools/list");
  opened.link().say({ jsonrpc: "2.0", id: "tools", result: TOOLS });
  opened.stream.take();
  opened.stream.written.length = 0;
  opened.clock.now = 5000;
  await opened.deliver({ jsonrpc: "2.0", method: "notifications/x" });
  return opened;
}

const brief = ({ id, method, error }: Message) => [id, method ?? error?.data.reason ?? "answered"];

describe("a server that ends by itself under a session", () => {
  it("is replaced: what may be repeated is sent again, in its order, and the rest is answered with one error", async () => {
    const { session, call, link, stream, answer, upstream, ends } = await open();
    await call(1, "tools/call", { name: "reads" });
    await call(2, "tools/call", { name: "adds" });
    await call(3, "resources/read", { uri: "a:b" });
    await call(4, "tools/call", { name: "sets" });
    link(0).die();
    expect(stream.messages.map(brief)).toEqual([[2, "upstream_restarted"]]);
    expect(session.inFlight).toBe(3);
    await settled();
    expect(
      link(1)
        .told.map(({ id, method }) => [id, method])
        .slice(2),
    ).toEqual([
      [1, "tools/call"],
      [3, "resources/read"],
      [4, "tools/call"],
    ]);
    for (const id of [4, 3, 1]) answer(id);
    expect(stream.messages.map(brief)).toEqual([
      [2, "upstream_restarted"],
      [4, "answered"],
      [3, "answered"],
      [1, "answered"],
    ]);
    expect([session.inFlight, ends, upstream.links.length, stream.end_]).toEqual([0, [], 2, "open"]);
  });

  it("is not heard any more: what it still says is nobody's answer", async () => {
    const { call, link, stream, session } = await open();
    await call(1, "ping");
    link(0).die();
    await settled();
    const dropped = session.dropped;
    link(1).say({ jsonrpc: "2.0", id: 1, result: {} });
    link(1).say({ jsonrpc: "2.0", id: 1, result: {} });
    expect([stream.messages.map(brief), session.dropped - dropped]).toEqual([[[1, "answered"]], 1]);
  });

  it("leaves no question open at the client, whose late answer goes nowhere", async () => {
    const { link, stream, deliver } = await open();
    link(0).say({ jsonrpc: "2.0", id: "open", method: "roots/list" });
    link(0).say({ jsonrpc: "2.0", id: 7, method: "sampling/createMessage" });
    link(0).say({ jsonrpc: "2.0", id: "answered", method: "roots/list" });
    await deliver({ jsonrpc: "2.0", id: "answered", result: {} });
    stream.written.length = 0;
    link(0).die();
    expect(stream.messages).toMatchObject([
      { method: "notifications/cancelled", params: { requestId: "open" } },
      { method: "notifications/cancelled", params: { requestId: 7 } },
    ]);
    await settled();
    await deliver({ jsonrpc: "2.0", id: "open", result: {} });
    expect(link(1).told).toHaveLength(2);
  });

  it("is replaced without a word to the client but what changed: no answer of the gateway's own requests", async () => {
    const { upstream, call, answer, link, stream, session } = await open();
    await call(1, "logging/setLevel", { level: "debug" });
    await call(2, "resources/subscribe", { uri: "a:b" });
    for (const id of [1, 2]) answer(id);
    stream.written.length = 0;
    const dropped = session.dropped;
    upstream.reply = ({ id, method }) =>
      id === undefined || method === undefined
        ? undefined
        : { jsonrpc: "2.0", id, result: { capabilities: { prompts: { listChanged: true } } } };
    link(0).die();
    await settled();
    expect(link(1).told).toHaveLength(4);
    expect(stream.messages).toEqual([{ jsonrpc: "2.0", method: "notifications/prompts/list_changed" }]);
    expect(session.dropped).toBe(dropped);
  });

  it("is replaced for a client that is away, which finds everything when it comes back", async () => {
    const { call, link, stream, attach, answer } = await open();
    await call(1, "tools/call", { name: "adds" });
    await call(2, "ping");
    stream.close();
    link(0).die();
    await settled();
    answer(2);
    expect(attach().messages.map(brief)).toEqual([
      [1, "upstream_restarted"],
      [2, "answered"],
    ]);
  });

  it("ends the session when it does so too often: every request is answered, then the stream ends", async () => {
    const { call, link, stream, ends } = await openIntroduced({ limits: { restarts: 1 } });
    link(0).die();
    await settled();
    await call(1, "ping");
    link(1).die();
    expect(stream.messages.map(brief)).toEqual([[1, "upstream_exited"]]);
    expect([ends, stream.end_]).toEqual([["upstream_exited"], "ended"]);
  });

  it("ends the session when it had not answered the client's initialize", async () => {
    const { call, link, ends, stream } = openSession({ limits: DURABLE });
    await call(1, "initialize", {});
    link().die();
    expect([ends, stream.messages.map(brief)]).toEqual([["upstream_exited"], [[1, "upstream_exited"]]]);
  });

  it("takes no message of the client twice, and none while it is being replaced goes missing", async () => {
    const { call, deliver, link } = await open();
    link(0).die();
    const waiting = [1, 2].map((id) => call(id, "tools/call", { name: "adds" }));
    await Promise.all([...waiting, deliver({ jsonrpc: "2.0", method: "notifications/x" })]);
    expect(link(1).told.slice(2)).toMatchObject([{ id: 1 }, { id: 2 }, { method: "notifications/x" }]);
  });
});

describe("requests that an earlier owner of the session left", () => {
  const unanswered = (id: number, method: string): Unanswered => ({
    id: String(id),
    method,
    sentAt: 0,
    message: Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, method })),
  });
  const inherit = (more: Parameters<typeof openSession>[0] = {}, ...left: Unanswered[]) => {
    const opened = openSession({ limits: DURABLE, epoch: 2, told: { initialize: {} }, ...more });
    opened.upstream.reply = offers({});
    opened.stream.close();
    opened.session.inherit({ messages: [], unanswered: left });
    return opened;
  };

  it("are sent again or answered with an error, and count from now", async () => {
    const { session, clock, attach, link } = inherit({}, unanswered(1, "ping"), unanswered(2, "m"));
    expect(session.orphanedAt).toBe(0);
    await settled();
    expect(link().told.at(-1)).toMatchObject({ id: 1, method: "ping" });
    clock.now = DURABLE.orphanMs - 1;
    const stream = attach();
    expect(stream.messages.map(brief)).toEqual([[2, "upstream_restarted"]]);
    session.beat(DURABLE.requestTimeoutMs - 1);
    expect(stream.written).toHaveLength(1);
    session.beat(DURABLE.requestTimeoutMs);
    expect(stream.messages.map(brief).at(-1)).toEqual([1, "upstream_timeout"]);
  });

  it("of which the message was not kept are answered with an error", () => {
    const { attach } = inherit({}, { ...unanswered(1, "ping"), message: undefined });
    expect(attach().messages.map(brief)).toEqual([[1, "upstream_restarted"]]);
  });

  it("are in the journal of the new owner while they are in flight", async () => {
    const journal: string[] = [];
    const { answer } = inherit(
      {
        journal: {
          accepted: async (id, message) => void journal.push(`accepted ${id} ${message.length}`),
          settled: (id) => void journal.push(`settled ${id}`),
          kept: () => undefined,
          dropped: () => undefined,
          end: () => undefined,
        },
      },
      unanswered(1, "ping"),
      unanswered(2, "m"),
    );
    await settled();
    answer(1);
    expect(journal).toEqual(["accepted 1 40", "settled 2", "settled 1"]);
  });

  it("are answered with an error when the server takes none", async () => {
    const opened = openSession({ limits: DURABLE, epoch: 2, told: { initialize: {} } });
    opened.upstream.failures.push(new GatewayError("upstream_queue_full"));
    opened.session.inherit({ messages: [], unanswered: [unanswered(1, "ping")] });
    await settled();
    expect(opened.stream.messages.map(({ id }) => id)).toEqual([1]);
    expect(opened.session.inFlight).toBe(0);
  });
});

describe("a journal", () => {
  it("has a request before it is acknowledged, and loses it with its answer, its error or its cancellation", async () => {
    const entries = new Map<string, string>();
    let write = (): void => undefined;
    const { call, deliver, answer, session, link } = await openIntroduced({
      limits: { requestTimeoutMs: 1000 },
      journal: {
        accepted: (id, message) =>
          new Promise((resolve) => {
            entries.set(id, message.toString());
            write = resolve;
          }),
        settled: (id) => void entries.delete(id),
        kept: () => write(),
        dropped: () => undefined,
        end: () => undefined,
      },
    });
    const start = async (id: string) => {
      const given = call(id);
      await settled();
      write();
      await given;
    };
    let isGiven = false;
    const given = call("a").then(() => (isGiven = true));
    await settled();
    expect([isGiven, [...entries.keys()]]).toEqual([false, ['"a"']]);
    write();
    await given;
    answer("a");
    await start("b");
    await deliver({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "b" } });
    await start("c");
    session.beat(1000);
    link().answer = Promise.reject(new GatewayError("upstream_busy"));
    expect(await reasonOf(call("d"))).toBe("upstream_busy");
    expect([...entries]).toEqual([]);
  });

  it("has what waits for the client until its socket took it", async () => {
    const kept: number[] = [];
    const { link, stream } = await openIntroduced({
      journal: {
        accepted: () => Promise.resolve(),
        settled: () => undefined,
        kept: (sequence) => void kept.push(sequence),
        dropped: (sequence) => void kept.splice(kept.indexOf(sequence), 1),
        end: () => undefined,
      },
    });
    for (let n = 0; n < 3; n += 1) link().say({ jsonrpc: "2.0", method: "n" });
    expect(kept).toEqual([2, 3, 4]);
    stream.take(2);
    expect(kept).toEqual([4]);
  });
});
