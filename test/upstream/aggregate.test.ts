import { afterEach, describe, expect, it } from "vitest";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import {
  aggregate,
  answering,
  fixture,
  hangingMember,
  INITIALIZE,
  initialized,
  names,
  open,
  type Opened,
  openOn,
  scriptedMember,
} from "./aggregate-members.ts";
import { describeUpstream } from "./conformance.ts";
import { call, captureLog, encode } from "./recorder.ts";
import { eventually } from "../support/eventually.ts";

const { log } = captureLog();
const demo = (name: string) => createBuiltinUpstream({ name, createServer: createDemoServer, log });

/** The same upstream, whose clients leave the prefix of the first member away. */
function unprefixed(inner: Upstream, members: readonly Upstream[]): Upstream {
  return {
    name: inner.name,
    isFull: false,
    async open(events, signal) {
      const link = await inner.open(events, signal);
      const rename = (message: Buffer) =>
        Buffer.from(message.toString().replace('"method":"tools/call","params":{"name":"', "$&one__"));
      return {
        send: (message) => link.send(rename(message)),
        pause: () => link.pause(),
        resume: () => link.resume(),
        close: () => link.close(),
      };
    },
    async close() {
      await inner.close();
      await Promise.all(members.map((member) => member.close()));
    },
  };
}

describeUpstream("many as one, built in", {
  create: () => {
    const members = [demo("one"), demo("two")];
    return unprefixed(aggregate(members).upstream, members);
  },
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

describeUpstream("many as one, children", {
  create: () => {
    const members = [fixture("one", "raw-echo"), fixture("two", "crash-at-start")];
    return unprefixed(aggregate(members).upstream, members);
  },
  talk: (id, steps) => call(id, "progress", { steps }),
});

describe("many as one", () => {
  let opened: Opened | undefined;
  let members: Upstream[] = [];
  afterEach(async () => {
    await opened?.link.close();
    await Promise.all(members.map((member) => member.close()));
    members = [];
  });

  async function begin(...all: Upstream[]) {
    members = all;
    const begun = await initialized(all, 1000);
    opened = begun;
    return begun;
  }

  describe("introduces them", () => {
    it("as one server, with what they offer together", async () => {
      const one = scriptedMember("one", undefined, { tools: {}, experimental: { x: { a: 1 } } });
      const two = scriptedMember("two", undefined, {
        prompts: {},
        resources: { subscribe: true },
        experimental: { x: { b: 2 } },
      });
      const { introduction } = await begin(one, two);
      expect(introduction.result).toEqual({
        protocolVersion: "2025-06-18",
        capabilities: {
          tools: { listChanged: true },
          prompts: { listChanged: true },
          resources: { subscribe: true, listChanged: true },
          experimental: { x: { a: 1, b: 2 } },
        },
        serverInfo: { name: "mcp-sse-gateway", version: "1.2.3" },
      });
      expect(one.last.asked("initialize")[0]?.params).toEqual(INITIALIZE);
      expect(one.last.asked("notifications/initialized")).toHaveLength(1);
    });

    it("in the oldest version that one of them speaks", async () => {
      const old = scriptedMember("old", ({ method }) =>
        method === "initialize" ? { result: { protocolVersion: "2025-03-26", capabilities: {} } } : undefined,
      );
      const { introduction, logged } = await begin(scriptedMember("new"), old);
      expect(introduction.result).toMatchObject({ protocolVersion: "2025-03-26" });
      expect(logged()).toContain("different versions");
    });

    it("and says which of them is not available", async () => {
      const told = scriptedMember("told", ({ method, params }) =>
        method === "initialize"
          ? {
              result: {
                protocolVersion: params?.["protocolVersion"],
                capabilities: { tools: {} },
                instructions: "Be kind.",
              },
            }
          : undefined,
      );
      const { introduction } = await begin(
        told,
        fixture("broken", "crash-at-start"),
        hangingMember("silent"),
      );
      expect(introduction.result).toMatchObject({
        instructions: "told: Be kind.\n\nServer broken is not available.\n\nServer silent is not available.",
        _meta: { "mcp-sse-gateway/absent": ["broken", "silent"] },
      });
    });

    it("and is told by an error when none is there, and may try again", async () => {
      const broken = scriptedMember("broken");
      broken.failure = () => new Error("no such program");
      members = [broken, fixture("dying", "crash-mid-request")];
      opened = await open(members);
      const { error } = await opened.ask(1, "initialize", INITIALIZE);
      expect(error).toMatchObject({
        code: -32603,
        message: "None of the servers is available: broken, dying.",
        data: { reason: "upstream_unavailable" },
      });
    });

    it("hands on the refusal of the only one", async () => {
      const refuses = scriptedMember("strict", () => ({ error: { code: -32602, message: "Unsupported" } }));
      members = [refuses];
      opened = await open(members);
      expect((await opened.ask(1, "initialize", INITIALIZE)).error).toEqual({
        code: -32602,
        message: "Unsupported",
      });
      expect((await opened.ask(2, "initialize", INITIALIZE)).error).toEqual({
        code: -32602,
        message: "Unsupported",
      });
    });

    it("once", async () => {
      const { ask } = await begin(scriptedMember("one"));
      expect((await ask(2, "initialize", INITIALIZE)).error).toMatchObject({ code: -32600 });
    });

    it("without waiting again for one that made others wait", async () => {
      const troubled = scriptedMember("troubled");
      const { open: hang } = hangingMember("troubled");
      troubled.failure = () => new Error("no such program");
      const { upstream } = aggregate([scriptedMember("one"), troubled], 20_000);
      const begun = async () => (await openOn(upstream)).ask(1, "initialize", INITIALIZE);
      await begun();
      let opens = 0;
      troubled.open = (...given) => {
        opens += 1;
        return hang(...given);
      };
      while (opens === 0) {
        expect((await begun()).result).toBeDefined();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await upstream.close();
    });
  });

  describe("calls", () => {
    it("the server that the name begins with, under its own name, and touches nothing else", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two", ({ method }) =>
        method === "tools/call"
          ? '{"jsonrpc":"2.0","id":ID,"result":{"content":[],"big":9007199254740993},"x":"é"}'
          : undefined,
      );
      const { link, seen, raw } = await begin(one, two);
      await link.send(
        Buffer.from(
          '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"arguments":{"n":12345678901234567890},"name":"two__a__b"},"x-vendor":1}',
        ),
      );
      await seen.until(() => raw.some((text) => text.includes('"content"')));
      expect(two.last.raw.at(-1)).toBe(
        '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"arguments":{"n":12345678901234567890},"name":"a__b"},"x-vendor":1}',
      );
      expect(one.last.asked("tools/call")).toEqual([]);
      expect(raw.at(-1)).toBe(
        '{"jsonrpc":"2.0","id":9007199254740993,"result":{"content":[],"big":9007199254740993},"x":"é"}',
      );
    });

    it.each([
      ["tools/call", "Unknown tool: nobody__x"],
      ["prompts/get", "Unknown prompt: nobody__x"],
    ])("nobody for an unknown prefix: %s", async (method, message) => {
      const { ask } = await begin(scriptedMember("one"));
      expect((await ask(1, method, { name: "nobody__x" })).error).toEqual({ code: -32602, message });
    });

    it("a prompt, and completes it, and completes a template", async () => {
      const { ask } = await begin(demo("one"), demo("two"));
      expect(
        (await ask(1, "prompts/get", { name: "two__introduce", arguments: { name: "Ada" } })).result,
      ).toHaveProperty("messages");
      const argument = { name: "name", value: "A" };
      const ofPrompt = await ask(2, "completion/complete", {
        ref: { type: "ref/prompt", name: "two__introduce" },
        argument,
      });
      const uri = "demo://greeting/{name}";
      const ofTemplate = await ask(3, "completion/complete", {
        ref: { type: "ref/resource", uri },
        argument,
      });
      for (const { result } of [ofPrompt, ofTemplate]) {
        expect(result).toMatchObject({ completion: { values: ["Ada", "Alan"] } });
      }
    });

    it("a dead server with an error that names it, and the others go on", async () => {
      const broken = scriptedMember("broken");
      broken.failure = () => new Error("no such program");
      const { ask } = await begin(demo("one"), broken);
      expect((await ask(1, "tools/call", { name: "broken__x" })).error).toEqual({
        code: -32603,
        message: "Server broken is not available.",
        data: { reason: "upstream_unavailable", server: "broken" },
      });
      expect(
        (await ask(2, "tools/call", { name: "one__echo", arguments: { text: "hi" } })).result,
      ).toMatchObject({
        content: [{ text: "hi" }],
      });
    });

    it("what a server was asked when it ended is answered with an error that names it, once", async () => {
      const two = scriptedMember("two");
      const { seen, ask, link } = await begin(scriptedMember("one"), two);
      const asked = ask(1, "tools/call", { name: "two__x" });
      await seen.until(() => two.last.asked("tools/call").length > 0).catch(() => undefined);
      await eventually(() => expect(two.last.asked("tools/call")).toHaveLength(1));
      two.last.die();
      expect((await asked).error).toMatchObject({
        data: { reason: "upstream_exited", server: "two" },
        message: expect.stringContaining("two"),
      });
      expect(seen.messages.filter(({ id }) => id === 1)).toHaveLength(1);
      expect(seen.ends).toEqual([]);
      await link.send(encode({ method: "notifications/cancelled", params: { requestId: 1 } }));
    });

    it("no server twice, and takes no answer from another server than was asked", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two");
      const { link, seen } = await begin(one, two);
      await link.send(call(1, "two__x"));
      one.last.say({ id: 1, result: { content: [{ text: "forged" }] } });
      two.last.say({ id: 1, result: { content: [{ text: "true" }] } });
      two.last.say({ id: 1, result: { content: [{ text: "again" }] } });
      await seen.answer(1);
      expect(
        seen.messages.filter(({ id }) => id === 1).map(({ result }) => result?.content?.[0]?.text),
      ).toEqual(["true"]);
    });

    it("a vendor's method by its params.name, else nobody", async () => {
      const one = scriptedMember("one", answering({ "acme/do": { done: true } }));
      const { ask } = await begin(one, scriptedMember("two"));
      expect((await ask(1, "acme/do", { name: "one__thing" })).result).toEqual({ done: true });
      expect(one.last.asked("acme/do")[0]?.params).toEqual({ name: "thing" });
      expect((await ask(2, "acme/do", { name: "thing" })).error).toMatchObject({
        code: -32601,
        message: expect.stringContaining("one, two"),
      });
    });

    it("nobody for ping", async () => {
      const one = scriptedMember("one");
      const { ask } = await begin(one);
      expect((await ask(1, "ping")).result).toEqual({});
      expect(one.last.asked("ping")).toEqual([]);
    });
  });

  describe("carries", () => {
    it("requests of servers that have the same id, and each answer to whom it belongs", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two");
      const { link, seen } = await begin(one, two);
      const params = { _meta: { progressToken: 0 } };
      one.last.say({ id: 0, method: "sampling/createMessage", params });
      two.last.say({ id: 0, method: "sampling/createMessage", params });
      one.last.say('{"jsonrpc":"2.0","id":"a\\"é","method":"roots/list"}');
      const asked = seen.messages.filter(({ method }) => method === "sampling/createMessage");
      expect(new Set(asked.map(({ id }) => id)).size).toBe(2);
      const [first, second] = asked;
      const progressToken = (second?.params?.["_meta"] as { progressToken?: string } | undefined)
        ?.progressToken;
      await link.send(encode({ method: "notifications/progress", params: { progressToken, progress: 1 } }));
      await link.send(encode({ id: second?.id as string, result: { of: "two" } }));
      await link.send(encode({ id: first?.id as string, result: { of: "one" } }));
      const roots = await seen.notification("roots/list");
      await link.send(encode({ id: roots.id as string, result: { roots: [] } }));
      await link.send(encode({ id: roots.id as string, result: { roots: ["twice"] } }));
      expect(two.last.told.slice(-2)).toEqual([
        { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 0, progress: 1 } },
        { jsonrpc: "2.0", id: 0, result: { of: "two" } },
      ]);
      expect(one.last.told.slice(-2)).toEqual([
        { jsonrpc: "2.0", id: 0, result: { of: "one" } },
        { jsonrpc: "2.0", id: 'a"é', result: { roots: [] } },
      ]);
    });

    it("the end of a server's request: cancelled by it, or by its death", async () => {
      const one = scriptedMember("one");
      const { seen, link } = await begin(one, scriptedMember("two"));
      one.last.say({ id: 0, method: "roots/list" });
      one.last.say({ method: "notifications/cancelled", params: { requestId: 0 } });
      one.last.say({ id: 1, method: "sampling/createMessage", params: {} });
      const old = one.last;
      old.die();
      const [roots, cancelled, sampling, lost] = seen.messages.slice(-4);
      expect(cancelled?.params?.["requestId"]).toBe(roots?.id);
      expect(lost).toMatchObject({ method: "notifications/cancelled", params: { requestId: sampling?.id } });
      await link.send(encode({ id: sampling?.id as string, result: {} }));
      expect(old.told.some(({ id }) => id === 1)).toBe(false);
    });

    it("no answer that was meant for a server before it was started again", async () => {
      const one = scriptedMember("one", answering({ "tools/call": {} }));
      const { seen, link, ask } = await begin(one, scriptedMember("two"));
      one.last.say({ id: 0, method: "roots/list" });
      const { id: old } = await seen.notification("roots/list");
      one.last.die();
      await ask(1, "tools/call", { name: "one__x" });
      one.last.say({ id: 0, method: "sampling/createMessage", params: {} });
      await link.send(encode({ id: old as string, result: { roots: [] } }));
      expect(one.last.told.filter(({ id, method }) => id === 0 && method === undefined)).toEqual([]);
    });

    it("cancellation to the server that has the request", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two");
      const { link, seen } = await begin(one, two);
      await link.send(call(7, "two__x"));
      await link.send(encode({ method: "notifications/cancelled", params: { requestId: 7 } }));
      expect(two.last.asked("notifications/cancelled")).toMatchObject([{ params: { requestId: 7 } }]);
      expect(one.last.asked("notifications/cancelled")).toEqual([]);
      two.last.say({ id: 7, result: {} });
      expect(seen.messages.some(({ id }) => id === 7)).toBe(false);
    });

    it("the log level to all who log, and their logs under their names", async () => {
      const logs = { tools: {}, logging: {} };
      const one = scriptedMember("one", answering({ "logging/setLevel": {} }), logs);
      const two = scriptedMember("two", undefined, { tools: {} });
      const { ask, seen } = await begin(one, two);
      expect((await ask(1, "logging/setLevel", { level: "debug" })).result).toEqual({});
      expect(two.last.asked("logging/setLevel")).toEqual([]);
      one.last.say({ method: "notifications/message", params: { level: "info", data: "x" } });
      one.last.say({ method: "notifications/message", params: { level: "info", logger: "disk", data: "y" } });
      const logged = seen.messages.filter(({ method }) => method === "notifications/message");
      expect(logged.map(({ params }) => params?.["logger"])).toEqual(["one", "one/disk"]);
    });

    it("changed roots and a vendor's notifications to all", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two");
      const { link } = await begin(one, two);
      await link.send(encode({ method: "notifications/roots/list_changed" }));
      for (const member of [one, two])
        expect(member.last.asked("notifications/roots/list_changed")).toHaveLength(1);
    });

    it("tasks to the server that made them, and to whoever knows one that nobody listed", async () => {
      const tasks = { tools: {}, tasks: { list: {} } };
      const unknown = { error: { code: -32602, message: "Task not found" } };
      const one = scriptedMember(
        "one",
        ({ method }) => (method === "tasks/get" ? unknown : undefined),
        tasks,
      );
      const two = scriptedMember(
        "two",
        answering({
          "tools/call": { task: { taskId: "t" } },
          "tasks/get": { taskId: "t", status: "working" },
          "tasks/list": { tasks: [{ taskId: "t" }] },
        }),
        tasks,
      );
      const { ask } = await begin(one, two);
      expect((await ask(0, "tasks/get", { taskId: "t" })).result).toMatchObject({ taskId: "t" });
      expect(one.last.asked("tasks/get")).toHaveLength(1);
      await ask(1, "tools/call", { name: "two__x", task: { ttl: 1 } });
      expect((await ask(2, "tasks/get", { taskId: "t" })).result).toMatchObject({ taskId: "t" });
      expect(one.last.asked("tasks/get")).toHaveLength(1);
    });

    it("pause and resume to all, and to one that comes later", async () => {
      const one = scriptedMember("one");
      const two = scriptedMember("two");
      members = [one, two];
      opened = await open(members);
      await opened.link.send(call(1, "one__x"));
      opened.link.pause();
      void opened.link.send(call(2, "two__x"));
      await eventually(() => expect(two.links).toHaveLength(1));
      await eventually(() => expect([one.last.isPaused, two.last.isPaused]).toEqual([true, true]));
      opened.link.resume();
      expect([one.last.isPaused, two.last.isPaused]).toEqual([false, false]);
    });
  });

  describe("brings back", () => {
    it("a server that has ended, tells it what the client told and was told, and says that lists have changed", async () => {
      const one = scriptedMember(
        "one",
        answering({
          "logging/setLevel": {},
          "resources/subscribe": {},
          "tools/call": { content: [{ text: "back" }] },
        }),
        { tools: {}, logging: {}, resources: { subscribe: true } },
      );
      const old = scriptedMember("two", ({ method }) =>
        method === "initialize" ? { result: { protocolVersion: "2025-03-26", capabilities: {} } } : undefined,
      );
      const { ask, seen } = await begin(one, old);
      await ask(1, "logging/setLevel", { level: "debug" });
      await ask(2, "resources/subscribe", { uri: "x://y" });
      one.last.die();
      expect((await ask(3, "tools/call", { name: "one__x" })).result).toEqual({
        content: [{ text: "back" }],
      });
      expect(one.links).toHaveLength(2);
      expect(one.last.told.map(({ method }) => method)).toEqual([
        "initialize",
        "notifications/initialized",
        "logging/setLevel",
        "resources/subscribe",
        "tools/call",
      ]);
      expect(one.last.asked("initialize")[0]?.params).toEqual({
        ...INITIALIZE,
        protocolVersion: "2025-03-26",
      });
      await seen.notification("notifications/tools/list_changed");
      await seen.notification("notifications/resources/list_changed");
      expect(seen.messages.filter(({ id }) => typeof id === "string" && id !== "init")).toEqual([]);
    });

    it("a server that was late, once the client may be told", async () => {
      let answer: () => void = () => undefined;
      const late = scriptedMember("late", ({ method, id }, link) => {
        if (method !== "initialize") return { result: { tools: [{ name: "x" }] } };
        answer = () =>
          link.say({
            id: id as string,
            result: { protocolVersion: "2025-06-18", capabilities: { tools: {} } },
          });
        return '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"starting"}}';
      });
      members = [demo("one"), late];
      opened = await open(members, 30);
      const introduction = await opened.ask(1, "initialize", INITIALIZE);
      expect(introduction.result).toMatchObject({
        instructions: expect.stringContaining("Server late is not available."),
      });
      expect(names(await opened.ask(2, "tools/list"))).not.toContain("late__x");
      answer();
      await new Promise((resolve) => setImmediate(resolve));
      expect(opened.seen.messages.some(({ method }) => method === "notifications/tools/list_changed")).toBe(
        false,
      );
      await opened.link.send(encode({ method: "notifications/initialized" }));
      await opened.seen.notification("notifications/tools/list_changed");
      expect(names(await opened.ask(3, "tools/list"))).toContain("late__x");
    });

    it("none that fails again and again more often than makes sense, and logs it once", async () => {
      const broken = scriptedMember("broken");
      broken.failure = () => new Error("no such program");
      const { ask, logged, upstream } = await begin(demo("one"), broken);
      for (let id = 0; id < 20; id += 1) {
        await ask(id, "tools/list");
        const other = await openOn(upstream);
        await other.ask(1, "initialize", INITIALIZE);
        await other.link.close();
      }
      expect(broken.opens).toBe(1);
      expect(logged().match(/A server is not available/g)).toHaveLength(1);
    });
  });

  it("lives on when two crash, one never answers, and one is well", async () => {
    const { ask, introduction, seen } = await begin(
      fixture("crash", "crash-at-start"),
      fixture("dies", "crash-mid-request"),
      fixture("mute", "never-answers"),
      fixture("well", "raw-echo"),
    );
    expect(introduction.result).toMatchObject({
      _meta: { "mcp-sse-gateway/absent": ["crash", "dies", "mute"] },
    });
    for (let id = 0; id < 50; id += 1) {
      const { result } = await ask(id, "tools/call", { name: "well__echo", arguments: { text: `${id}` } });
      expect(result?.content?.[0]?.text).toBe(`${id}`);
    }
    const list = await ask("list", "tools/list");
    expect(names(list)).toContain("well__echo");
    expect(list.result?.["_meta"]).toEqual({ "mcp-sse-gateway/absent": ["crash", "dies", "mute"] });
    expect(seen.ends).toEqual([]);
  });
});
