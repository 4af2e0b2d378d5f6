import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { shareUpstream } from "../../src/upstream/shared.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Link, Upstream } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { expectNoFixtures, fixture } from "./processes.ts";
import { createPuppet, type Puppet, type PuppetLink } from "./puppet.ts";
import { call, captureLog, encode, type Message, never, outcomeOf, Recorder } from "./recorder.ts";

const { log } = captureLog();
const stdio = (name: string, env: Record<string, string> = {}, ...args: string[]) => {
  const program = fixture(name, ...args);
  return createStdioUpstream({
    ...{ name, maxLineBytes: 4 << 20, graceMs: 100, log },
    ...program,
    env: { ...program.env, ...env },
  });
};

describeUpstream("shared, a child", {
  create: () => shareUpstream(stdio("raw-echo"), { idleMs: 0, log }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

describeUpstream("shared, built in", {
  create: () =>
    shareUpstream(createBuiltinUpstream({ name: "demo", createServer: createDemoServer, log }), {
      idleMs: 0,
      log,
    }),
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

interface Session {
  link: Link;
  seen: Recorder;
}

interface Ask {
  capabilities?: object;
  version?: string;
  name?: string;
  id?: number | string;
}

const initialize = ({ capabilities = {}, version = "2025-06-18", name = "test", id = 0 }: Ask = {}): Buffer =>
  encode({
    id,
    method: "initialize",
    params: { protocolVersion: version, capabilities, clientInfo: { name, version: "1" } },
  });

async function openOn(upstream: Upstream): Promise<Session> {
  const seen = new Recorder();
  return { link: await upstream.open(seen, never()), seen };
}

async function startOn(upstream: Upstream, ask: Ask = {}): Promise<Session> {
  const session = await openOn(upstream);
  await session.link.send(initialize(ask));
  await session.seen.answer(ask.id ?? 0);
  await session.link.send(encode({ method: "notifications/initialized" }));
  return session;
}

describe("a real server that is shared", () => {
  let folder: string;
  let upstream: Upstream;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "shared-"));
    upstream = shareUpstream(stdio("ledger-server", { LEDGER_FILE: join(folder, "ledger") }), {
      idleMs: 0,
      log,
    });
  });
  afterEach(async () => {
    await upstream.close();
    await expectNoFixtures();
    rmSync(folder, { recursive: true });
  });

  const ledger = (kind: string): Record<string, unknown>[] =>
    readFileSync(join(folder, "ledger"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["kind"] === kind);
  const replyIn = ({ result }: Message) =>
    JSON.parse(result?.content?.[0]?.text ?? "{}") as Record<string, unknown>;

  it("ISO-04 200 sessions of equal ids: none foreign, none lost, none twice", async () => {
    const sessions = await Promise.all(Array.from({ length: 200 }, () => startOn(upstream)));
    for (let id = 1; id <= 10; id += 1) {
      await Promise.all(
        sessions.map(async ({ link }, n) =>
          link.send(call(id, "slow", { nonce: `${n}/${id}`, ms: (n * 7) % 20 })),
        ),
      );
    }
    await Promise.all(
      sessions.flatMap(({ seen }) => Array.from({ length: 10 }, (_, n) => seen.answer(n + 1))),
    );
    for (const [n, { seen }] of sessions.entries()) {
      const answers = seen.messages.slice(1).toSorted((a, b) => Number(a.id) - Number(b.id));
      expect(answers.map((answer) => [answer.id, replyIn(answer)["nonce"]])).toEqual(
        Array.from({ length: 10 }, (_, at) => [at + 1, `${n}/${at + 1}`]),
      );
    }
    expect([ledger("initialize").length, ledger("breach")]).toEqual([1, []]);
    expect(ledger("call").length).toBe(2000);
    expect(new Set(ledger("call").map(({ nonce }) => nonce)).size).toBe(2000);
  });

  it("gives a question of the server to the session that it works for, and to nobody where two wait", async () => {
    const [a, b] = await Promise.all([startOn(upstream), startOn(upstream)]);
    await a.link.send(call(1, "ask", { nonce: "a", what: "sampling" }));
    const question = await a.seen.notification("sampling/createMessage");
    await a.link.send(encode({ id: question.id as string, result: { said: "by a" } }));
    expect(replyIn(await a.seen.answer(1))).toMatchObject({ nonce: "a", reply: { said: "by a" } });

    await b.link.send(call(1, "slow", { nonce: "b", ms: 60_000 }));
    await a.link.send(call(2, "ask", { nonce: "a", what: "roots" }));
    expect(replyIn(await a.seen.answer(2))).toMatchObject({ reply: { error: { code: -32601 } } });
    expect([a.seen.messages.length, b.seen.messages.length]).toEqual([4, 1]);
    expect(ledger("breach")).toEqual([]);
  });

  it("tells an update to those who are subscribed, and unsubscribes the server with the last", async () => {
    const uri = "ledger://count";
    const [a, b, c] = await Promise.all([startOn(upstream), startOn(upstream), startOn(upstream)]);
    for (const { link, seen } of [a, b]) {
      await link.send(encode({ id: 1, method: "resources/subscribe", params: { uri } }));
      expect(await seen.answer(1)).toMatchObject({ result: {} });
    }
    await c.link.send(call(1, "add", { nonce: "c1" }));
    await c.seen.answer(1);
    expect([a, b, c].map(({ seen }) => seen.messages.filter(({ method }) => method).length)).toEqual([
      1, 1, 0,
    ]);
    await a.link.send(encode({ id: 2, method: "resources/unsubscribe", params: { uri } }));
    expect(await a.seen.answer(2)).toMatchObject({ result: {} });
    expect(ledger("resources/unsubscribe")).toEqual([]);
    await c.link.send(call(2, "add", { nonce: "c2" }));
    await c.seen.answer(2);
    expect([a, b].map(({ seen }) => seen.messages.filter(({ method }) => method).length)).toEqual([1, 2]);
    await b.link.close();
    await c.link.send(call(3, "add", { nonce: "c3" }));
    await c.seen.answer(3);
    expect(ledger("resources/unsubscribe")).toMatchObject([{ uri }]);
  });

  it("FLT-30 a server that ends is told to all, and the next session begins anew", async () => {
    const [a, b] = await Promise.all([startOn(upstream), startOn(upstream)]);
    const [{ pid } = {}] = ledger("initialize");
    process.kill(pid as number, "SIGKILL");
    expect(await Promise.all([a.seen.end(), b.seen.end()])).toEqual(["upstream_exited", "upstream_exited"]);
    await Promise.all([startOn(upstream), startOn(upstream)]);
    expect(ledger("initialize").length).toBe(2);
  });
});

describe("a shared server", () => {
  let puppet: Puppet;
  let upstream: Upstream;
  beforeEach(() => {
    puppet = createPuppet();
    // It answers the handshake; the test says the rest.
    puppet.onOpen = (link) => {
      link.onSent = ({ id, method }) => {
        if (method === "initialize")
          queueMicrotask(() =>
            link.say({ id, result: { protocolVersion: "2025-06-18", n: link.sent.length } }),
          );
      };
    };
    upstream = shareUpstream(puppet, { idleMs: 0, maxHandshakes: 2, log });
  });
  afterEach(async () => {
    vi.useRealTimers();
    await upstream.close();
  });

  const server = (n = 0) => puppet.links[n] as PuppetLink;
  const start = (ask?: Ask) => startOn(upstream, ask);
  const methods = ({ seen }: Session) => seen.messages.flatMap(({ method }) => method ?? []);
  const asked = (method: string, n = 0) => server(n).messages.filter((message) => message.method === method);
  const answerLast = (result: object, n = 0) => server(n).say({ id: server(n).last.id as number, ...result });

  describe("the handshake", () => {
    it("is the first session's, and its answer everyone's, under each one's own id", async () => {
      const [a, b] = await Promise.all([start({ id: "a", name: "one" }), start({ id: 12, name: "two" })]);
      const c = await start({ id: 0, name: "three", capabilities: {} });
      const results = [a, b, c].map(({ seen }) => seen.messages);
      expect(results).toEqual([
        [{ jsonrpc: "2.0", id: "a", result: { protocolVersion: "2025-06-18", n: 1 } }],
        [{ jsonrpc: "2.0", id: 12, result: { protocolVersion: "2025-06-18", n: 1 } }],
        [{ jsonrpc: "2.0", id: 0, result: { protocolVersion: "2025-06-18", n: 1 } }],
      ]);
      expect([asked("initialize").length, asked("notifications/initialized").length]).toEqual([1, 1]);
      expect(puppet.links.length).toBe(1);
    });

    it("does not care in which order capabilities stand, and does care for what they say", async () => {
      await start({ capabilities: { roots: { listChanged: true }, sampling: {} } });
      await start({ capabilities: { sampling: {}, roots: { listChanged: true } } });
      expect([puppet.links.length, asked("initialize").length]).toEqual([1, 1]);
      const other = await start({ capabilities: { sampling: {}, roots: { listChanged: false } } });
      expect([puppet.links.length, asked("initialize", 1).length]).toEqual([2, 1]);
      await other.link.send(encode({ id: 1, method: "m" }));
      expect(server(1).last.method).toBe("m");
      server(1).end("upstream_exited");
      expect(other.seen.ends).toEqual(["upstream_exited"]);
    });

    it("of too many kinds has a server for itself, which ends with its session, and leaves the others' places", async () => {
      const [a, b] = [await start(), await start({ version: "2025-11-25" })];
      const [c, d] = [await start({ version: "2025-03-26" }), await start({ version: "2025-03-26" })];
      expect(puppet.links.length).toBe(4);
      const say = { method: "notifications/tools/list_changed" };
      server(2).say(say);
      server(3).say({ id: "q", method: "roots/list" });
      expect([a, b, c, d].map(methods)).toEqual([[], [], [say.method], ["roots/list"]]);
      await c.link.send(encode({ id: 5, method: "m" }));
      answerLast({ result: {} }, 2);
      await c.seen.answer(5);
      await c.link.close();
      expect(puppet.links.map(({ isClosed }) => isClosed)).toEqual([false, false, true, false]);
      const e = await start();
      expect([puppet.links.length, e.seen.messages[0]?.result]).toEqual([4, a.seen.messages[0]?.result]);
    });

    it("of too many kinds is refused where there is no room, until a kind has no sessions left", async () => {
      const first = await start();
      await start({ version: "2025-11-25" });
      puppet.isFull = true;
      const third = await openOn(upstream);
      const ask = initialize({ version: "2025-03-26" });
      expect(await outcomeOf(third.link.send(ask))).toBe("upstream_queue_full");
      await first.link.close();
      expect(third.seen.ends).toEqual([]);
      await third.link.close();
      const fourth = await start({ version: "2025-03-26" });
      await fourth.link.send(encode({ id: 1, method: "m" }));
      expect(puppet.links.map(({ isClosed }) => isClosed)).toEqual([true, false, false]);
      expect(server(2).last.method).toBe("m");
    });

    it("keeps the order of what is sent while a session moves to the server of its kind", async () => {
      await start();
      const { link, seen } = await openOn(upstream);
      const sent = [
        link.send(initialize({ version: "2025-11-25" })),
        link.send(encode({ method: "notifications/initialized" })),
        link.send(encode({ id: 1, method: "m" })),
      ];
      await Promise.all(sent.map(outcomeOf));
      expect(server(1).messages.map(({ method }) => method)).toEqual([
        "initialize",
        "notifications/initialized",
        "m",
      ]);
      await link.close();
      expect([seen.ends, server(0).isClosed]).toEqual([["closed"], false]);
    });

    it("that is refused is refused to the one who asked, and the next one's own is asked", async () => {
      puppet.onOpen = undefined;
      const [a, b] = await Promise.all([openOn(upstream), openOn(upstream)]);
      for (const { link } of [a, b]) await link.send(initialize());
      answerLast({ error: { code: -32602, message: "no" } });
      expect([a.seen.messages.length, b.seen.messages.length]).toEqual([1, 0]);
      answerLast({ result: { ok: true } });
      expect([a.seen.messages[0]?.error?.code, b.seen.messages[0]?.result]).toEqual([-32602, { ok: true }]);
      expect(asked("initialize").length).toBe(2);
    });

    it("goes on when the one who asked has gone", async () => {
      puppet.onOpen = undefined;
      const [a, b] = await Promise.all([openOn(upstream), openOn(upstream)]);
      for (const { link } of [a, b]) await link.send(initialize());
      await a.link.close();
      expect(server().messages.map(({ method }) => method)).toEqual(["initialize"]);
      answerLast({ result: {} });
      await b.seen.answer(0);
    });
  });

  describe("what it says", () => {
    it("of a changed list goes to all who are initialized", async () => {
      const [a, b] = await Promise.all([start(), start()]);
      const c = await openOn(upstream);
      server().say({ method: "notifications/tools/list_changed" });
      expect([a, b, c].map(methods)).toEqual([
        ["notifications/tools/list_changed"],
        ["notifications/tools/list_changed"],
        [],
      ]);
    });

    it("of a resource goes to those subscribed to it or to what it is a part of", async () => {
      const [a, b, c] = await Promise.all([start(), start(), start()]);
      const subscribe = (uri: string) => encode({ id: 1, method: "resources/subscribe", params: { uri } });
      await a.link.send(subscribe("file:///a"));
      await b.link.send(subscribe("file:///a/b"));
      await c.link.send(subscribe("file:///a/b/c"));
      answerLast({ error: { code: -32602, message: "not for you" } });
      for (const uri of ["file:///a/b", "file:///a/b/c", "file:///ab"]) {
        server().say({ method: "notifications/resources/updated", params: { uri } });
      }
      expect([a, b, c].map((session) => methods(session).length)).toEqual([2, 2, 0]);
    });

    it("unasked and unaddressed goes to the only session there ever was, or to nobody", async () => {
      const a = await start();
      server().say({ id: "r", method: "roots/list" });
      expect(methods(a)).toEqual(["roots/list"]);
      const b = await start();
      await a.link.close();
      for (const method of ["notifications/message", "notifications/vendor"])
        server().say({ method, params: {} });
      server().say({ id: "s", method: "roots/list" });
      expect([methods(b), server().last]).toMatchObject([[], { id: "s", error: {} }]);
    });
  });

  describe("log levels", () => {
    const setLevel = (level: string, id = 1) => encode({ id, method: "logging/setLevel", params: { level } });
    const told = () => asked("logging/setLevel").map(({ params }) => params?.["level"]);
    const say = (level: string) =>
      server().say({ method: "notifications/message", params: { level, data: "x" } });

    it("the server is told the one that lets most through, and each session gets what its own lets through", async () => {
      vi.useFakeTimers({ toFake: ["performance"] });
      const [a, b] = await Promise.all([start(), start()]);
      for (const [{ link, seen }, level] of [
        [a, "error"],
        [b, "info"],
      ] as const) {
        await link.send(setLevel(level));
        answerLast({ result: {} });
        await seen.answer(1);
      }
      expect(told()).toEqual(["debug", "info"]);
      await a.link.send(setLevel("warning", 2));
      await a.seen.answer(2);
      expect(told()).toEqual(["debug", "info"]);
      vi.advanceTimersByTime(60_000);
      await a.link.send(encode({ id: 3, method: "m" }));
      say("info");
      say("warning");
      answerLast({ result: {} });
      vi.advanceTimersByTime(60_000);
      await b.link.send(encode({ id: 3, method: "m" }));
      say("info");
      expect([methods(a).length, methods(b).length]).toEqual([1, 1]);
      await b.link.close();
      expect(told()).toEqual(["debug", "info", "warning"]);
      await start();
      expect(told()).toEqual(["debug", "info", "warning", "debug"]);
    });

    it("a refusal is the client's, and the server is asked again", async () => {
      const a = await start();
      for (const id of [1, 2]) {
        await a.link.send(setLevel("error", id));
        answerLast({ error: { code: -32601, message: "no" } });
        expect((await a.seen.answer(id)).error?.code).toBe(-32601);
      }
      await a.link.send(setLevel("loud", 3));
      expect(told()).toEqual(["error", "error", "loud"]);
    });
  });

  describe("tasks", () => {
    /** A session with a task of its own. */
    async function startTask(taskId: string): Promise<Session> {
      const session = await start();
      const params = { name: "t", task: { ttl: 60_000 }, _meta: { progressToken: "p" } };
      await session.link.send(encode({ id: 1, method: "tools/call", params }));
      answerLast({ result: { task: { taskId, status: "working" } } });
      await session.seen.answer(1);
      return session;
    }

    it("are unknown to all but their owner", async () => {
      const [a, b] = [await startTask("A"), await startTask("B")];
      const before = server().sent.length;
      for (const [id, method] of ["tasks/get", "tasks/result", "tasks/cancel"].entries()) {
        await b.link.send(encode({ id: id + 2, method, params: { taskId: "A" } }));
        expect((await b.seen.answer(id + 2)).error?.code).toBe(-32602);
      }
      expect(server().sent.length).toBe(before);
      await a.link.send(encode({ id: 2, method: "tasks/get", params: { taskId: "A" } }));
      expect(server().last).toMatchObject({ method: "tasks/get", params: { taskId: "A" } });
      server().say({ method: "notifications/tasks/status", params: { taskId: "A", status: "working" } });
      const related = { _meta: { "io.modelcontextprotocol/related-task": { taskId: "B" } } };
      server().say({ id: 9, method: "elicitation/create", params: related });
      server().say({ method: "notifications/message", params: { ...related, level: "info" } });
      expect([methods(a), methods(b)]).toEqual([
        ["notifications/tasks/status"],
        ["elicitation/create", "notifications/message"],
      ]);
    });

    it("are told of to their owner even before it has the answer, and never to another", async () => {
      const [a, b] = await Promise.all([start(), start()]);
      await a.link.send(encode({ id: 1, method: "tools/call", params: { name: "t", task: {} } }));
      const status = { method: "notifications/tasks/status", params: { taskId: "A", status: "working" } };
      const { id } = server().last;
      server().say(status);
      server().say({ ...status, params: { taskId: "nobody's" } });
      expect(a.seen.messages.length).toBe(1);
      server().say({ id, result: { task: { taskId: "A" } } });
      expect(a.seen.messages.slice(1)).toMatchObject([status, { id: 1 }]);
      expect(b.seen.messages.length).toBe(1);
    });

    it("are listed to their owner only, byte for byte", async () => {
      const [a, b] = [await startTask("A"), await startTask("B")];
      const raw: string[] = [];
      a.seen.onMessage = (message) => void raw.push(message.toString());
      await a.link.send(encode({ id: "l", method: "tasks/list" }));
      const { id } = server().last;
      server().say(
        `{"jsonrpc":"2.0","id":${id},"result":{"tasks":[ {"taskId":"B"} , {"taskId":"A","big":12345678901234567890},{"x":1}],"nextCursor":"n"}}`,
      );
      expect(raw).toEqual([
        '{"jsonrpc":"2.0","id":"l","result":{"tasks":[{"taskId":"A","big":12345678901234567890}],"nextCursor":"n"}}',
      ]);
      expect(b.seen.messages.length).toBe(2);
    });

    it("tell their progress after the answer too, and are cancelled when their owner has gone", async () => {
      const [a, b] = [await startTask("A"), await startTask("B")];
      const tokens = asked("tools/call").map(
        ({ params }) => (params?.["_meta"] as { progressToken: number } | undefined)?.progressToken,
      );
      server().say({ method: "notifications/progress", params: { progressToken: tokens[0], progress: 1 } });
      expect([methods(a), methods(b)]).toEqual([["notifications/progress"], []]);
      expect(a.seen.messages.at(-1)?.params).toMatchObject({ progressToken: "p" });
      await a.link.close();
      expect(server().last).toMatchObject({ method: "tasks/cancel", params: { taskId: "A" } });
    });
  });
});
