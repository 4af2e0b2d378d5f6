import { randomUUID } from "node:crypto";
import { Client } from "@modelcontextprotocol/client";
import type { Transport } from "@modelcontextprotocol/client";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import {
  McpError,
  SubscribeRequestSchema,
  UrlElicitationRequiredError,
} from "@modelcontextprotocol/sdk/types.js";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { type ModernFront, modernFront, type ModernFrontOptions } from "../../src/upstream/modern-front.ts";
import { createStatelessUpstream } from "../../src/upstream/stateless.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { statelessTransport } from "./link-transport.ts";
import { fixture } from "./processes.ts";
import { captureLog, encode, type Message, never, Recorder } from "./recorder.ts";

const { log } = captureLog();
const text = (words: string) => ({ content: [{ type: "text" as const, text: words }] });
const PAGE = "test://page";
const LOST = "test://lost";

/** Servers of 2025-11-25 with state in common, as those of one remote service have. */
class Service {
  readonly sessions = new Set<McpServer>();
  readonly heard: string[] = [];
  /** The messages that came over its sessions. */
  readonly sent: string[] = [];
  readonly names: unknown[] = [];
  cancelled = 0;
  opened = 0;

  create(): McpServer {
    this.opened += 1;
    const mcp = new McpServer(
      { name: "legacy", version: "1.0.0" },
      { capabilities: { logging: {}, resources: { subscribe: true }, tools: { listChanged: true } } },
    );
    const { server } = mcp;
    this.sessions.add(mcp);
    server.onclose = () => void this.sessions.delete(mcp);
    server.oninitialized = () => void this.names.push(server.getClientVersion()?.name);
    mcp.registerResource("page", PAGE, {}, () => ({ contents: [{ uri: PAGE, text: "a page" }] }));
    server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
      if (params.uri === PAGE) return {};
      throw new Error("there is no such page");
    });
    mcp.registerTool("touch", {}, async () => {
      for (const session of this.sessions) await session.server.sendResourceUpdated({ uri: PAGE });
      return text("touched");
    });
    mcp.registerTool("grow", {}, () => {
      for (const session of this.sessions) session.registerTool(randomUUID(), {}, () => text("new"));
      return text("grown");
    });
    mcp.registerTool("two-at-once", {}, async () => {
      const messages = [{ role: "user" as const, content: { type: "text" as const, text: "?" } }];
      const [{ content }, { roots }] = await Promise.all([
        server.createMessage({ messages, maxTokens: 1 }),
        server.listRoots(),
      ]);
      return text(`${(content as { text?: string }).text} / ${roots.map(({ uri }) => uri).join()}`);
    });
    mcp.registerTool("one-by-one", {}, async (extra) => {
      const names: unknown[] = [];
      for (let n = 1; n <= 3; n += 1) {
        const requestedSchema = {
          type: "object" as const,
          properties: { name: { type: "string" as const } },
        };
        const { content } = await server.elicitInput({ message: `Name ${n}?`, requestedSchema });
        names.push(content?.["name"]);
        const progressToken = extra._meta?.progressToken ?? 0;
        await extra.sendNotification({
          method: "notifications/progress",
          params: { progressToken, progress: n },
        });
      }
      return text(names.join());
    });
    mcp.registerTool("ask-roots", {}, async () => {
      const answer = await server.listRoots().catch((error: Error) => error.message);
      return text(JSON.stringify(answer));
    });
    mcp.registerTool("page-first", { inputSchema: { done: z.boolean().optional() } }, () => {
      if (this.heard.push("page-first") > 1) return text("been there");
      const page = { mode: "url" as const, message: "Go", url: "https://example.com/", elicitationId: "x" };
      throw new UrlElicitationRequiredError([page]);
    });
    mcp.registerTool("meta", {}, ({ _meta }) => text(JSON.stringify(_meta)));
    mcp.registerResource("lost", LOST, {}, () => {
      throw new McpError(-32002, "Resource not found");
    });
    mcp.registerTool("impatient", {}, async () => {
      await server.listRoots(undefined, { timeout: 20 }).catch(() => undefined);
      return text("did not wait");
    });
    mcp.registerTool("hang", {}, ({ signal, sendNotification, _meta }) => {
      const params = { progressToken: _meta?.progressToken ?? 0, progress: 1 };
      void sendNotification({ method: "notifications/progress", params });
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          this.cancelled += 1;
          resolve(text("hung"));
        });
      });
    });
    mcp.registerTool("log", {}, async () => {
      await mcp.sendLoggingMessage({ level: "info", data: "info line" });
      await mcp.sendLoggingMessage({ level: "error", data: "error line" });
      return text("logged");
    });
    mcp.registerTool("die", {}, async () => {
      await mcp.close();
      return text("dead");
    });
    return mcp;
  }
}

/** The same upstream, which keeps what is sent to it. */
const overheard = (upstream: Upstream, sent: string[]): Upstream => ({
  ...upstream,
  async open(events, signal) {
    const link = await upstream.open(events, signal);
    return {
      send: (message) => (sent.push(message.toString()), link.send(message)),
      pause: () => link.pause(),
      resume: () => link.resume(),
      close: () => link.close(),
    };
  },
});

type Connected = Awaited<ReturnType<typeof connectTo>>["client"];

async function connectTo(
  upstream: Upstream,
  capabilities: Record<string, object> = everything,
  name = "test",
) {
  const seen: string[] = [];
  const client = new Client(
    { name, version: "1" },
    { capabilities, versionNegotiation: { mode: { pin: "2026-07-28" } } },
  );
  const watch = (way: "in" | "out", message: string) => void (way === "in" && seen.push(message));
  await client.connect(statelessTransport(upstream, watch) as Transport);
  return { client, seen };
}

const everything = { sampling: {}, elicitation: { form: {}, url: {} }, roots: {} };

describe("a client of 2026-07-28, a server with sessions only", () => {
  const open: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of open.splice(0).toReversed()) await one.close();
  });

  function frontOf(
    createServer: () => McpServer,
    options: Partial<ModernFrontOptions> = {},
    sent: string[] = [],
  ): ModernFront {
    const server = () => createBuiltinUpstream({ name: "legacy", createServer, log });
    const stateless = createStatelessUpstream(server(), { idleMs: 1000, log });
    const upstream = modernFront(stateless, overheard(server(), sent), {
      answersDiscovery: true,
      maxLinks: 4,
      idleMs: 0,
      log,
      ...options,
    });
    open.push(upstream);
    return upstream;
  }

  function serve(options: Partial<ModernFrontOptions> = {}) {
    const service = new Service();
    return { service, upstream: frontOf(() => service.create(), options, service.sent) };
  }

  async function connect(upstream: Upstream, capabilities?: Record<string, object>, name?: string) {
    const connected = await connectTo(upstream, capabilities, name);
    open.push(connected.client);
    return connected;
  }

  const tool = async (client: Connected, name: string, args: Record<string, unknown> = {}) => {
    const { content } = await client.callTool({ name, arguments: args });
    return (content as { text?: string }[])[0]?.text;
  };

  const CLAIM = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": everything,
  };
  /** A request as it stands on the wire. */
  const raw = (
    method: string,
    params: Record<string, unknown> = {},
    meta: Record<string, unknown> = {},
  ): Message => ({
    id: "r",
    method,
    params: { ...params, _meta: { ...CLAIM, ...meta } },
  });
  async function ask(upstream: Upstream, request: Message): Promise<Message> {
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode(request));
    const answer = await seen.answer(request.id as string);
    await link.close();
    return answer;
  }

  it("answers server/discover with what the server says of itself, without tasks", async () => {
    const { client } = await connect(frontOf(() => createDemoServer()));
    expect(client.getServerVersion()).toMatchObject({ name: "mcp-sse-gateway-demo", title: "Demo" });
    expect(client.getInstructions()).toContain("MCP_SERVER_COMMAND");
    expect(client.getServerCapabilities()).toMatchObject({
      tools: {},
      resources: { subscribe: true },
      logging: {},
    });
  });

  it("leaves it unanswered where clients shall begin a session, and still serves who does not ask", async () => {
    const upstream = frontOf(() => createDemoServer(), { answersDiscovery: false });
    await expect(ask(upstream, raw("server/discover"))).rejects.toMatchObject({ reason: "upstream_era" });
    const { result } = await ask(upstream, raw("tools/call", { name: "echo", arguments: { text: "x" } }));
    expect(result).toMatchObject({ content: [{ text: "x" }], resultType: "complete" });
  });

  it("tells the whole of a discovery", async () => {
    const { result } = await ask(serve().upstream, raw("server/discover"));
    expect(result).toMatchObject({
      supportedVersions: ["2026-07-28"],
      resultType: "complete",
      ttlMs: 0,
      cacheScope: "private",
      _meta: { "io.modelcontextprotocol/serverInfo": { name: "legacy", version: "1.0.0" } },
    });
  });

  it("carries tools, resources, templates, prompts and completions", async () => {
    const { client } = await connect(frontOf(() => createDemoServer()));
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain("echo");
    expect(await tool(client, "echo", { text: "héllo 😀 \u2028" })).toBe("héllo 😀 \u2028");
    expect(await client.callTool({ name: "add", arguments: { a: 1, b: 2 } })).toMatchObject({
      structuredContent: { sum: 3 },
    });
    expect((await client.listResources()).resources).toMatchObject([{ uri: "demo://counter" }]);
    expect((await client.readResource({ uri: "demo://counter" })).contents).toMatchObject([{ text: "0" }]);
    expect((await client.listResourceTemplates()).resourceTemplates).toHaveLength(1);
    const prompt = await client.getPrompt({ name: "introduce", arguments: { name: "Ada" } });
    expect(prompt.messages).toHaveLength(1);
    const ref = { type: "ref/prompt" as const, name: "introduce" };
    expect(
      (await client.complete({ ref, argument: { name: "name", value: "A" } })).completion.values,
    ).toEqual(["Ada", "Alan"]);
  });

  it("carries 4 MB each way", async () => {
    const { client } = await connect(frontOf(() => createDemoServer()));
    const words = "é".repeat(2 << 20);
    expect((await tool(client, "echo", { text: words })) === words).toBe(true);
  });

  it("carries progress with the client's token, also after a round", async () => {
    const { upstream } = serve();
    const { client, seen } = await connect(upstream);
    client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: "n" } }));
    await client.callTool({ name: "one-by-one" }, { onprogress: () => undefined });
    const messages = seen.map((message) => JSON.parse(message) as Message);
    const rounds = messages.slice(-7).map(({ id, params }) => id ?? params?.["progressToken"]);
    expect(rounds.slice(1)).toEqual([1, 1, 2, 2, 3, 3]);
    expect(messages.flatMap(({ params }) => params?.["progress"] ?? [])).toEqual([1, 2, 3]);
  });

  it("uses one link again for requests that follow each other", async () => {
    const { service, upstream } = serve();
    const { client } = await connect(upstream);
    const before = service.opened;
    for (let n = 0; n < 5; n += 1) await client.listTools();
    expect(service.opened).toBe(before);
    expect(service.names).toContain("test");
  });

  it("hides the era from the server, and nothing else", async () => {
    const answer = await ask(
      serve().upstream,
      raw("tools/call", { name: "meta" }, { traceparent: "t", progressToken: 7 }),
    );
    expect(answer.result?.content?.[0]?.text).toBe('{"traceparent":"t","progressToken":7}');
  });

  it("gives clients of other names or capabilities other links", async () => {
    const { service, upstream } = serve();
    const clients = [
      (await connect(upstream, {}, "a")).client,
      (await connect(upstream, {}, "b")).client,
      (await connect(upstream, { roots: {} }, "b")).client,
    ];
    for (const client of clients) await client.listTools();
    expect(service.names).toEqual(["a", "b", "b"]);
  });

  it("ISO gives callers links of their own, and to none the calls of another", async () => {
    const { service, upstream } = serve();
    const [alice, bob] = [upstream.ofCaller("alice"), upstream.ofCaller("bob")];
    await ask(alice, raw("tools/list"));
    await ask(bob, raw("tools/list"));
    await ask(alice, raw("tools/list"));
    expect(service.names).toHaveLength(2);
    const { result } = await ask(alice, raw("tools/call", { name: "ask-roots" }));
    const inputResponses = { "ask-1": { roots: [] } };
    const params = { name: "ask-roots", inputResponses, requestState: result?.["requestState"] };
    expect((await ask(bob, raw("tools/call", params))).error?.code).toBe(-32602);
    expect((await ask(alice, raw("tools/call", params))).result).toMatchObject({ resultType: "complete" });
  });

  it("gives nothing to one who is paused, and then all of it", async () => {
    const { upstream } = serve();
    const other = new Recorder();
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    link.pause();
    await link.send(encode(raw("tools/call", { name: "touch" })));
    const clock = await upstream.open(other, never());
    await clock.send(encode(raw("tools/list")));
    await other.answer("r");
    expect(seen.messages).toEqual([]);
    link.resume();
    expect((await seen.answer("r")).result?.content?.[0]?.text).toBe("touched");
  });

  it("asks the client at once what the server asks at once", async () => {
    const { upstream } = serve();
    const { client, seen } = await connect(upstream);
    client.setRequestHandler("sampling/createMessage", () => ({
      model: "m",
      role: "assistant",
      content: { type: "text", text: "said" },
    }));
    client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///r" }] }));
    expect(await tool(client, "two-at-once")).toBe("said / file:///r");
    expect(seen.filter((message) => message.includes('"input_required"'))).toHaveLength(1);
  });

  it("asks in as many rounds as the server asks, on the one call", async () => {
    const { service, upstream } = serve();
    const { client, seen } = await connect(upstream);
    const before = service.opened;
    let n = 0;
    client.setRequestHandler("elicitation/create", () => ({
      action: "accept",
      content: { name: `n${(n += 1)}` },
    }));
    expect(await tool(client, "one-by-one")).toBe("n1,n2,n3");
    expect(seen.filter((message) => message.includes('"input_required"'))).toHaveLength(3);
    expect(service.opened).toBe(before);
  });

  it("tells the server when the client offers nothing of the kind, and goes on", async () => {
    const { client } = await connect(serve().upstream, { sampling: {} });
    expect(await tool(client, "ask-roots")).toContain("roots");
  });

  it("takes back the answer only with the state that it was asked with, once, for the same request", async () => {
    const { upstream } = serve();
    const call = { name: "ask-roots", arguments: {} };
    const first = await ask(upstream, raw("tools/call", call));
    const { requestState, inputRequests } = first.result as { requestState: string; inputRequests: object };
    const inputResponses = Object.fromEntries(
      Object.keys(inputRequests).map((key) => [key, { roots: [{ uri: "file:///here" }] }]),
    );
    const again = (params: Record<string, unknown>) =>
      ask(upstream, raw("tools/call", { ...params, inputResponses }));
    const foreign = await again({ ...call, requestState: `${requestState.slice(0, -1)}_` });
    expect(foreign.error).toMatchObject({
      code: -32602,
      message: expect.stringContaining("another instance"),
    });
    expect((await again({ ...call, name: "touch", requestState })).error?.code).toBe(-32602);
    expect((await again({ ...call, arguments: { x: 1 }, requestState })).error?.code).toBe(-32602);
    const whole = await again({ ...call, requestState });
    expect(whole.result?.content?.[0]?.text).toContain("file:///here");
    expect((await again({ ...call, requestState })).error?.code).toBe(-32602);
  });

  it("asks again for what the client left out", async () => {
    const { upstream } = serve();
    const call = { name: "ask-roots", arguments: {} };
    const first = (await ask(upstream, raw("tools/call", call))).result;
    const second = (
      await ask(upstream, raw("tools/call", { ...call, requestState: first?.["requestState"] }))
    ).result;
    expect(second).toMatchObject({ resultType: "input_required", inputRequests: first?.["inputRequests"] });
    expect(second?.["requestState"]).not.toBe(first?.["requestState"]);
  });

  it("forgets a call whose client does not come back, and frees its link", async () => {
    const { upstream, service } = serve({ parkMs: 20, maxLinks: 1 });
    const call = { name: "ask-roots", arguments: {} };
    const { result } = await ask(upstream, raw("tools/call", call));
    await expect.poll(() => service.sessions.size).toBe(0);
    const late = await ask(upstream, raw("tools/call", { ...call, requestState: result?.["requestState"] }));
    expect(late.error?.code).toBe(-32602);
  });

  /** A call that the client leaves waiting, and what the client then does with its state. */
  async function leaveWaiting(upstream: Upstream) {
    const { result } = await ask(upstream, raw("tools/call", { name: "ask-roots" }));
    const inputResponses = { "ask-1": { roots: [] } };
    const params = { name: "ask-roots", inputResponses, requestState: result?.["requestState"] };
    return { goOn: () => ask(upstream, raw("tools/call", params)) };
  }

  async function hang(upstream: Upstream) {
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode(raw("tools/call", { name: "hang" }, { progressToken: 1 })));
    await seen.notification("notifications/progress");
    return link;
  }

  it("gives up the oldest call of a caller that leaves more waiting than its share", async () => {
    const { upstream, service } = serve({ maxLinks: 4 });
    const alice = upstream.ofCaller("alice");
    const calls = [await leaveWaiting(alice), await leaveWaiting(alice), await leaveWaiting(alice)];
    expect(service.sent.filter((message) => message.includes("notifications/cancelled"))).toHaveLength(1);
    expect(service.sessions.size).toBe(2);
    const answers: Message[] = [];
    for (const { goOn } of calls) answers.push(await goOn());
    expect(answers.map(({ error, result }) => error?.code ?? result?.["resultType"])).toEqual([
      -32602,
      "complete",
      "complete",
    ]);
  });

  it("goes on with a call whose client is back, however many others need its link", async () => {
    const { upstream } = serve({ maxLinks: 2 });
    const alice = upstream.ofCaller("alice");
    const { goOn } = await leaveWaiting(alice);
    const [back, other] = await Promise.allSettled([goOn(), leaveWaiting(alice)]);
    expect(back).toMatchObject({ value: { result: { resultType: "complete" } } });
    expect(other).toMatchObject({ reason: { reason: "upstream_queue_full" } });
  });

  it("gives everyone a link, whatever others have left waiting", async () => {
    const { upstream } = serve({ maxLinks: 4 });
    const [alice, bob, carol] = ["alice", "bob", "carol"].map((name) => upstream.ofCaller(name)) as [
      Upstream,
      Upstream,
      Upstream,
    ];
    const first = await leaveWaiting(carol);
    for (const caller of [alice, bob]) for (let n = 0; n < 6; n += 1) await leaveWaiting(caller);
    expect((await first.goOn()).result).toMatchObject({ resultType: "complete" });
    for (const name of ["carol", "dave", "erin"]) {
      const { result } = await ask(upstream.ofCaller(name), raw("tools/list"));
      expect(result).toMatchObject({ resultType: "complete" });
    }
  });

  it("leaves half of the links to others when the calls of one caller are all at work", async () => {
    const { upstream, service } = serve({ maxLinks: 4 });
    const [alice, bob] = [upstream.ofCaller("alice"), upstream.ofCaller("bob")];
    const links = [await hang(alice), await hang(alice)];
    await expect(ask(alice, raw("tools/list"))).rejects.toMatchObject({ reason: "upstream_queue_full" });
    links.push(await hang(bob), await hang(bob));
    expect(service.cancelled).toBe(0);
    await Promise.all(links.map((link) => link.close()));
  });

  it("keeps the answer of a server that did not wait for the client", async () => {
    const { upstream } = serve();
    const { client } = await connect(upstream);
    client.setRequestHandler("roots/list", async () => {
      await new Promise((resolve) => setTimeout(resolve, 60));
      return { roots: [] };
    });
    expect(await tool(client, "impatient")).toBe("did not wait");
  });

  it("sends the user to the page that an earlier version answers with, and repeats the call", async () => {
    const { client } = await connect(serve().upstream);
    const pages: unknown[] = [];
    client.setRequestHandler("elicitation/create", ({ params }) => {
      pages.push(params);
      return { action: "accept" };
    });
    expect(await tool(client, "page-first")).toBe("been there");
    expect(pages).toMatchObject([{ mode: "url", url: "https://example.com/" }]);
  });

  it("does not send a user who declined to the page again", async () => {
    const { client } = await connect(serve().upstream);
    client.setRequestHandler("elicitation/create", () => ({ action: "decline" }));
    await expect(client.callTool({ name: "page-first" })).rejects.toMatchObject({ code: -32603 });
  });

  it("refuses a request when every link is in use", async () => {
    const { upstream } = serve({ maxLinks: 1 });
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode(raw("tools/call", { name: "hang" }, { progressToken: 1 })));
    await seen.notification("notifications/progress");
    const other = await upstream.open(new Recorder(), never());
    const refused = other.send(encode(raw("tools/list")));
    await expect(refused).rejects.toMatchObject({ reason: "upstream_queue_full" });
    await link.close();
    await expect(ask(upstream, raw("tools/list"))).resolves.toMatchObject({
      result: { resultType: "complete" },
    });
  });

  it("makes room for another client by closing an idle link", async () => {
    const { upstream, service } = serve({ maxLinks: 1 });
    await connect(upstream, {}, "a");
    const { client: b } = await connect(upstream, {}, "b");
    await b.listTools();
    expect(service.names).toEqual(["a", "b"]);
    expect(
      [...service.sessions].filter(({ server }) => server.getClientVersion() !== undefined),
    ).toHaveLength(1);
  });

  it("closes a link that was idle for long", async () => {
    const { upstream, service } = serve({ idleMs: 20 });
    const { client } = await connect(upstream);
    await client.listTools();
    await expect
      .poll(
        () => [...service.sessions].filter(({ server }) => server.getClientVersion() !== undefined).length,
      )
      .toBe(0);
    await client.listTools();
  });

  it("cancels at the server when the client goes, and uses that link no more", async () => {
    const { upstream, service } = serve();
    const { client } = await connect(upstream);
    const gone = new AbortController();
    const call = client.callTool({ name: "hang" }, { signal: gone.signal, onprogress: () => gone.abort() });
    await expect(call).rejects.toThrow();
    await expect.poll(() => service.cancelled).toBe(1);
    const before = service.opened;
    await client.listTools();
    expect(service.opened).toBe(before + 1);
  });

  it("carries log messages to a request that wants them, from its level on", async () => {
    const { upstream } = serve();
    const lines = async (level?: string) => {
      const seen = new Recorder();
      const link = await upstream.open(seen, never());
      const meta = level === undefined ? {} : { "io.modelcontextprotocol/logLevel": level };
      await link.send(encode(raw("tools/call", { name: "log" }, meta)));
      await seen.answer("r");
      await link.close();
      return seen.messages.flatMap(({ params }) => (params ? [params["data"]] : []));
    };
    expect(await lines("error")).toEqual(["error line"]);
    expect(await lines()).toEqual([]);
    expect(await lines("info")).toEqual(["info line", "error line"]);
  });

  it("tells a client that listens what it wants to know, the acknowledgement first", async () => {
    const { upstream } = serve();
    const { client, seen } = await connect(upstream);
    const { client: other } = await connect(upstream, {}, "other");
    const told: string[] = [];
    client.setNotificationHandler(
      "notifications/resources/updated",
      ({ params }) => void told.push(params.uri),
    );
    client.setNotificationHandler("notifications/tools/list_changed", () => void told.push("tools"));
    const subscription = await client.listen({
      toolsListChanged: true,
      promptsListChanged: true,
      resourceSubscriptions: [PAGE, "test://none"],
    });
    expect(subscription.honoredFilter).toEqual({ toolsListChanged: true, resourceSubscriptions: [PAGE] });
    await tool(other, "touch");
    await tool(other, "grow");
    await expect.poll(() => told).toEqual([PAGE, "tools"]);
    expect(seen.at(-1)).toContain('"io.modelcontextprotocol/subscriptionId":"listen:');
    await subscription.close();
    await tool(other, "touch");
    expect(told).toHaveLength(2);
  });

  it("tells a client that listens nothing else", async () => {
    const { upstream } = serve();
    const { client: other } = await connect(upstream, {}, "other");
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(
      encode(raw("subscriptions/listen", { notifications: { resourceSubscriptions: [PAGE] } })),
    );
    await tool(other, "grow");
    await tool(other, "touch");
    await seen.notification("notifications/resources/updated");
    expect(seen.messages.map(({ method }) => method)).toEqual([
      "notifications/subscriptions/acknowledged",
      "notifications/resources/updated",
    ]);
    await link.close();
  });

  it("ends a subscription to nothing", async () => {
    const { upstream } = serve();
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode(raw("subscriptions/listen", { notifications: {} })));
    await seen.answer("r");
    expect(seen.messages).toMatchObject([
      { method: "notifications/subscriptions/acknowledged", params: { notifications: {} } },
      { result: { resultType: "complete", _meta: { "io.modelcontextprotocol/subscriptionId": "r" } } },
    ]);
    await link.close();
  });

  it.each(["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/get"])(
    "knows no %s in this era",
    async (method) => {
      expect((await ask(serve().upstream, raw(method))).error?.code).toBe(-32601);
    },
  );

  it("answers with an error when the server ends", async () => {
    const { upstream } = serve();
    expect((await ask(upstream, raw("tools/call", { name: "die" }))).error).toMatchObject({
      code: -32603,
      data: { reason: "upstream_exited" },
    });
    expect((await ask(upstream, raw("tools/list"))).result).toBeDefined();
  });

  it("tells of a resource that there is not with the code of the era", async () => {
    const { upstream } = serve();
    expect((await ask(upstream, raw("resources/read", { uri: LOST }))).error?.code).toBe(-32602);
  });

  it("ends its links when it is closed, and opens no more", async () => {
    const { upstream, service } = serve();
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(encode(raw("tools/call", { name: "hang" }, { progressToken: 1 })));
    await seen.notification("notifications/progress");
    await Promise.all([upstream.close(), upstream.close()]);
    expect(seen.ends).toEqual(["closed"]);
    expect(service.sessions.size).toBe(0);
    await expect(upstream.open(new Recorder(), never())).rejects.toMatchObject({
      reason: "upstream_start_failed",
    });
  });
});

describe("a client of 2026-07-28, a server of 2026-07-28", () => {
  it("gets the server itself", async () => {
    const child = createStdioUpstream({
      name: "modern",
      ...fixture("modern-only-server"),
      maxLineBytes: 1 << 20,
      log,
    });
    const direct: Upstream = {
      name: "none",
      isFull: false,
      open: () => Promise.reject(new Error("no session was expected")),
      close: async () => undefined,
    };
    const stateless = createStatelessUpstream(child, { idleMs: 0, log });
    const upstream = modernFront(stateless, direct, { answersDiscovery: true, maxLinks: 1, idleMs: 0, log });
    const { client } = await connectTo(upstream);
    expect((await client.callTool({ name: "echo", arguments: { text: "x" } })).content).toMatchObject([
      { text: "x" },
    ]);
    await client.close();
    await upstream.close();
  });
});
