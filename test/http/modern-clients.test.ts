import { Client, StreamableHTTPClientTransport, type ClientOptions } from "@modelcontextprotocol/client";
import { McpServer as McpServerV1 } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  acceptedContent,
  createMcpHandler,
  fromJsonSchema,
  inputRequired,
  McpServer,
  type McpHttpHandler,
} from "@modelcontextprotocol/server";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import {
  headersOf,
  META,
  openStage,
  readEvents,
  request,
  ScriptedServer,
  sdkUpstream,
  type Stage,
} from "./modern-stage.ts";

const NAME = "天気 ☂ \u{1f327}";
const URI = "test://city/rain";

let handler: McpHttpHandler;
let upstream: ReturnType<typeof sdkUpstream>;
let stage: Stage;
let clients: Client[] = [];
let aborted = 0;

function createServer(): McpServer {
  const server = new McpServer(
    { name: "modern", version: "1" },
    { capabilities: { logging: {}, tools: { listChanged: true }, resources: { subscribe: true } } },
  );
  const inputSchema = fromJsonSchema<Record<string, unknown>>({ type: "object" });
  server.registerTool("echo", { inputSchema }, (input) => ({
    content: [{ type: "text", text: JSON.stringify(input) }],
  }));
  server.registerTool("counts", { inputSchema }, async (_input, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken as number;
    for (const progress of [1, 2])
      await mcpReq.notify({
        method: "notifications/progress",
        params: { progressToken, progress, total: 2 },
      });
    return { content: [{ type: "text", text: "counted" }] };
  });
  server.registerTool("waits", { inputSchema }, async (_input, { mcpReq }) => {
    await new Promise((resolve) => mcpReq.signal.addEventListener("abort", resolve));
    aborted += 1;
    return { content: [] };
  });
  server.registerTool("asks", { inputSchema }, (_input, { mcpReq }) => {
    const answer = acceptedContent<{ name: string }>(mcpReq.inputResponses, "who");
    if (answer !== undefined) return { content: [{ type: "text", text: `Hello ${answer.name}` }] };
    return inputRequired({
      inputRequests: {
        who: inputRequired.elicit({
          message: "Who?",
          requestedSchema: { type: "object", properties: { name: { type: "string" } } },
        }),
      },
    });
  });
  server.registerPrompt(NAME, {}, () => ({ messages: [] }));
  server.registerResource("city", URI, {}, () => ({ contents: [{ uri: URI, text: "rain" }] }));
  return server;
}

beforeEach(async () => {
  aborted = 0;
  handler = createMcpHandler(createServer, { legacy: "reject" });
  upstream = sdkUpstream(handler);
  stage = await openStage(upstream);
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  await stage.close();
  await handler.close();
});

async function connect(mode: "auto" | { pin: string }, options: ClientOptions = {}): Promise<Client> {
  const client = new Client({ name: "test", version: "1" }, { ...options, versionNegotiation: { mode } });
  clients.push(client);
  await client.connect(new StreamableHTTPClientTransport(new URL(stage.url)));
  return client;
}

describe.each(["auto", { pin: "2026-07-28" }] as const)("the SDK's client, %j", (mode) => {
  it("connects, lists, calls and reads, in any script", async () => {
    const client = await connect(mode);
    expect(client.getNegotiatedProtocolVersion()).toBe("2026-07-28");
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain("echo");
    const called = await client.callTool({ name: "echo", arguments: { text: "é ☂" } });
    expect(called.content).toEqual([{ type: "text", text: '{"text":"é ☂"}' }]);
    expect((await client.getPrompt({ name: NAME })).messages).toEqual([]);
    expect((await client.readResource({ uri: URI })).contents).toMatchObject([{ text: "rain" }]);
  });

  it("hears of progress before the answer", async () => {
    const client = await connect(mode);
    const heard: number[] = [];
    const onprogress = ({ progress }: { progress: number }) => void heard.push(progress);
    const called = await client.callTool({ name: "counts", arguments: {} }, { onprogress });
    expect([heard, called.content]).toEqual([[1, 2], [{ type: "text", text: "counted" }]]);
  });

  it("cancels at the server", async () => {
    const client = await connect(mode);
    const controller = new AbortController();
    const called = client.callTool({ name: "waits", arguments: {} }, { signal: controller.signal });
    await eventually(() => stage.door.inFlight === 1);
    controller.abort();
    await expect(called).rejects.toThrow();
    await eventually(() => aborted === 1 && stage.door.inFlight === 0);
  });

  it("answers what a server asks, round by round", async () => {
    const client = await connect(mode, { capabilities: { elicitation: {} } });
    client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: "Ada" } }));
    const called = await client.callTool({ name: "asks", arguments: {} });
    expect(called.content).toEqual([{ type: "text", text: "Hello Ada" }]);
  });

  it("listens, hears what changes, and leaves", async () => {
    const client = await connect(mode);
    let changes = 0;
    client.setNotificationHandler("notifications/tools/list_changed", () => void (changes += 1));
    const subscription = await client.listen({ toolsListChanged: true });
    handler.notify.toolsChanged();
    await eventually(() => expect(changes).toBe(1));
    await subscription.close();
    await eventually(() => expect([upstream.cancelled, stage.door.inFlight]).toEqual([1, 0]));
  });

  it("learns that its subscription ended when the instance drains", async () => {
    const client = await connect(mode);
    const subscription = await client.listen({ toolsListChanged: true });
    await stage.door.drain(new AbortController().signal);
    expect(await subscription.closed).toBe("remote");
  });
});

it("a client of both eras falls back to initialize when the server behind has only that", async () => {
  await stage.close();
  const legacyOnly = new ScriptedServer();
  legacyOnly.refusal = new GatewayError("upstream_era");
  stage = await openStage(legacyOnly, {
    legacy: async (req, res, body) => {
      const server = new McpServerV1({ name: "legacy", version: "1" });
      server.registerTool("old", {}, () => ({ content: [] }));
      const transport = new StreamableHTTPServerTransport();
      await server.connect(transport as Transport);
      await transport.handleRequest(req, res, body);
    },
  });
  const client = await connect("auto");
  expect(client.getNegotiatedProtocolVersion()).toBe("2025-11-25");
  expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["old"]);
  expect(legacyOnly.signals).toHaveLength(1);
});

describe("beside the SDK's own door", () => {
  const direct = (body: string, headers: Record<string, string>) =>
    handler.fetch(
      new Request("http://direct/mcp", {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body,
      }),
    );
  const outcome = async (response: Response) => {
    const type = response.headers.get("content-type")?.split(";")[0];
    const text = await response.text();
    const { id, error, result } = type === "application/json" ? JSON.parse(text) : {};
    return { status: response.status, type, id, code: error?.code, result };
  };

  it.each([
    request("server/discover"),
    request("tools/list"),
    request("tools/call", { name: "echo", arguments: {} }),
    request("prompts/get", { name: NAME }),
    request("tools/call", { name: "counts", arguments: {} }, "a"),
    request("tools/call", { name: "none", arguments: {} }),
    request("tools/call", { name: "asks", arguments: {} }),
    request("resources/read", { uri: "test://none" }),
    request("tools/list", { cursor: 7 }),
    ...["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"].map((method) =>
      request(method),
    ),
    request("subscriptions/listen"),
    JSON.stringify({ jsonrpc: "2.0", method: "notifications/vendor", params: { _meta: META } }),
  ])("%s is answered the same", async (body) => {
    expect(await outcome(await stage.post(body))).toEqual(await outcome(await direct(body, headersOf(body))));
  });

  it("streams the same messages", async () => {
    const body = request("tools/call", { name: "counts", arguments: {} });
    const [ours, theirs] = [await stage.post(body), await direct(body, headersOf(body))].map(readEvents);
    await Promise.all([ours?.ended, theirs?.ended]);
    expect(ours?.messages).toHaveLength(3);
    expect(ours?.messages).toEqual(theirs?.messages);
  });
});
