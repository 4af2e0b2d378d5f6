import { join } from "node:path";
import { Client as ClientV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
  type JSONRPCMessage,
} from "@modelcontextprotocol/sdk/types.js";
import { afterEach, describe, expect, it } from "vitest";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Link, Upstream } from "../../src/upstream/upstream.ts";
import { aggregate, fixture } from "./aggregate-members.ts";
import { captureLog, encode, type Message, never } from "./recorder.ts";

const { log } = captureLog();
const info = { name: "test", version: "1" };
const demo = (name: string) => createBuiltinUpstream({ name, createServer: createDemoServer, log });
const dual = (name: string) =>
  createStdioUpstream({
    name,
    command: process.execPath,
    args: [join(import.meta.dirname, "../fixtures/dual-era-server.mjs")],
    env: {},
    maxLineBytes: 4 * 1024 * 1024,
    graceMs: 500,
    log,
  });

/** A client's way to an upstream, without HTTP between them. */
function transportTo(upstream: Upstream): Transport {
  let link: Link | undefined;
  const transport: Transport = {
    async start() {
      link = await upstream.open(
        {
          onMessage: (message) => transport.onmessage?.(JSON.parse(message.toString()) as JSONRPCMessage),
          onEnd: () => transport.onclose?.(),
        },
        never(),
      );
    },
    async send(message) {
      await link?.send(encode(message as Message));
    },
    async close() {
      await link?.close();
    },
  };
  return transport;
}

describe("a client of many as one", () => {
  let members: Upstream[] = [];
  let client: { close(): Promise<void> } | undefined;
  afterEach(async () => {
    await client?.close();
    await Promise.all(members.map((member) => member.close()));
  });

  const upstreamOf = (...all: Upstream[]) => {
    members = all;
    return aggregate(all, 5000).upstream;
  };

  it("of the SDK's first line lists, calls, reads, completes, subscribes, and is asked", async () => {
    const upstream = upstreamOf(demo("one"), demo("two"), fixture("broken", "crash-at-start"));
    const v1 = new ClientV1(info, { capabilities: { elicitation: {} } });
    client = v1;
    v1.setRequestHandler(ElicitRequestSchema, () => ({
      action: "accept" as const,
      content: { answer: "42" },
    }));
    const updated = new Promise<string>((resolve) =>
      v1.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri)),
    );
    await v1.connect(transportTo(upstream) as Parameters<typeof v1.connect>[0]);
    expect(v1.getInstructions()).toContain("Server broken is not available.");
    const { tools } = await v1.listTools();
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(["one__echo", "two__echo"]));
    for (const name of ["one__ask", "two__ask"]) {
      expect(await v1.callTool({ name, arguments: { question: "?" } })).toMatchObject({
        content: [{ text: "The user answers: 42" }],
      });
    }
    // The output schema is known under the name that the list has.
    expect(await v1.callTool({ name: "two__add", arguments: { a: 1, b: 2 } })).toMatchObject({
      structuredContent: { sum: 3 },
    });
    const seen: number[] = [];
    await v1.callTool({ name: "one__slow", arguments: { seconds: 0, steps: 3 } }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    });
    expect(seen).toEqual([1, 2, 3]);
    expect((await v1.readResource({ uri: "demo://greeting/Ada" })).contents[0]).toMatchObject({
      text: "Hello, Ada!",
    });
    await v1.subscribeResource({ uri: "demo://counter" });
    await v1.callTool({ name: "one__bump" });
    expect(await updated).toBe("demo://counter");
    await v1.setLoggingLevel("debug");
    await v1.ping();
    await expect(v1.callTool({ name: "broken__x" })).rejects.toThrow("Server broken is not available.");
  });

  it.each(["auto", { pin: "2026-07-28" }] as const)(
    "of the SDK's second line does so in the newer era: %j",
    async (mode) => {
      const upstream = upstreamOf(dual("one"), dual("two"));
      const v2 = new ClientV2(info, { versionNegotiation: { mode } });
      client = v2;
      await v2.connect(transportTo(upstream) as Parameters<typeof v2.connect>[0]);
      expect(v2.getNegotiatedProtocolVersion()).toBe("2026-07-28");
      const { tools } = await v2.listTools();
      expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(["one__echo", "two__echo"]));
      expect(await v2.callTool({ name: "two__echo", arguments: { text: "é" } })).toMatchObject({
        content: [{ text: "é" }],
      });
      expect(await v2.readResource({ uri: "dual://count" })).toMatchObject({ contents: [{ text: "0" }] });
    },
  );

  it("of both eras falls back to initialize where one server speaks no other, and sees all", async () => {
    const upstream = upstreamOf(dual("one"), demo("two"));
    const v2 = new ClientV2(info, { versionNegotiation: { mode: "auto" } });
    client = v2;
    await v2.connect(transportTo(upstream) as Parameters<typeof v2.connect>[0]);
    expect(v2.getNegotiatedProtocolVersion()).toBe("2025-11-25");
    const { tools } = await v2.listTools();
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(["one__echo", "two__echo"]));
  });
});
