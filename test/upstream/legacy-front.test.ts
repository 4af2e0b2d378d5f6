import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Client as ModernClient, type Transport as ModernTransport } from "@modelcontextprotocol/client";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { createMcpHandler, inputRequired, McpServer as ModernServer } from "@modelcontextprotocol/server";
import { afterEach, describe, expect, it, vi } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { legacyFront } from "../../src/upstream/legacy-front.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { LinkEvents, Upstream } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { sessionTransport } from "./link-transport.ts";
import { createRemoteUpstream } from "../../src/upstream/remote.ts";
import { createStatelessUpstream } from "../../src/upstream/stateless.ts";
import { fixture } from "./processes.ts";
import { call, captureLog, encode, type Message, never, Recorder } from "./recorder.ts";

const { log } = captureLog();
const MAX_LINE_BYTES = 16 << 20;

const child = (name: string) =>
  createStdioUpstream({ name: "raw", ...fixture(name), maxLineBytes: MAX_LINE_BYTES, graceMs: 100, log });
const refusing = (): Upstream => ({
  name: "none",
  isFull: false,
  open: () => Promise.reject(new Error("no request was expected in the other era")),
  close: async () => undefined,
});

describeUpstream("a server with sessions behind the legacy front", {
  create: () => legacyFront(child("raw-echo"), refusing(), { log }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

const VERSION_KEY = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities";
const everything = { sampling: {}, elicitation: {}, roots: {} };
type Options = { capabilities?: Record<string, object>; watch?: (way: "in" | "out", text: string) => void };

describe("a client with sessions, a server of 2026-07-28 only", () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of open.splice(0).toReversed()) await one.close();
  });

  function front(): Upstream {
    const upstream = legacyFront(
      child("modern-only-server"),
      createStatelessUpstream(child("modern-only-server"), { idleMs: 0, log }),
      { log },
    );
    open.push(upstream);
    return upstream;
  }

  async function connect(upstream: Upstream = front(), { capabilities = everything, watch }: Options = {}) {
    const client = new Client({ name: "test", version: "1" }, { capabilities });
    const errors: Error[] = [];
    client.onerror = (error) => errors.push(error);
    await client.connect(sessionTransport(upstream, watch) as Transport);
    open.push(client);
    return { client, errors };
  }

  const textOf = (result: unknown) => (result as { content: { text: string }[] }).content[0]?.text;
  const tool = async (client: Client, name: string, args: Record<string, unknown> = {}) =>
    textOf(await client.callTool({ name, arguments: args }));

  it("answers initialize with what the server says of itself, and never shows its refusal", async () => {
    const seen: string[] = [];
    const { client } = await connect(front(), { watch: (way, text) => way === "in" && seen.push(text) });
    expect(client.getServerVersion()).toEqual({ name: "modern-only", title: "Modern", version: "2.0.0" });
    expect(client.getInstructions()).toBe("Speaks 2026-07-28 only.");
    expect(client.getServerCapabilities()).toMatchObject({ resources: { subscribe: true }, completions: {} });
    expect(JSON.parse(seen[0] as string)).toMatchObject({ id: 0, result: { protocolVersion: "2025-11-25" } });
    await client.ping();
  });

  it.each(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])("speaks %s", async (protocolVersion) => {
    const seen = new Recorder();
    const link = await front().open(seen, never());
    const clientInfo = { name: "old", version: "1" };
    await link.send(
      encode({ id: "a", method: "initialize", params: { protocolVersion, capabilities: {}, clientInfo } }),
    );
    expect((await seen.answer("a")).result).toMatchObject({ protocolVersion });
  });

  it("goes to the translation at once when the server is known", async () => {
    let opened = 0;
    const direct = child("modern-only-server");
    const counted = {
      ...direct,
      isFull: false,
      open: (...args: Parameters<Upstream["open"]>) => ((opened += 1), direct.open(...args)),
    };
    const upstream = legacyFront(
      counted,
      createStatelessUpstream(child("modern-only-server"), { idleMs: 0, log }),
      { log },
    );
    open.push(upstream);
    await connect(upstream);
    await connect(upstream);
    expect(opened).toBe(1);
  });

  it("tells the server who the client is and what it can, without tasks", async () => {
    const { client } = await connect(front(), { capabilities: { ...everything, tasks: { list: {} } } });
    const envelope = JSON.parse((await tool(client, "whoami")) as string);
    expect(envelope).toMatchObject({
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
    });
    expect(Object.keys(envelope["io.modelcontextprotocol/clientCapabilities"]).toSorted()).toEqual([
      "elicitation",
      "roots",
      "sampling",
    ]);
  });

  it("carries tools, resources, templates, prompts and completions", async () => {
    const { client } = await connect();
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain("echo");
    expect(await tool(client, "echo", { text: "héllo 😀 \u2028" })).toBe("héllo 😀 \u2028");
    const uri = "modern://counter";
    expect((await client.listResources()).resources).toMatchObject([{ uri }]);
    expect((await client.readResource({ uri })).contents).toMatchObject([{ uri, text: "0" }]);
    expect((await client.listResourceTemplates()).resourceTemplates).toHaveLength(1);
    expect((await client.readResource({ uri: "modern://greeting/Ada" })).contents).toMatchObject([
      { text: "Hello, Ada!" },
    ]);
    expect((await client.listPrompts()).prompts).toMatchObject([{ name: "introduce" }]);
    const prompt = await client.getPrompt({ name: "introduce", arguments: { name: "Ada" } });
    expect(prompt.messages).toMatchObject([{ content: { text: "Introduce Ada." } }]);
    const ref = { type: "ref/prompt" as const, name: "introduce" };
    const { completion } = await client.complete({ ref, argument: { name: "name", value: "A" } });
    expect(completion.values).toEqual(["Ada", "Alan"]);
  });

  it("carries 4 MB each way", async () => {
    const { client } = await connect();
    const text = "é".repeat(2 << 20);
    expect((await tool(client, "echo", { text })) === text).toBe(true);
  });

  it("carries the server's errors with their codes", async () => {
    const { client } = await connect();
    await expect(client.readResource({ uri: "modern://none" })).rejects.toMatchObject({ code: -32602 });
    await expect(
      client.request({ method: "vendor/thing", params: {} }, ElicitRequestSchema),
    ).rejects.toMatchObject({
      code: -32601,
    });
  });

  it("makes structured content that is no object one, and leaves out its schema", async () => {
    const { client } = await connect();
    const wide = (await client.listTools()).tools.find(({ name }) => name === "wide");
    expect(wide?.outputSchema).toBeUndefined();
    expect(await client.callTool({ name: "wide" })).toMatchObject({
      structuredContent: { result: [1, 2, 3] },
    });
  });

  it("asks the client what the server asks for, in as many rounds as it takes", async () => {
    const { client } = await connect();
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      model: "m",
      role: "assistant",
      content: { type: "text", text: "something" },
    }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({
      roots: [{ uri: "file:///a" }, { uri: "file:///b" }],
    }));
    expect(await tool(client, "ask")).toBe("Ada / something / file:///a,file:///b");
  });

  it("sends a user to a page, with the id that older versions want", async () => {
    const { client } = await connect(front(), { capabilities: { elicitation: { url: {} } } });
    let asked: unknown;
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => ((asked = params), { action: "accept" }));
    expect(await tool(client, "ask-one", { url: "https://example.com/" })).toBe(
      '{"one":{"action":"accept"}}',
    );
    expect(asked).toMatchObject({
      mode: "url",
      url: "https://example.com/",
      elicitationId: expect.any(String),
    });
  });

  it("gives up after ten rounds", async () => {
    const { client } = await connect();
    let rounds = 0;
    client.setRequestHandler(ListRootsRequestSchema, () => ((rounds += 1), { roots: [] }));
    await expect(client.callTool({ name: "ask-for-ever" })).rejects.toThrow("10 rounds");
    expect(rounds).toBe(10);
  });

  it("repeats a call that needs nothing but to be repeated", async () => {
    const { client } = await connect();
    expect(await tool(client, "wait-a-round")).toBe("waited");
  });

  it("fails the call when the client does not answer what it is asked", async () => {
    const { client } = await connect();
    client.setRequestHandler(ElicitRequestSchema, () => Promise.reject(new Error("nobody is here")));
    const failed = client.callTool({ name: "ask-one" });
    await expect(failed).rejects.toMatchObject({ code: -32603, data: { reason: "upstream_cannot" } });
    await expect(failed).rejects.toThrow("nobody is here");
  });

  it("shows the server's own refusal to a client that cannot be asked", async () => {
    const { client } = await connect(front(), { capabilities: {} });
    await expect(client.callTool({ name: "ask-one" })).rejects.toMatchObject({ code: -32021 });
  });

  it("withdraws the question when the client cancels the call", async () => {
    const { client } = await connect();
    const gone = new AbortController();
    const withdrawn = new Promise((resolve) => {
      client.setRequestHandler(ElicitRequestSchema, (_, { signal }) => {
        signal.addEventListener("abort", resolve);
        gone.abort();
        return new Promise(() => undefined);
      });
    });
    await expect(client.callTool({ name: "ask-one" }, undefined, { signal: gone.signal })).rejects.toThrow();
    await withdrawn;
  });

  it("carries progress before the answer", async () => {
    const seen: { params?: { progress?: number } }[] = [];
    const watch = (way: "in" | "out", text: string) => way === "in" && seen.push(JSON.parse(text) as object);
    const { client } = await connect(front(), { watch });
    const onprogress = () => undefined;
    await client.callTool({ name: "progress", arguments: { steps: 20 } }, undefined, { onprogress });
    const steps = seen.slice(1).map(({ params }) => params?.progress);
    expect(steps).toEqual([...Array.from({ length: 20 }, (_, n) => n + 1), undefined]);
  });

  it("carries log messages from the level that the client has set, and none before", async () => {
    const { client } = await connect();
    const lines: unknown[] = [];
    client.setNotificationHandler(
      LoggingMessageNotificationSchema,
      ({ params }) => void lines.push(params.data),
    );
    await tool(client, "log");
    expect(lines).toEqual([]);
    await client.setLoggingLevel("error");
    await tool(client, "log");
    expect(lines).toEqual(["a line at error"]);
    await client.setLoggingLevel("info");
    await tool(client, "log");
    expect(lines).toEqual(["a line at error", "a line at info", "a line at error"]);
  });

  it("cancels at the server what the client cancels", async () => {
    const { client } = await connect();
    const gone = new AbortController();
    const hung = client.callTool({ name: "hang" }, undefined, {
      signal: gone.signal,
      onprogress: () => gone.abort(),
    });
    await expect(hung).rejects.toThrow();
    await expect.poll(() => tool(client, "cancellations")).toBe("1");
  });

  it("cancels at the server what a client that leaves has not been answered", async () => {
    const upstream = front();
    const { client } = await connect(upstream);
    await new Promise<void>((resolve) => {
      client.callTool({ name: "hang" }, undefined, { onprogress: () => resolve() }).catch(() => undefined);
    });
    await client.close();
    const { client: other } = await connect(upstream);
    await expect.poll(() => tool(other, "cancellations")).toBe("1");
  });

  it("tells the client when a list or a resource that it follows changes", async () => {
    const { client, errors } = await connect();
    const seen: string[] = [];
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void seen.push("tools"));
    client.setNotificationHandler(
      ResourceUpdatedNotificationSchema,
      ({ params }) => void seen.push(JSON.stringify(params)),
    );
    await tool(client, "bump");
    await client.subscribeResource({ uri: "modern://counter" });
    await tool(client, "bump");
    await expect.poll(() => seen).toEqual(['{"_meta":{},"uri":"modern://counter"}']);
    await tool(client, "grow");
    await expect.poll(() => seen.at(-1)).toBe("tools");
    await client.unsubscribeResource({ uri: "modern://counter" });
    await tool(client, "bump");
    await tool(client, "grow");
    await expect.poll(() => seen.slice(2)).toEqual(["tools"]);
    expect(errors).toEqual([]);
  });

  it("gives nothing to one who is paused, and then all of it", async () => {
    const upstream = front();
    const { client } = await connect(upstream);
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    link.pause();
    const claim = { [VERSION_KEY]: "2026-07-28", [CAPABILITIES_KEY]: {} };
    await link.send(
      encode({
        id: 1,
        method: "tools/call",
        params: { name: "echo", arguments: { text: "x" }, _meta: claim },
      }),
    );
    await link.send(call(2, "echo", { text: "y" }));
    await tool(client, "echo", { text: "a clock" });
    expect(seen.messages).toEqual([]);
    link.resume();
    await seen.answer(1);
    await seen.answer(2);
    await link.close();
  });

  it("refuses tasks, which are another thing in the other era", async () => {
    const { client } = await connect();
    expect(client.getServerCapabilities()).not.toHaveProperty("tasks");
    const asked = client.request({ method: "tasks/list", params: {} }, ElicitRequestSchema);
    await expect(asked).rejects.toMatchObject({ code: -32601, data: { reason: "upstream_cannot" } });
  });

  it("keeps what no double can hold, in requests, questions and answers", async () => {
    const big = "9007199254740993";
    const server = new ScriptedServer();
    const { seen, link } = await server.session();
    const call = `"method":"tools/call","params":{"arguments":{"n":${big}},"_meta":{"progressToken":${big}}}`;
    await link.send(Buffer.from(`{"jsonrpc":"2.0","id":${big},${call}}`));
    const first = server.requests.at(-1) as string;
    expect(first).toContain(`"id":${big}`);
    expect(first).toContain(`"arguments":{"n":${big}}`);
    expect(first).toContain(`"progressToken":${big},"io.modelcontextprotocol/protocolVersion":"2026-07-28"`);

    const asked = `{"a":{"method":"roots/list","params":{"n":${big}}}}`;
    server.answer(`{"resultType":"input_required","inputRequests":${asked},"requestState":"s\\u0000"}`);
    const question = seen.at(-1) as string;
    expect(question).toContain(`"params":{"n":${big}}`);
    const id = JSON.stringify((JSON.parse(question) as { id: string }).id);
    await link.send(Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{"roots":[${big}]}}`));
    await expect.poll(() => server.requests.at(-1)).toContain(`"inputResponses":{"a":{"roots":[${big}]}}`);
    const second = server.requests.at(-1) as string;
    expect(second).toContain('"requestState":"s\\u0000"');
    expect(second).toContain(`"arguments":{"n":${big}}`);
    expect(second).not.toContain(`"id":${big}`);

    server.answer(`{"resultType":"complete","n":${big}}`);
    expect(seen.at(-1)).toBe(`{"jsonrpc":"2.0","id":${big},"result":{"resultType":"complete","n":${big}}}`);
    await server.front.close();
  });

  it("opens its subscription again when that ends, and lets the client look for what it missed", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const server = new ScriptedServer();
      const { seen, link } = await server.session();
      await link.send(encode({ method: "notifications/initialized" }));
      await vi.waitFor(() => expect(server.requests.at(-1)).toContain("subscriptions/listen"));
      server.tell("notifications/subscriptions/acknowledged", { notifications: { toolsListChanged: true } });
      server.end();
      const before = server.requests.length;
      await vi.advanceTimersByTimeAsync(1000);
      expect(server.requests).toHaveLength(before + 1);
      expect(seen).toHaveLength(1);
      server.tell("notifications/subscriptions/acknowledged", { notifications: { toolsListChanged: true } });
      await vi.advanceTimersByTimeAsync(0);
      expect(seen.slice(1)).toEqual(['{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}']);
      await link.close();
    } finally {
      vi.useRealTimers();
    }
  });

  it("passes what a client of 2026-07-28 says in a session", async () => {
    const upstream = front();
    await connect(upstream);
    const modern = new ModernClient(
      { name: "modern", version: "1" },
      { capabilities: { roots: {} }, versionNegotiation: { mode: { pin: "2026-07-28" } } },
    );
    const seen: string[] = [];
    const watch = (way: "in" | "out", text: string) => way === "in" && seen.push(text);
    await modern.connect(sessionTransport(upstream, watch) as ModernTransport);
    modern.setRequestHandler("roots/list", () => ({ roots: [] }));
    await expect(modern.callTool({ name: "ask-for-ever" })).rejects.toThrow("rounds");
    expect(seen.at(-1)).toContain('"resultType":"input_required"');
    open.push(modern);
    const { content } = await modern.callTool({ name: "echo", arguments: { text: "x" } });
    expect(content).toMatchObject([{ text: "x" }]);
    const updates: string[] = [];
    modern.setNotificationHandler(
      "notifications/resources/updated",
      ({ params }) => void updates.push(params.uri),
    );
    const subscription = await modern.listen({ resourceSubscriptions: ["modern://counter"] });
    await modern.callTool({ name: "bump" });
    await expect.poll(() => updates).toEqual(["modern://counter"]);
    await subscription.close();
  });

  it("finds a server that learnt of sessions since", async () => {
    let isModern = true;
    let probes = 0;
    const young = createBuiltinUpstream({ name: "demo", createServer: () => createDemoServer(), log });
    const era = (modern: Upstream, legacy: Upstream): Upstream => ({
      name: "both",
      isFull: false,
      open: (events, signal) => (isModern ? modern : legacy).open(events, signal),
      close: async () => void (await Promise.all([modern.close(), legacy.close()])),
    });
    const none: Upstream = {
      ...refusing(),
      open: () => ((probes += 1), Promise.reject(new GatewayError("upstream_era"))),
    };
    const stateless = createStatelessUpstream(child("modern-only-server"), { idleMs: 0, log });
    const upstream = legacyFront(era(child("modern-only-server"), young), era(stateless, none), { log });
    open.push(upstream);
    expect((await connect(upstream)).client.getServerVersion()?.name).toBe("modern-only");
    isModern = false;
    expect((await connect(upstream)).client.getServerVersion()?.name).toBe("mcp-sse-gateway-demo");
    expect((await connect(upstream)).client.getServerVersion()?.name).toBe("mcp-sse-gateway-demo");
    expect(probes).toBe(1);
  });

  it("asks a server that did not take initialize at all in the other era", async () => {
    let closes = 0;
    const direct: Upstream = {
      ...refusing(),
      open: async () => ({
        send: () => Promise.reject(new GatewayError("upstream_unreachable")),
        pause: () => undefined,
        resume: () => undefined,
        close: async () => void (closes += 1),
      }),
    };
    const server = new ScriptedServer(direct);
    const { seen } = await server.session();
    expect(seen).toHaveLength(1);
    expect(closes).toBe(1);
  });

  it("leaves an empty result empty, which clients read strictly", async () => {
    const server = new ScriptedServer();
    const { seen, link } = await server.session();
    await link.send(encode({ id: 1, method: "vendor/thing" }));
    server.answer('{"resultType":"complete","_meta":{"a":1}}');
    expect(seen.at(-1)).toBe('{"jsonrpc":"2.0","id":1,"result":{"_meta":{"a":1}}}');
  });

  it("keeps tasks of the other era to itself", async () => {
    const { seen } = await new ScriptedServer().session(
      '{"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{},"vendor/x":{}}}',
    );
    expect(JSON.parse(seen[0] as string)).toMatchObject({ id: 0 });
    expect(seen[0]).toContain('"capabilities":{"extensions":{"vendor/x":{}}}');
  });

  it("leaves one subscription for the next, and is told by one of them at a time", async () => {
    const server = new ScriptedServer();
    const { seen, link } = await server.session('{"resources":{"subscribe":true}}');
    const follow = async (id: number, uri: string, uris: string[]) => {
      await link.send(encode({ id, method: "resources/subscribe", params: { uri } }));
      await vi.waitFor(() => expect(server.requests.at(-1)).toContain(JSON.stringify(uris)));
      server.tell("notifications/subscriptions/acknowledged", {
        notifications: { resourceSubscriptions: uris },
      });
      await vi.waitFor(() => expect(seen.at(-1)).toBe(`{"jsonrpc":"2.0","id":${id},"result":{}}`));
    };
    await follow(1, "test://a", ["test://a"]);
    const first = server.links.at(-1);
    await follow(2, "test://b", ["test://a", "test://b"]);
    expect(first?.closes).toBe(1);
    first?.events.onMessage(
      encode({ method: "notifications/resources/updated", params: { uri: "test://a" } }),
    );
    expect(seen.at(-1)).toContain('"id":2');
    server.tell("notifications/resources/updated", { uri: "test://a" });
    expect(seen.at(-1)).toContain("test://a");
    await link.close();
  });

  it("says so when the server does not tell the changes of a resource", async () => {
    const server = new ScriptedServer();
    const { seen, link } = await server.session('{"resources":{"subscribe":true}}');
    await link.send(encode({ id: 1, method: "resources/subscribe", params: { uri: "test://a" } }));
    await vi.waitFor(() => expect(server.requests.at(-1)).toContain("subscriptions/listen"));
    server.tell("notifications/subscriptions/acknowledged", { notifications: {} });
    await vi.waitFor(() => expect(seen.at(-1)).toContain('"code":-32601'));
    await link.close();
  });
});

/** A server of 2026-07-28 whose answers the test writes, and the front before it. */
class ScriptedServer {
  /** What it was sent. */
  readonly requests: string[] = [];
  readonly links: { events: LinkEvents; closes: number }[] = [];
  readonly front: Upstream;

  constructor(
    direct: Upstream = { ...refusing(), open: () => Promise.reject(new GatewayError("upstream_era")) },
  ) {
    const open: Upstream["open"] = async (events) => {
      const link = { events, closes: 0 };
      this.links.push(link);
      return {
        send: async (message) => void this.requests.push(message.toString()),
        pause: () => undefined,
        resume: () => undefined,
        close: async () => void (link.closes += 1),
      };
    };
    this.front = legacyFront(direct, { ...refusing(), open }, { log });
  }

  /** A session that is initialised, and what it is told. */
  async session(capabilities = '{"tools":{"listChanged":true}}') {
    const seen: string[] = [];
    const events = {
      onMessage: (message: Buffer) => void seen.push(message.toString()),
      onEnd: () => undefined,
    };
    const link = await this.front.open(events, never());
    const params = {
      protocolVersion: "2025-11-25",
      capabilities: { roots: {} },
      clientInfo: { name: "t", version: "1" },
    };
    const sent = link.send(encode({ id: 0, method: "initialize", params }));
    await vi.waitFor(() => expect(this.requests).toHaveLength(1));
    this.answer(`{"supportedVersions":["2026-07-28"],"capabilities":${capabilities}}`);
    await sent;
    return { seen, link };
  }

  /** Answers the last request. */
  answer(result: string): void {
    const id = /"id":("[^"]*"|[0-9]+)/.exec(this.requests.at(-1) as string)?.[1];
    this.#events.onMessage(Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":${result}}`));
  }

  /** A notification on the link that was opened last. */
  tell(method: string, params: Record<string, unknown>): void {
    this.#events.onMessage(encode({ method, params }));
  }

  end(): void {
    this.#events.onEnd("upstream_exited");
  }

  get #events(): LinkEvents {
    return (this.links.at(-1) as { events: LinkEvents }).events;
  }
}

describe("a client with sessions, a server with sessions", () => {
  it("gets the server's own answer, also when that is an error", async () => {
    const demo = () => createBuiltinUpstream({ name: "demo", createServer: () => createDemoServer(), log });
    const upstream = legacyFront(demo(), refusing(), { log });
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode({ id: 1, method: "initialize", params: {} }));
    expect((await seen.answer(1)).error).toBeDefined();
    const params = {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "t", version: "1" },
    };
    await link.send(encode({ id: 2, method: "initialize", params }));
    expect((await seen.answer(2)).result).toMatchObject({ protocolVersion: "2025-06-18" });
    await upstream.close();
    expect(seen.ends).toEqual(["closed"]);
  });
});

describe("a client with sessions, a server that refuses some of them", () => {
  const clientInfo = { name: "t", version: "1" };
  const initialize = (protocolVersion: string) => ({
    id: 1,
    method: "initialize",
    params: { protocolVersion, capabilities: {}, clientInfo },
  });
  type Refuse = (protocolVersion: unknown) => object | undefined;

  /** A server of both eras. Over its sessions it says that it is old, else that it is modern. */
  function serve(refuse: Refuse) {
    const era = { opened: 0, refuse };
    const answering = (answer: (message: Message) => object): Upstream => ({
      ...refusing(),
      open: async ({ onMessage }) => ({
        send: async (message) => {
          const request = JSON.parse(message.toString()) as Message;
          queueMicrotask(() =>
            onMessage(Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: request.id, ...answer(request) }))),
          );
        },
        pause: () => undefined,
        resume: () => undefined,
        close: async () => undefined,
      }),
    });
    const sessions = answering(({ params }) => {
      const error = era.refuse(params?.["protocolVersion"]);
      if (error !== undefined) return { error };
      const { protocolVersion } = params as { protocolVersion: string };
      return { result: { protocolVersion, capabilities: {}, serverInfo: { name: "old", version: "1" } } };
    });
    const discovery = {
      supportedVersions: ["2026-07-28"],
      capabilities: {},
      _meta: { "io.modelcontextprotocol/serverInfo": { name: "modern", version: "1" } },
    };
    const direct: Upstream = {
      ...sessions,
      open: (...args) => ((era.opened += 1), sessions.open(...args)),
    };
    const front = legacyFront(
      direct,
      answering(() => ({ result: discovery })),
      { log },
    );
    /** Who answers a session that asks for a version: the name of the server, or the code of its refusal. */
    const ask = async (protocolVersion = "2025-06-18") => {
      const seen = new Recorder();
      const link = await front.open(seen, never());
      await link.send(encode(initialize(protocolVersion)));
      const { result, error } = await seen.answer(1);
      await link.close();
      return error?.code ?? (result as { serverInfo: { name: string } }).serverInfo.name;
    };
    return { era, ask };
  }

  const odd =
    (error: object): Refuse =>
    (version) =>
      version === "2025-06-18" ? undefined : error;

  it("gets the server's own answer when that says nothing of an era", async () => {
    const { ask } = serve(odd({ code: -32602, message: "Unsupported protocol version" }));
    expect([await ask("2020-01-01"), await ask()]).toEqual([-32602, "old"]);
  });

  it.each([
    { code: -32601, message: "Method not found" },
    { code: -32022, message: "Unsupported protocol version" },
    { code: -32602, message: "Unsupported protocol version", data: { supported: ["2026-07-28"] } },
    { code: -32602, message: "params._meta must have io.modelcontextprotocol/protocolVersion" },
  ])("of an odd version is translated alone: $code $message", async (error) => {
    const { ask } = serve(odd(error));
    expect([await ask("2020-01-01"), await ask()]).toEqual(["modern", "old"]);
  });

  it("is translated alone where the server names versions with sessions", async () => {
    const supported = ["2026-07-28", "2025-06-18"];
    const { ask } = serve(odd({ code: -32022, message: "no", data: { supported } }));
    expect([await ask("2024-11-05"), await ask()]).toEqual(["modern", "old"]);
  });

  it.each([-32601, -32022])("is translated at once after a refusal of every session: %i", async (code) => {
    const { ask, era } = serve(() => ({ code, message: "no" }));
    expect([await ask(), await ask(), era.opened]).toEqual(["modern", "modern", 1]);
  });

  it("finds within ten minutes that sessions are not refused any more", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      const { ask, era } = serve(() => ({ code: -32601, message: "no" }));
      await ask();
      era.refuse = () => undefined;
      vi.advanceTimersByTime(599_000);
      expect(await ask()).toBe("modern");
      vi.advanceTimersByTime(2000);
      expect(await ask()).toBe("old");
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a client with sessions, a remote server of 2026-07-28 only", () => {
  it("is translated over HTTP, where the refusal comes with a status", async () => {
    const handler = createMcpHandler(
      () => {
        const mcp = new ModernServer({ name: "far", version: "1" }, {});
        mcp.registerTool("where", {}, ({ mcpReq }) => {
          if (mcpReq.inputResponses === undefined)
            return inputRequired({ inputRequests: { places: inputRequired.listRoots() } });
          return { content: [{ type: "text", text: JSON.stringify(mcpReq.inputResponses) }] };
        });
        return mcp;
      },
      { legacy: "reject" },
    );
    const handle = toNodeHandler(handler);
    const server = createServer((req, res) => void handle(req as never, res as never)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
    const remote = createRemoteUpstream({
      name: "far",
      url,
      headers: {},
      transport: "auto",
      maxMessageBytes: 1 << 20,
      log,
    });
    const upstream = legacyFront(remote, remote.stateless, { log });
    try {
      for (let session = 0; session < 2; session += 1) {
        const client = new Client({ name: "test", version: "1" }, { capabilities: { roots: {} } });
        client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///far" }] }));
        await client.connect(sessionTransport(upstream) as Transport);
        expect(client.getServerVersion()?.name).toBe("far");
        const { content } = await client.callTool({ name: "where" });
        expect(content).toMatchObject([{ text: '{"places":{"roots":[{"uri":"file:///far"}]}}' }]);
        await client.close();
      }
    } finally {
      await upstream.close();
      await remote.close();
      server.close();
      await handler.close();
    }
  });
});
