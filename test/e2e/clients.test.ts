import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { connectSdkClient, type KeyPlace, type SdkVersion } from "../support/sdk-clients.ts";
import { startTestGateway, type TestGateway } from "../support/start-gateway.ts";

describe("real clients on the built-in server", () => {
  let gateway: TestGateway;
  beforeAll(async () => (gateway = await startTestGateway({ env: { SESSION_ORPHAN_GRACE: "0" } })));
  afterAll(() => gateway.close());

  async function sessions(): Promise<unknown> {
    const ready = (await (await fetch(`${gateway.url}/health/ready`)).json()) as { sessions: number };
    return ready.sessions;
  }

  const combinations: [SdkVersion, KeyPlace][] = [
    ["v1", "query"],
    ["v1", "header"],
    ["v2", "query"],
    ["v2", "header"],
  ];
  test.each(combinations)(
    "an SDK %s client with its key in the %s lists, calls, reads, prompts, and leaves nothing behind",
    async (version, place) => {
      const client = await connectSdkClient(version, gateway.url, place);
      expect(await sessions()).toBe(1);

      const { tools } = await client.listTools();
      expect(tools.map((tool) => tool.name)).toEqual(expect.arrayContaining(["echo", "add", "slow", "ask"]));
      expect(await client.callTool({ name: "echo", arguments: { text: "grüße 🚪" } })).toMatchObject({
        content: [{ type: "text", text: "grüße 🚪" }],
      });
      expect(await client.callTool({ name: "add", arguments: { a: 2, b: 40 } })).toMatchObject({
        structuredContent: { sum: 42 },
      });
      const { resources } = await client.listResources();
      expect(resources.map((resource) => resource.uri)).toContain("demo://counter");
      expect(await client.readResource({ uri: "demo://counter" })).toMatchObject({
        contents: [{ uri: "demo://counter", text: "0" }],
      });
      const { prompts } = await client.listPrompts();
      expect(prompts.map((prompt) => prompt.name)).toContain("introduce");
      expect(await client.getPrompt({ name: "introduce", arguments: { name: "Ada" } })).toMatchObject({
        messages: [{ role: "user", content: { text: "Introduce Ada to us in two sentences." } }],
      });
      await client.ping();

      await client.close();
      await eventually(async () => expect(await sessions()).toBe(0));
    },
    30_000,
  );

  test("no key is in anything the gateway logged of them", () => {
    expect(gateway.logs().filter(({ event }) => event === "session_closed")).toHaveLength(
      combinations.length,
    );
    expect(gateway.logText()).not.toContain("test-key");
  });
});
