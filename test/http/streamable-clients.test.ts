import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";

/** What the stories need of either SDK's client, which names its own things otherwise. */
interface Told {
  updated: string[];
  logged: unknown[];
  errors: Error[];
  /** Methods of its HTTP requests. */
  requests: string[];
}

type Ask = "sampling" | "elicitation" | "neither";

const SAMPLED = { role: "assistant" as const, model: "m", content: { type: "text" as const, text: "42" } };
const ELICITED = { action: "accept" as const, content: { answer: "Ada" } };
const INFO = { name: "story", version: "1.0.0" };

const capabilitiesFor = (ask: Ask) =>
  ask === "neither" ? {} : { [ask]: ask === "elicitation" ? { form: {} } : {} };

async function connect(sdk: "v1" | "v2", baseUrl: string, { ask = "neither" as Ask, path = "/mcp" } = {}) {
  const told: Told = { updated: [], logged: [], errors: [], requests: [] };
  const counting = (input: string | URL, init?: RequestInit) => {
    told.requests.push(init?.method ?? "GET");
    return fetch(input, init);
  };
  const options = { requestInit: { headers: { "X-API-Key": KEY } }, fetch: counting as typeof fetch };
  const url = new URL(path, baseUrl);
  const capabilities = capabilitiesFor(ask);
  if (sdk === "v1") {
    const client = new ClientV1(INFO, { capabilities });
    client.onerror = (error) => told.errors.push(error);
    if (ask === "sampling") client.setRequestHandler(CreateMessageRequestSchema, () => SAMPLED);
    if (ask === "elicitation") client.setRequestHandler(ElicitRequestSchema, () => ELICITED);
    client.setNotificationHandler(
      ResourceUpdatedNotificationSchema,
      ({ params }) => void told.updated.push(params.uri),
    );
    client.setNotificationHandler(
      LoggingMessageNotificationSchema,
      ({ params }) => void told.logged.push(params.data),
    );
    const transport = new TransportV1(url, options);
    await client.connect(transport as Parameters<typeof client.connect>[0]);
    return { client, transport, told };
  }
  const client = new ClientV2(INFO, { capabilities });
  client.onerror = (error) => told.errors.push(error);
  if (ask === "sampling") client.setRequestHandler("sampling/createMessage", () => SAMPLED);
  if (ask === "elicitation") client.setRequestHandler("elicitation/create", () => ELICITED);
  client.setNotificationHandler(
    "notifications/resources/updated",
    ({ params }) => void told.updated.push(params.uri),
  );
  client.setNotificationHandler("notifications/message", ({ params }) => void told.logged.push(params.data));
  const transport = new TransportV2(url, options);
  await client.connect(transport);
  return { client: client as unknown as ClientV1, transport, told };
}

describe.each(["v1", "v2"] as const)("an SDK client %s", (sdk) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway();
  });
  afterAll(() => gateway.close());

  it.each(["/mcp", "/mcp/sse", "/servers/default/mcp"])(
    "calls tools at %s, and ends its session",
    async (path) => {
      const { client, transport, told } = await connect(sdk, gateway.url, { path });
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toContain("echo");
      const calls = Array.from({ length: 20 }, (_, n) =>
        client.callTool({ name: "echo", arguments: { text: `no ${n} é🔑` } }),
      );
      expect((await Promise.all(calls)).map(({ content }) => content)).toEqual(
        Array.from({ length: 20 }, (_, n) => [{ type: "text", text: `no ${n} é🔑` }]),
      );
      expect(await client.callTool({ name: "nope", arguments: {} })).toMatchObject({ isError: true });
      await transport.terminateSession();
      await client.close();
      expect(told.errors).toEqual([]);
      expect(await (await fetch(`${gateway.url}/health/ready`)).json()).toMatchObject({ sessions: 0 });
    },
  );

  it("hears of progress before the answer", async () => {
    const { client, told } = await connect(sdk, gateway.url);
    const steps: number[] = [];
    const call = { name: "slow", arguments: { seconds: 0.3, steps: 3 } };
    const onprogress = ({ progress }: { progress: number }) => void steps.push(progress);
    await client.callTool(call, ...([sdk === "v1" ? undefined : { onprogress }, { onprogress }] as never[]));
    expect(steps).toEqual([1, 2, 3]);
    expect(told.errors).toEqual([]);
    await client.close();
  });

  it.each([
    ["sampling", "The model m answers: 42"],
    ["elicitation", "The user answers: Ada"],
    ["neither", "This client offers neither"],
  ] as [Ask, string][])("is asked back by %s", async (ask, said) => {
    const { client, told } = await connect(sdk, gateway.url, { ask });
    const { content } = await client.callTool({ name: "ask", arguments: { question: "?" } });
    expect(content).toMatchObject([{ text: expect.stringContaining(said) }]);
    expect(told.errors).toEqual([]);
    await client.close();
  });

  it("hears of a resource that it subscribed to, and of no other level than it set", async () => {
    const { client, told } = await connect(sdk, gateway.url);
    await client.subscribeResource({ uri: "demo://counter" });
    await client.setLoggingLevel("warning");
    await client.callTool({ name: "bump", arguments: {} });
    await client.callTool({ name: "log", arguments: { level: "info", text: "low" } });
    await client.callTool({ name: "log", arguments: { level: "error", text: "high" } });
    await eventually(() => told.updated.length === 1 && told.logged.length === 1);
    expect([told.updated, told.logged]).toEqual([["demo://counter"], ["high"]]);
    await client.unsubscribeResource({ uri: "demo://counter" });
    await client.callTool({ name: "bump", arguments: {} });
    expect((await client.readResource({ uri: "demo://counter" })).contents).toMatchObject([{ text: "2" }]);
    expect(told.updated).toHaveLength(1);
    await client.close();
  });

  it("that cancels a call comes again for its answer once at most", async () => {
    const { client, told } = await connect(sdk, gateway.url);
    const cancel = new AbortController();
    const slow = { name: "slow", arguments: { seconds: 60, steps: 1 } };
    const options = { signal: cancel.signal };
    const cancelled = client
      .callTool(slow, ...([sdk === "v1" ? undefined : options, options] as never[]))
      .catch((error: Error) => error);
    // Its stream has begun when the client knows how to come again.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = told.requests.length;
    cancel.abort();
    expect(await cancelled).toBeInstanceOf(Error);
    // It comes again after a second or two, and would once more after as long.
    await eventually(() => told.requests.slice(before).includes("GET"));
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(told.requests.slice(before)).toEqual(["POST", "GET"]);
    expect(told.errors).toEqual([]);
    expect(await client.ping()).toEqual({});
    await client.close();
  });
});

it.each(["v1", "v2"] as const)(
  "an SDK client %s whose call fails late comes again for its answer once at most",
  async (sdk) => {
    const fails = `require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
      const { id, method, params } = JSON.parse(line);
      const say = (rest) => console.log(JSON.stringify({ jsonrpc: "2.0", id, ...rest }));
      if (method === "initialize")
        say({ result: { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } } });
      else if (method === "tools/call") setTimeout(() => say({ error: { code: -32603, message: "failed" } }), 300);
    })`;
    const gateway = await startTestGateway({ command: [process.execPath, "-e", fails] });
    const { client, told } = await connect(sdk, gateway.url);
    await expect(client.callTool({ name: "x", arguments: {} })).rejects.toThrow("failed");
    const before = told.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 5000));
    expect(told.requests.slice(before)).toEqual(sdk === "v1" ? ["GET"] : []);
    await client.close();
    await gateway.close();
  },
  30_000,
);
