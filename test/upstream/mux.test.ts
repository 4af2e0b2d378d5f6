import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createMux, type Mux } from "../../src/upstream/mux.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Link } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { expectNoFixtures, fixture } from "./processes.ts";
import { createPuppet, type Puppet, type PuppetLink } from "./puppet.ts";
import { call, captureLog, encode, never, outcomeOf, Recorder } from "./recorder.ts";

const { log } = captureLog();
const stdio = (name: string) =>
  createStdioUpstream({ name, ...fixture(name), maxLineBytes: 4 << 20, graceMs: 100, log });

describeUpstream("many on one", {
  create: () => createMux(stdio("raw-echo"), { idleMs: 0, log }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

describe("many on one", () => {
  let puppet: Puppet;
  let mux: Mux;
  beforeEach(() => {
    puppet = createPuppet();
    mux = createMux(puppet, { idleMs: 0, log });
  });
  afterEach(async () => {
    vi.useRealTimers();
    await mux.close();
    await expectNoFixtures();
  });

  interface Opened {
    link: Link;
    seen: Recorder;
    raw: string[];
  }

  async function open(owner?: string): Promise<Opened> {
    const seen = new Recorder();
    const raw: string[] = [];
    const events = {
      owner,
      onMessage: (message: Buffer) => (raw.push(message.toString()), seen.onMessage(message)),
      onEnd: (end: Parameters<Recorder["onEnd"]>[0]) => seen.onEnd(end),
    };
    return { link: await mux.open(events, never()), seen, raw };
  }

  const openTwo = async () => ({ a: await open(), b: await open(), server: puppet.links[0] as PuppetLink });

  describe("ids and tokens", () => {
    it.each(["0", "-1", "12345678901234567890", '"a"', '"\\u0061\\"é"', '"1"'])(
      "gives the answer back with the id %s, letter by letter",
      async (id) => {
        const { a, b, server } = await openTwo();
        for (const { link } of [a, b]) {
          await link.send(
            Buffer.from(
              `{"x-vendor":1, "params":{"n":9007199254740993},"method":"m","id": ${id} ,"jsonrpc":"2.0"}`,
            ),
          );
        }
        const [first, second] = server.messages;
        expect(first?.id).not.toBe(second?.id);
        expect(server.sent[0]).toBe(
          `{"x-vendor":1, "params":{"n":9007199254740993},"method":"m","id": ${first?.id} ,"jsonrpc":"2.0"}`,
        );
        server.say(`{"result":{"of":"b","big":12345678901234567890},"id":${second?.id},"jsonrpc":"2.0"}`);
        server.say(`{"error":{"code":1,"message":"of a"},"id":${first?.id},"jsonrpc":"2.0"}`);
        expect(a.raw).toEqual([`{"error":{"code":1,"message":"of a"},"id":${id},"jsonrpc":"2.0"}`]);
        expect(b.raw).toEqual([
          `{"result":{"of":"b","big":12345678901234567890},"id":${id},"jsonrpc":"2.0"}`,
        ]);
      },
    );

    it("gives progress to whose token it is, letter by letter, though all tokens are equal", async () => {
      const { a, b, server } = await openTwo();
      const request = `{"jsonrpc":"2.0","id":0,"method":"m","params":{"_meta":{"\\u0070rogressToken":"t\\u0031","v":1}}}`;
      await a.link.send(Buffer.from(request));
      await b.link.send(Buffer.from(request));
      const tokens = server.messages.map(
        ({ params }) => (params?.["_meta"] as { progressToken: number } | undefined)?.progressToken,
      );
      expect(new Set(tokens).size).toBe(2);
      server.say({ method: "notifications/progress", params: { progressToken: tokens[1], progress: 1 } });
      expect(a.raw).toEqual([]);
      expect(b.raw).toEqual([
        `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t\\u0031","progress":1}}`,
      ]);
      server.say({ id: server.last.id, result: {} });
      server.say({ method: "notifications/progress", params: { progressToken: tokens[1], progress: 2 } });
      server.say({ method: "notifications/progress", params: { progressToken: "t1", progress: 2 } });
      expect([a.raw.length, b.raw.length]).toEqual([0, 2]);
    });

    it("carries a cancellation under the id that the server knows, and drops the late answer", async () => {
      const { a, b, server } = await openTwo();
      for (const { link } of [a, b]) await link.send(encode({ id: "x", method: "m" }));
      const cancel = { method: "notifications/cancelled", params: { requestId: "x", reason: "enough" } };
      await b.link.send(encode(cancel));
      const { id } = server.messages[1] ?? {};
      expect(server.last).toMatchObject({ ...cancel, params: { requestId: id, reason: "enough" } });
      server.say({ id, result: {} });
      await b.link.send(encode(cancel));
      expect([server.sent.length, a.raw, b.raw]).toEqual([3, [], []]);
    });

    it("gives what belongs to a subscription to whose it is, under the client's own id", async () => {
      const { a, b, server } = await openTwo();
      for (const { link } of [a, b]) await link.send(encode({ id: "sub", method: "subscriptions/listen" }));
      const key = "io.modelcontextprotocol/subscriptionId";
      const { id } = server.messages[0] ?? {};
      server.say({ method: "notifications/tools/list_changed", params: { _meta: { [key]: id } } });
      server.say({ id, result: { _meta: { [key]: id } } });
      server.say({ method: "notifications/tools/list_changed", params: { _meta: { [key]: id } } });
      expect(b.raw).toEqual([]);
      expect(a.seen.messages).toMatchObject([
        { params: { _meta: { [key]: "sub" } } },
        { id: "sub", result: { _meta: { [key]: "sub" } } },
      ]);
      expect(a.seen.messages).toHaveLength(2);
    });

    it("FLT-36 drops what nobody asked for and what is no message", async () => {
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      for (const text of [
        '{"jsonrpc":"2.0","id":99,"result":{}}',
        '{"id":1}',
        "{",
        '{"jsonrpc":"2.0","id":null,"error":{}}',
      ]) {
        server.say(text);
      }
      expect([a.raw, b.raw]).toEqual([[], []]);
    });
  });

  describe("what names nobody", () => {
    const say = { method: "notifications/message", params: { level: "info", data: "of whom?" } };

    it("goes to the only one whom it can be for, else to nobody", async () => {
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([1, 0]);
      await b.link.send(encode({ id: 0, method: "m" }));
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([1, 0]);
      vi.useFakeTimers({ toFake: ["performance"] });
      server.say({ id: server.messages[0]?.id, result: {} });
      vi.advanceTimersByTime(60_000);
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([2, 1]);
    });

    it("goes to nobody for a minute after an answer to another, whatever comes late", async () => {
      const { a, b, server } = await openTwo();
      const late = () => {
        server.say(say);
        server.say({ id: "q", method: "sampling/createMessage", params: { of: "a" } });
      };
      vi.useFakeTimers({ toFake: ["performance"] });
      await b.link.send(encode({ id: 0, method: "m" }));
      await a.link.send(encode({ id: 0, method: "m" }));
      server.say({ id: server.last.id, result: {} });
      vi.advanceTimersByTime(59_999);
      late();
      await a.link.close();
      late();
      expect([a.raw.length, b.raw]).toEqual([1, []]);
      expect(server.last).toMatchObject({ id: "q", error: { code: -32601 } });
      vi.advanceTimersByTime(1);
      late();
      expect([a.raw.length, b.raw.length]).toEqual([1, 2]);
    });

    it("goes to the one of a client's links that waits, whatever its others did of late, and to no other client", async () => {
      const [first, second, other] = [await open("alice"), await open("alice"), await open("bob")];
      const server = puppet.links[0] as PuppetLink;
      await first.link.send(encode({ id: 0, method: "m" }));
      server.say({ id: server.last.id, result: {} });
      await second.link.send(encode({ id: 0, method: "m" }));
      server.say(say);
      expect([first.raw.length, second.raw.length]).toEqual([1, 1]);
      server.say({ id: server.last.id, result: {} });
      await other.link.send(encode({ id: 0, method: "m" }));
      server.say(say);
      expect([first.raw.length, second.raw.length, other.raw.length]).toEqual([1, 2, 0]);
    });

    it("goes to nobody after another has answered the server or told it something", async () => {
      const { a, b, server } = await openTwo();
      vi.useFakeTimers({ toFake: ["performance"] });
      await a.link.send(encode({ id: 0, method: "m" }));
      server.say({ id: 7, method: "roots/list" });
      server.say({ id: server.messages[0]?.id, result: {} });
      vi.advanceTimersByTime(60_000);
      await b.link.send(encode({ id: 0, method: "m" }));
      for (const message of [{ id: 7, result: {} }, { method: "notifications/roots/list_changed" }]) {
        await a.link.send(encode(message));
        server.say(say);
        expect(b.raw).toEqual([]);
        vi.advanceTimersByTime(60_000);
      }
      server.say(say);
      expect(b.raw.length).toBe(1);
    });

    it("goes to one who was just answered, when there was no other for a minute", async () => {
      const { a, b, server } = await openTwo();
      vi.useFakeTimers({ toFake: ["performance"] });
      for (const { link } of [a, b]) {
        await link.send(encode({ id: 0, method: "m" }));
        server.say({ id: server.last.id, result: {} });
      }
      vi.advanceTimersByTime(30_000);
      for (let n = 0; n < 2; n += 1) {
        await b.link.send(encode({ id: n, method: "m" }));
        server.say({ id: server.last.id, result: {} });
      }
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([1, 3]);
      vi.advanceTimersByTime(30_000);
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([1, 4]);
      vi.advanceTimersByTime(30_000);
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([1, 4]);
    });

    it("goes to nobody while the server may still work for one who has gone", async () => {
      vi.useFakeTimers({ toFake: ["performance"] });
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      await a.link.close();
      await b.link.send(encode({ id: 0, method: "m" }));
      server.say(say);
      server.say({ id: 5, method: "sampling/createMessage", params: { of: "a" } });
      expect(b.raw).toEqual([]);
      expect(server.last).toMatchObject({ id: 5, error: { code: -32601 } });
      server.say({ id: server.messages[0]?.id, result: {} });
      server.say(say);
      expect(b.raw).toEqual([]);
      vi.advanceTimersByTime(60_000);
      server.say(say);
      expect([a.raw.length, b.raw.length]).toEqual([0, 1]);
    });

    it("lets only the one who was asked answer a request of the server, and only once", async () => {
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 7, method: "m" }));
      server.say({ id: 7, method: "roots/list", params: { _meta: { progressToken: 3 } } });
      await b.link.send(encode({ id: "n", method: "m" }));
      server.say({ id: server.last.id, result: {} });
      expect([a.raw.length, b.raw.length]).toEqual([1, 1]);
      const before = server.sent.length;
      await b.link.send(encode({ id: 7, result: { of: "b" } }));
      const progress = encode({
        method: "notifications/progress",
        params: { progressToken: 3, progress: 1 },
      });
      await b.link.send(progress);
      await a.link.send(progress);
      for (let n = 0; n < 2; n += 1) await a.link.send(encode({ id: 7, result: { of: "a" } }));
      expect(server.messages.slice(before)).toMatchObject([
        { method: "notifications/progress" },
        { id: 7, result: { of: "a" } },
      ]);
    });

    it("tells a server's own cancellation to whom it asked, and its ping is answered here", async () => {
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      server.say({ id: "q", method: "elicitation/create" });
      server.say({ method: "notifications/cancelled", params: { requestId: "q" } });
      server.say({ id: "p", method: "ping" });
      expect([a.seen.messages.map(({ method }) => method), b.raw]).toEqual([
        ["elicitation/create", "notifications/cancelled"],
        [],
      ]);
      expect(server.last).toEqual({ jsonrpc: "2.0", id: "p", result: {} });
    });
  });

  describe("the end of a link", () => {
    it("cancels what it has not been answered, answers what it was asked, and leaves the others alone", async () => {
      const { a, b, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      server.say({ id: "q", method: "roots/list" });
      await b.link.send(encode({ id: 0, method: "m" }));
      const [first, second] = server.messages;
      await a.link.close();
      expect(server.messages.slice(2)).toMatchObject([
        { method: "notifications/cancelled", params: { requestId: first?.id } },
        { id: "q", error: {} },
      ]);
      server.say({ id: first?.id, result: {} });
      server.say({ id: second?.id, result: {} });
      expect([a.seen.messages.length, a.seen.ends, b.raw.length, b.seen.ends]).toEqual([
        1,
        ["closed"],
        1,
        [],
      ]);
      expect(server.isClosed).toBe(false);
    });

    it("comes to all when the server ends, once and with its reason, and the next one starts it again", async () => {
      const { a, b, server } = await openTwo();
      server.end("upstream_exited");
      expect([a.seen.ends, b.seen.ends]).toEqual([["upstream_exited"], ["upstream_exited"]]);
      await expect(a.link.send(encode({ id: 0, method: "m" }))).rejects.toMatchObject({
        reason: "upstream_exited",
      });
      await a.link.close();
      const c = await open();
      await c.link.send(encode({ id: 0, method: "m" }));
      expect([puppet.links.length, puppet.links[1]?.sent.length, a.seen.ends.length]).toEqual([2, 1, 1]);
    });

    it("closes the server after a time without links, and never when told so", async () => {
      vi.useFakeTimers();
      const idle = createMux(puppet, { idleMs: 1000, log });
      const first = await idle.open(new Recorder(), never());
      await first.close();
      await vi.advanceTimersByTimeAsync(999);
      const second = await idle.open(new Recorder(), never());
      await vi.advanceTimersByTimeAsync(5000);
      expect([puppet.links.length, puppet.links[0]?.isClosed]).toEqual([1, false]);
      await second.close();
      await vi.advanceTimersByTimeAsync(1000);
      expect(puppet.links[0]?.isClosed).toBe(true);
      await idle.open(new Recorder(), never());
      expect(puppet.links.length).toBe(2);
      const { link } = await open();
      await link.close();
      await vi.advanceTimersByTimeAsync(1e9);
      expect(puppet.links[2]?.isClosed).toBe(false);
      await idle.close();
    });
  });

  describe("a reader that is slow", () => {
    const big = { method: "notifications/progress", params: { progressToken: 0, text: "x".repeat(1 << 20) } };

    it("is ended when more than 4 MiB wait for it, and the others go on", async () => {
      const { a, b, server } = await openTwo();
      for (const { link } of [a, b]) await link.send(call(0, "m"));
      a.link.pause();
      expect(server.isPaused).toBe(false);
      const [mine, other] = server.messages.map(({ id }) => id);
      for (let n = 0; n < 4; n += 1) server.say({ ...big, params: { ...big.params, progressToken: mine } });
      expect([a.seen.ends, a.raw.length]).toEqual([["upstream_busy"], 0]);
      expect(server.last).toMatchObject({ method: "notifications/cancelled", params: { requestId: mine } });
      server.say({ id: other, result: {} });
      expect([b.raw.length, b.seen.ends]).toEqual([1, []]);
    });

    it("pauses the server only while nobody reads", async () => {
      const { a, b, server } = await openTwo();
      a.link.pause();
      b.link.pause();
      expect(server.isPaused).toBe(true);
      const c = await open();
      expect(server.isPaused).toBe(false);
      await c.link.close();
      expect(server.isPaused).toBe(true);
      a.link.resume();
      expect(server.isPaused).toBe(false);
      await a.link.close();
      expect(server.isPaused).toBe(true);
      await b.link.close();
      expect(server.isPaused).toBe(false);
    });

    it("gets what was said before the server ended", async () => {
      const { a, server } = await openTwo();
      await a.link.send(encode({ id: 0, method: "m" }));
      a.link.pause();
      server.say({ id: server.last.id, result: {} });
      server.end("upstream_exited");
      expect([a.seen.messages.length, a.seen.ends]).toEqual([1, ["upstream_exited"]]);
    });
  });

  describe("a server that cannot be given a message", () => {
    it("has not been asked: its id is free and nobody waits", async () => {
      const { a, server } = await openTwo();
      server.refusal = "upstream_busy";
      expect(await outcomeOf(a.link.send(encode({ id: 0, method: "m" })))).toBe("upstream_busy");
      server.refusal = undefined;
      await a.link.close();
      expect(server.sent).toEqual([]);
    });
  });

  it("one that sends too much to a server that does not read is busy, and the others are not", async () => {
    const { a, b, server } = await openTwo();
    let read: (() => void) | undefined;
    server.taking = new Promise((resolve) => (read = resolve));
    const padding = "x".repeat(600_000);
    const sends = [a.link, a.link, b.link].map((link, id) =>
      link.send(encode({ id, method: "m", params: { padding } })),
    );
    const outcomes = Promise.all(sends.map(outcomeOf));
    read?.();
    expect(await outcomes).toEqual(["given", "upstream_busy", "given"]);
    expect(await outcomeOf(a.link.send(encode({ id: 3, method: "m", params: { padding } })))).toBe("given");
  });

  describe("opening", () => {
    it("starts the server once for all who come meanwhile, and gives up only when all have", async () => {
      let go: (() => void) | undefined;
      const signals: AbortSignal[] = [];
      puppet.onOpen = (_, signal) => {
        signals.push(signal);
        return new Promise((resolve) => (go = resolve));
      };
      const leaving = new AbortController();
      const first = mux.open(new Recorder(), leaving.signal);
      const second = mux.open(new Recorder(), never());
      leaving.abort(new Error("left"));
      await expect(first).rejects.toThrow("left");
      expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
      go?.();
      await second;
      expect(puppet.links.length).toBe(1);
    });

    it("gives the start up when nobody waits any more, and the next one starts afresh", async () => {
      const signals: AbortSignal[] = [];
      puppet.onOpen = (_, signal) => {
        signals.push(signal);
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason)),
        );
      };
      const leaving = new AbortController();
      const first = mux.open(new Recorder(), leaving.signal);
      leaving.abort(new Error("left"));
      await expect(first).rejects.toThrow("left");
      expect(signals[0]?.aborted).toBe(true);
      puppet.onOpen = undefined;
      await open();
      expect(puppet.links.length).toBe(1);
    });

    it("FLT-31 tells all when the server cannot be started, and tries again for the next", async () => {
      const broken = createMux(
        createStdioUpstream({
          name: "none",
          command: "no-such-command",
          args: [],
          env: {},
          maxLineBytes: 1000,
          log,
        }),
        { idleMs: 0, log },
      );
      const opens = [1, 2].map(() => broken.open(new Recorder(), never()));
      for (const opening of opens)
        await expect(opening).rejects.toMatchObject({ reason: "upstream_start_failed" });
      await expect(broken.open(new Recorder(), never())).rejects.toMatchObject({
        reason: "upstream_start_failed",
      });
      await broken.close();
    });
  });

  it("ISO-04 200 links of equal ids and tokens on one real server: none foreign, none lost, none twice", async () => {
    const many = createMux(stdio("raw-echo"), { idleMs: 0, log });
    const links = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const seen = new Recorder();
        return { n, seen, link: await many.open(seen, never()) };
      }),
    );
    for (let id = 0; id < 20; id += 1) {
      await Promise.all(
        links.map(async ({ n, link }) => link.send(call(id, "echo", { text: `${n}/${id}` }))),
      );
    }
    await Promise.all(links.map(async ({ link }) => link.send(call(20, "progress", { steps: 3 }))));
    await Promise.all(links.map(({ seen }) => seen.answer(20)));
    for (const { n, seen } of links) {
      const [answers, progress] = [true, false].map((isAnswer) =>
        seen.messages.filter(({ method }) => (method === undefined) === isAnswer),
      );
      expect(answers?.slice(0, 20).map(({ result }) => result?.content?.[0]?.text)).toEqual(
        Array.from({ length: 20 }, (_, id) => `${n}/${id}`),
      );
      expect(progress?.map(({ params }) => [params?.["progressToken"], params?.["progress"]])).toEqual([
        [20, 1],
        [20, 2],
        [20, 3],
      ]);
      expect(seen.messages.length).toBe(24);
    }
    await many.close();
  });
});
