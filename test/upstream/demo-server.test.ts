import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  type ClientCapabilities,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  type JSONRPCMessage,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { inflateSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { captureLog, never } from "./recorder.ts";

const { log } = captureLog();

describe("the demo server, seen by the official client", () => {
  let upstream: Upstream = createBuiltinUpstream({ name: "demo", createServer: createDemoServer, log });
  afterEach(async () => {
    await upstream.close();
    upstream = createBuiltinUpstream({ name: "demo", createServer: createDemoServer, log });
  });

  async function connect(
    capabilities: ClientCapabilities = {},
    prepare?: (client: Client) => void,
  ): Promise<Client> {
    const client = new Client({ name: "test", version: "1.0.0" }, { capabilities });
    prepare?.(client);
    await client.connect(await transportOf(upstream));
    return client;
  }

  const textOf = (result: unknown): string =>
    (result as { content: { text: string }[] }).content.map(({ text }) => text).join();

  it("lists its tools with titles, descriptions and hints", async () => {
    const client = await connect();
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(["echo", "add", "picture", "slow", "ask", "log", "bump"]);
    for (const tool of tools) {
      expect(tool).toMatchObject({ title: expect.any(String), description: expect.any(String) });
      expect(tool.annotations).toMatchObject({ readOnlyHint: tool.name !== "bump" });
    }
  });

  it("adds, with structured content", async () => {
    const client = await connect();
    const result = await client.callTool({ name: "add", arguments: { a: 2, b: 0.5 } });
    expect(result).toMatchObject({ content: [{ text: "2.5" }], structuredContent: { sum: 2.5 } });
    expect(await client.callTool({ name: "add", arguments: { a: "2" } })).toMatchObject({ isError: true });
  });

  it("draws a picture whose every byte is right", async () => {
    const client = await connect();
    const { content } = (await client.callTool({ name: "picture" })) as {
      content: { data: string; mimeType: string }[];
    };
    const png = Buffer.from(content[0]?.data ?? "", "base64");
    expect(content[0]?.mimeType).toBe("image/png");
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    const at = png.indexOf("IDAT");
    const rows = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)));
    expect(rows).toHaveLength(64 * (1 + 64 * 3));
    expect(png.subarray(-12).toString("hex")).toBe("0000000049454e44ae426082");
  });

  it("tells the progress of slow work", async () => {
    const client = await connect();
    const steps: unknown[] = [];
    const call = { name: "slow", arguments: { seconds: 0.01, steps: 3 } };
    const result = await client.callTool(call, undefined, { onprogress: (progress) => steps.push(progress) });
    expect(steps).toMatchObject([1, 2, 3].map((progress) => ({ progress, total: 3 })));
    expect(textOf(result)).toContain("3 steps");
  });

  it("stops slow work that is cancelled", async () => {
    const client = await connect();
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = timers();
    const cancel = new AbortController();
    const call = { name: "slow", arguments: { seconds: 120, steps: 1 } };
    const calling = client
      .callTool(call, undefined, { signal: cancel.signal })
      .catch((error: Error) => error.message);
    await client.ping();
    // One is the client's own, one the tool's.
    expect(timers() - before).toBe(2);
    cancel.abort("changed my mind");
    expect(await calling).toContain("changed my mind");
    await client.ping();
    expect(timers() - before).toBe(0);
  });

  it("asks the user where the client can, else the model, else says that it can ask nobody", async () => {
    const elicits = await connect({ elicitation: {} }, (client) => {
      client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({
        action: "accept",
        content: { answer: `you said ${params.message}` },
      }));
    });
    const ask = { name: "ask", arguments: { question: "hello?" } };
    expect(textOf(await elicits.callTool(ask))).toBe("The user answers: you said hello?");
    const refuses = await connect({ elicitation: {} }, (client) => {
      client.setRequestHandler(ElicitRequestSchema, () => ({ action: "decline" }));
    });
    expect(textOf(await refuses.callTool(ask))).toBe("The user chose to decline.");
    const samples = await connect({ sampling: {} }, (client) => {
      client.setRequestHandler(CreateMessageRequestSchema, () => ({
        model: "m1",
        role: "assistant",
        content: { type: "text", text: "hi" },
      }));
    });
    expect(textOf(await samples.callTool(ask))).toBe("The model m1 answers: hi");
    expect(textOf(await (await connect()).callTool(ask))).toContain("neither elicitation nor sampling");
  });

  it("logs at the level that is asked for, and not below the one that is set", async () => {
    const client = await connect();
    const logged: unknown[] = [];
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params));
    await client.callTool({ name: "log", arguments: { level: "warning", text: "one" } });
    await client.setLoggingLevel("error");
    await client.callTool({ name: "log", arguments: { level: "warning", text: "two" } });
    await client.callTool({ name: "log", arguments: { level: "critical", text: "three" } });
    expect(logged).toEqual([
      { level: "warning", logger: "demo", data: "one" },
      { level: "critical", logger: "demo", data: "three" },
    ]);
  });

  it("counts for each session alone, and tells those who subscribed", async () => {
    const [first, second] = await Promise.all([connect(), connect()]);
    const updates: string[] = [];
    for (const [name, client] of Object.entries({ first, second })) {
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
        updates.push(`${name} ${params.uri}`);
      });
    }
    const uri = "demo://counter";
    const count = async (client: Client): Promise<unknown> => (await client.readResource({ uri })).contents;
    await first.callTool({ name: "bump" });
    await first.subscribeResource({ uri });
    await first.callTool({ name: "bump" });
    await second.callTool({ name: "bump" });
    await first.unsubscribeResource({ uri });
    await first.callTool({ name: "bump" });
    expect(updates).toEqual([`first ${uri}`]);
    expect(await count(first)).toMatchObject([{ text: "3" }]);
    expect(await count(second)).toMatchObject([{ text: "1" }]);
  });

  it("greets and introduces, and completes names", async () => {
    const client = await connect();
    const { contents } = await client.readResource({ uri: "demo://greeting/Ada" });
    expect(contents).toMatchObject([{ text: "Hello, Ada!" }]);
    const argument = { name: "name", value: "a" };
    const ref = { type: "ref/resource" as const, uri: "demo://greeting/{name}" };
    expect((await client.complete({ ref, argument })).completion.values).toEqual(["Ada", "Alan"]);
    const prompt = { type: "ref/prompt" as const, name: "introduce" };
    expect((await client.complete({ ref: prompt, argument })).completion.values).toEqual(["Ada", "Alan"]);
    const { messages } = await client.getPrompt({ name: "introduce", arguments: { name: "Grace" } });
    expect(messages).toMatchObject([{ content: { text: "Introduce Grace to us in two sentences." } }]);
  });
});

/** A link as a transport of the official client. */
async function transportOf(upstream: Upstream): Promise<Transport> {
  const transport: Transport = {
    start: async () => {},
    send: async (message) => link.send(Buffer.from(JSON.stringify(message))),
    close: () => link.close(),
  };
  const link = await upstream.open(
    {
      onMessage: (message) => transport.onmessage?.(JSON.parse(message.toString()) as JSONRPCMessage),
      onEnd: () => transport.onclose?.(),
    },
    never(),
  );
  return transport;
}
