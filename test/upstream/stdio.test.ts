import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import {
  createStdioUpstream,
  type StdioUpstream,
  type StdioUpstreamOptions,
} from "../../src/upstream/stdio.ts";
import type { Link } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { expectNoFixtures, fixture, livingFixtures } from "./processes.ts";
import { call, captureLog, encode, never, outcomeOf, Recorder } from "./recorder.ts";

const MAX_LINE_BYTES = 4 << 20;
const { log, text: logged } = captureLog();

describeUpstream("stdio", {
  create: () =>
    createStdioUpstream({ name: "raw", ...fixture("raw-echo"), maxLineBytes: MAX_LINE_BYTES, log }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

describe("stdio", () => {
  const upstreams: StdioUpstream[] = [];
  const escaped: number[] = [];
  afterEach(async () => {
    await Promise.all(upstreams.splice(0).map((upstream) => upstream.close()));
    for (const pid of escaped.splice(0)) process.kill(pid, "SIGKILL");
    await expectNoFixtures();
  });

  function create(name: string, options: Partial<StdioUpstreamOptions> = {}): StdioUpstream {
    const upstream = createStdioUpstream({
      name,
      ...fixture(name),
      maxLineBytes: MAX_LINE_BYTES,
      graceMs: 100,
      log,
      ...options,
    });
    upstreams.push(upstream);
    return upstream;
  }

  interface Opened {
    link: Link;
    seen: Recorder;
    upstream: StdioUpstream;
  }

  async function open(name: string, options: Partial<StdioUpstreamOptions> = {}): Promise<Opened> {
    const upstream = create(name, options);
    const seen = new Recorder();
    return { link: await upstream.open(seen, never()), seen, upstream };
  }

  it("watches the end of the process once for all servers", async () => {
    const before = process.listenerCount("exit");
    const [one, two] = [await open("raw-echo"), await open("raw-echo")];
    expect(process.listenerCount("exit")).toBe(before + 1);
    await one.link.close();
    expect(process.listenerCount("exit")).toBe(before + 1);
    await two.link.close();
    expect(process.listenerCount("exit")).toBe(before);
  });

  describe("a child that ends", () => {
    it.each(["crash-at-start", "crash-mid-request", "dies-of-sigsegv"])(
      "FLT-30 %s: told once",
      async (name) => {
        const { link, seen, upstream } = await open(name);
        await link.send(call(0, "echo"))?.catch(() => {});
        expect(await seen.end()).toBe("upstream_exited");
        await expect(link.send(call(1, "echo"))).rejects.toMatchObject({ reason: "upstream_exited" });
        await link.close();
        expect([seen.ends, seen.messages]).toEqual([["upstream_exited"], []]);
        expect(upstream.stats().children).toBe(0);
      },
    );

    it("FLT-30 exits-zero: its last words come first, even without a line break", async () => {
      const { link, seen } = await open("exits-zero");
      await link.send(call(0, "echo"));
      expect(await seen.end()).toBe("upstream_exited");
      expect(seen.messages).toMatchObject([{ id: 0, result: {} }, { method: "bye" }]);
    });

    it("FLT-30 a crash with idle neighbours is its own link's affair", async () => {
      const { link, seen, upstream } = await open("raw-echo");
      const other = new Recorder();
      const otherLink = await upstream.open(other, never());
      await link.send(call(0, "crash"));
      expect(await seen.end()).toBe("upstream_exited");
      await otherLink.send(call(0, "echo", { text: "alive" }));
      await other.answer(0);
      expect(other.ends).toEqual([]);
    });

    it("FLT-30 the operator finds what it said and how it ended", async () => {
      const { link, seen } = await open("crash-at-start");
      await seen.end();
      await link.close();
      await expect.poll(logged).toMatch(/"code":1,"signal":null,"stderr":"no configuration found"/);
    });

    it("while paused: the end comes though nobody resumes", async () => {
      const { link, seen } = await open("raw-echo");
      seen.onEach = () => link.pause();
      await link.send(call(0, "progress", { steps: 1000 }));
      await link.send(call(1, "crash"));
      expect(await seen.end()).toBe("upstream_exited");
      expect(new Set(seen.messages.map(({ params }) => params?.["progress"])).size).toBe(
        seen.messages.length,
      );
    });

    it("FLT-32 with a deaf grandchild at its stdout: told, and nothing is left", async () => {
      const { link, seen } = await open("deaf-grandchild");
      await seen.notification("ready");
      await link.send(encode({ method: "leave" }));
      expect(await seen.end()).toBe("upstream_exited");
      expect(seen.messages.at(-1)).toMatchObject({ method: "bye" });
      await link.close();
      expect(livingFixtures()).toEqual([]);
    });

    it("FLT-32 with a grandchild out of reach at its stdout: told all the same", async () => {
      const { link, seen } = await open("holds-stdout-in-grandchild");
      escaped.push((await seen.notification("ready")).params?.["pid"] as number);
      await link.send(encode({ method: "leave" }));
      expect(await seen.end()).toBe("upstream_exited");
      expect(seen.messages.at(-1)).toMatchObject({ method: "bye" });
      await link.close();
    });

    it("FLT-32 closed with a grandchild out of reach at its stdout", async () => {
      const { link, seen } = await open("holds-stdout-in-grandchild");
      escaped.push((await seen.notification("ready")).params?.["pid"] as number);
      await link.close();
      expect(seen.ends).toEqual(["closed"]);
    });

    it("FLT-32 a child that is deaf to SIGTERM is gone after close", async () => {
      const { link, seen, upstream } = await open("deaf-to-sigterm");
      await seen.notification("ready");
      await link.close();
      expect(livingFixtures()).toEqual([]);
      expect([seen.ends, upstream.stats().children]).toEqual([["closed"], 0]);
    });

    it("that has closed its input ends, for it can be told nothing more", async () => {
      const { link, seen } = await open("closes-stdin");
      await seen.notification("ready");
      await link.send(encode({ method: "x" }))?.catch(() => {});
      expect(await seen.end()).toBe("upstream_exited");
      await expect(link.send(encode({ method: "x" }))).rejects.toMatchObject({ reason: "upstream_exited" });
    });
  });

  describe("a child that cannot be started", () => {
    it.each([
      ["a command that is not there", { command: "no-such-command-anywhere" }],
      ["a file that cannot be executed", { command: fixture("never-answers").args[0] as string }],
      ["a working folder that is not there", { cwd: "/no/such/folder" }],
    ])("FLT-31 %s: refused, its place is free again", async (_, options) => {
      const upstream = create("raw-echo", { maxChildren: 1, ...options });
      const seen = new Recorder();
      for (let n = 0; n < 3; n += 1) {
        await expect(upstream.open(seen, never())).rejects.toMatchObject({ reason: "upstream_start_failed" });
      }
      expect([seen.ends, upstream.stats().children]).toEqual([[], 0]);
    });
  });

  describe("a child that will not listen", () => {
    it("FLT-33 never answers: the link stays, and close ends it", async () => {
      const { link, seen } = await open("never-answers");
      await link.send(call(0, "echo"));
      await link.send(encode({ method: "notifications/cancelled", params: { requestId: 0 } }));
      await link.close();
      expect([seen.ends, seen.messages]).toEqual([["closed"], []]);
    });

    it("FLT-34 stops reading: busy after the time allowed, and nothing of that message was given", async () => {
      const { link, seen } = await open("stops-reading", { sendTimeoutMs: 50 });
      await seen.notification("ready");
      const given: number[] = [];
      const params = { padding: "x".repeat(50_000) };
      for (let id = 0; id < 1000; id += 1) {
        const sent = link.send(encode({ id, method: "m", params }));
        if (sent === undefined) {
          given.push(id);
          continue;
        }
        if ((await outcomeOf(sent)) === "upstream_busy") break;
        given.push(id);
      }
      process.kill(livingFixtures()[0] as number, "SIGUSR2");
      await seen.until(() => seen.messages.length === given.length + 1);
      await link.send(encode({ id: 999, method: "m" }));
      await seen.until(() => seen.messages.at(-1)?.id === 999);
      expect(seen.messages.slice(1).map(({ id }) => id)).toEqual([...given, 999]);
    });

    it("FLT-34 stops reading: what waits is refused when the link is closed", async () => {
      const { link, seen } = await open("stops-reading", { sendTimeoutMs: 60_000 });
      await seen.notification("ready");
      const sends = Array.from({ length: 5 }, () =>
        link.send(encode({ id: 0, method: "x".repeat(300_000) })),
      );
      const waiting = sends.filter((sent) => sent !== undefined);
      const outcomes = waiting.map(outcomeOf);
      await link.close();
      expect(new Set(await Promise.all(outcomes))).toEqual(new Set(["upstream_exited"]));
    });
  });

  describe("a child that says too much", () => {
    it("FLT-35 floods messages: stops while paused, nothing lost, nothing twice", async () => {
      const { link, seen } = await open("floods-messages");
      await seen.until(() => seen.messages.length >= 20_000);
      link.pause();
      const neighbour = await open("raw-echo");
      await neighbour.link.send(call(0, "echo", { text: "x" }));
      await neighbour.seen.answer(0);
      // Its pipe and our buffer are full by now: nothing more than was under way can have come.
      const paused = seen.messages.length;
      await neighbour.link.send(call(1, "echo", { text: "x" }));
      await neighbour.seen.answer(1);
      expect(seen.messages.length).toBe(paused);
      link.resume();
      await seen.until(() => seen.messages.length >= 40_000);
      await link.close();
      const numbers = seen.messages.map(({ params }) => params?.["n"]);
      expect(numbers.every((n, at) => n === at)).toBe(true);
    });

    it.each(["no-newline-flood", "huge-line"])(
      "FLT-35 FLT-38 %s: cut at the limit, the child killed",
      async (name) => {
        const { link, seen, upstream } = await open(name);
        expect(await seen.end()).toBe("upstream_message_too_large");
        await expect(link.send(call(1, "echo"))).rejects.toMatchObject({ reason: "upstream_exited" });
        await link.close();
        expect([seen.ends, seen.messages]).toEqual([["upstream_message_too_large"], []]);
        expect([livingFixtures(), upstream.stats().children]).toEqual([[], 0]);
      },
    );

    it("carries a message of just the limit", async () => {
      const { link, seen } = await open("raw-echo", { maxLineBytes: 100_000 });
      const overhead = JSON.stringify({
        jsonrpc: "2.0",
        id: 0,
        result: { content: [{ type: "text", text: "" }] },
      }).length;
      await link.send(call(0, "bytes", { n: 100_000 - overhead }));
      await seen.answer(0);
      await link.send(call(0, "bytes", { n: 100_001 - overhead }));
      expect(await seen.end()).toBe("upstream_message_too_large");
    });
  });

  describe("a child that says what is no message", () => {
    it("FLT-36 banner-first: the banner is dropped and counted", async () => {
      const { link, seen, upstream } = await open("banner-first");
      await link.send(call(0, "echo"));
      await seen.answer(0);
      expect([seen.messages.length, upstream.stats().garbageLines]).toEqual([1, 2]);
    });

    it("FLT-36 FLT-37 garbage-lines: dropped and counted, invalid UTF-8 too, and logged once", async () => {
      const { seen, upstream } = await open("garbage-lines", { name: "garbage" });
      await seen.notification("after the garbage");
      expect([seen.messages.length, upstream.stats().garbageLines]).toEqual([1, 11]);
      expect(
        logged()
          .split("\n")
          .filter((line) => line.includes('"garbage"')),
      ).toHaveLength(1);
    });

    it("FLT-37 split-utf8: put together again", async () => {
      const { link, seen } = await open("split-utf8");
      await link.send(call(0, "echo"));
      expect(await seen.notification("say")).toMatchObject({ params: { text: "é € 😀 \u2028 end" } });
    });
  });

  it("FLT-40 a request of a child is its own link's, and so is the answer, whatever the ids", async () => {
    const first = await open("asks-client");
    const second = await open("asks-client");
    for (const { link } of [first, second]) await link.send(call(0, "echo"));
    for (const { link, seen } of [first, second]) {
      expect(await seen.notification("sampling/createMessage")).toMatchObject({ id: 0 });
      await link.send(encode({ id: 0, result: { only: link === first.link ? "first" : "second" } }));
    }
    expect(await first.seen.notification("answered")).toMatchObject({
      params: { result: { only: "first" } },
    });
    expect(await second.seen.notification("answered")).toMatchObject({
      params: { result: { only: "second" } },
    });
    expect([first.seen.messages.length, second.seen.messages.length]).toEqual([2, 2]);
  });

  it("FLT-39 what the operator calls a secret is not logged when a child prints it", async () => {
    const { env } = fixture("");
    const secrets = ["the-operators-token"];
    const { seen } = await open("prints-environment", {
      env: { TOKEN: "the-operators-token", ...env },
      secrets,
    });
    await seen.notification("environment");
    await expect.poll(logged).toContain('\\"TOKEN\\":\\"[redacted]\\"');
    expect(logged()).not.toContain("the-operators-token");
  });

  it("FLT-32 deaf children do not outlive a gateway that leaves without closing", async () => {
    const gateway = fixture("leaves-without-closing");
    const { command, args, env } = fixture("deaf-to-sigterm");
    const left = spawn(gateway.command, ["--import", "tsx", ...gateway.args, command, ...args], { env });
    const [code] = (await once(left, "exit")) as [number];
    expect(code).toBe(7);
    await expectNoFixtures();
  });

  describe("many children", () => {
    it("starts few at a time, and the next when one has spoken", async () => {
      const upstream = create("raw-echo", { spawnConcurrency: 2 });
      const seen = Array.from({ length: 4 }, () => new Recorder());
      const links = seen.map((recorder) => upstream.open(recorder, never()));
      const first = await links[0];
      await links[1];
      expect(upstream.stats()).toMatchObject({ children: 2, waiting: 2 });
      await first?.send(call(0, "echo", { text: "x" }));
      await links[2];
      expect(upstream.stats()).toMatchObject({ children: 3, waiting: 1 });
      await (await links[1])?.close();
      await links[3];
    });

    it("no longer counts a silent child as starting after a time, and leaves it alone", async () => {
      const upstream = create("never-answers", { spawnConcurrency: 1, startSeconds: 0.05 });
      const seen = [new Recorder(), new Recorder()];
      await Promise.all(seen.map((recorder) => upstream.open(recorder, never())));
      expect(seen.flatMap(({ ends }) => ends)).toEqual([]);
      expect(upstream.stats().children).toBe(2);
    });

    it("LIM-13 has no more than so many, refuses whom it cannot let wait, and serves again when one is gone", async () => {
      const upstream = create("raw-echo", { maxChildren: 2, maxWaiting: 1 });
      const [first] = await Promise.all([1, 2].map(() => upstream.open(new Recorder(), never())));
      const waiting = upstream.open(new Recorder(), never());
      await expect(upstream.open(new Recorder(), never())).rejects.toMatchObject({
        reason: "upstream_queue_full",
      });
      expect(livingFixtures()).toHaveLength(2);
      await first?.close();
      await waiting;
      expect(upstream.stats()).toMatchObject({ children: 2, waiting: 0 });
    });

    it("starts nothing for one who gave up while it waited or started", async () => {
      const upstream = create("raw-echo", { maxChildren: 1 });
      const early = new AbortController();
      const opening = upstream.open(new Recorder(), early.signal);
      const late = new AbortController();
      const waiting = upstream.open(new Recorder(), late.signal);
      late.abort(new Error("gave up"));
      await expect(waiting).rejects.toThrow("gave up");
      early.abort(new Error("gave up"));
      await expect(opening).rejects.toThrow("gave up");
      expect(livingFixtures()).toEqual([]);
      expect(upstream.stats()).toEqual({ children: 0, waiting: 0, garbageLines: 0 });
    });

    it.each([0, 10])("leaves nothing behind when it is closed %i turns after an open", async (turns) => {
      const upstream = create("raw-echo", { spawnConcurrency: 1 });
      const seen = [new Recorder(), new Recorder()];
      const opening = Promise.allSettled(seen.map((recorder) => upstream.open(recorder, never())));
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      await upstream.close();
      expect(livingFixtures()).toEqual([]);
      expect((await opening).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      expect(seen.flatMap(({ ends }) => ends)).toEqual([]);
    });

    it("ISO-02 40 links in turn, each with a process of its own", async () => {
      const upstream = create("raw-echo", { maxChildren: 4 });
      const counts = await Promise.all(
        Array.from({ length: 40 }, async () => {
          const seen = new Recorder();
          const link = await upstream.open(seen, never());
          await link.send(call(0, "count"));
          await link.send(call(1, "count"));
          await seen.answer(1);
          await link.close();
          return seen.texts();
        }),
      );
      expect(counts).toEqual(Array.from({ length: 40 }, () => ["1", "2"]));
      expect(upstream.stats().children).toBe(0);
    });
  });
});
