import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Message } from "../support/sse-client.ts";
import { startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import {
  initialize,
  openStreamable,
  toolCall,
  type StreamableAnswer,
  type StreamableClient,
} from "../support/streamable-client.ts";

const ping = (id: number | string) => ({ jsonrpc: "2.0", id, method: "ping" });
const NOTE = { jsonrpc: "2.0", method: "notifications/roots/list_changed" };

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("a batch, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let client: StreamableClient;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env: { MAX_IN_FLIGHT: "200" } });
    client = await openStreamable(gateway.url, { version: "2025-03-26" });
  });
  afterAll(() => gateway.close());

  const answers = async (answer: StreamableAnswer): Promise<Message[]> => {
    expect(answer.isStream).toBe(true);
    await answer.ended;
    return answer.messages;
  };
  const reasonOf = async (answer: StreamableAnswer) => {
    const { error } = JSON.parse(await answer.text()) as Message;
    return [answer.status, error?.data?.reason];
  };

  it.each(["2025-03-26", undefined])(
    "of version %s has the answers to all of its requests on one stream",
    async (version) => {
      const batch = [toolCall(1, "slow", { seconds: 0.2, steps: 2 }, "p"), NOTE, ping(2), ping("3")];
      const answer = await client.post(batch, { "mcp-protocol-version": version });
      const all = await answers(answer);
      expect(answer.headers["mcp-session-id"]).toBe(client.sessionId);
      expect(new Set(all.map(({ id, method }) => id ?? method))).toEqual(
        new Set([1, 2, "3", "notifications/progress"]),
      );
      expect(all).toHaveLength(5);
      // The slow one does not keep the others waiting.
      expect(all.at(-1)).toMatchObject({ id: 1 });
    },
  );

  it("without a request is answered with 202", async () => {
    const answer = await client.post([NOTE, { jsonrpc: "2.0", id: 5, result: {} }]);
    expect([answer.status, await answer.text()]).toEqual([202, ""]);
  });

  it("may have 100 messages, and not more or none", async () => {
    const hundred = Array.from({ length: 100 }, (_, id) => ping(id));
    expect(await answers(await client.post(hundred))).toHaveLength(100);
    for (const batch of [[...hundred, NOTE], [], "[ ]"]) {
      expect(await reasonOf(await client.post(batch))).toEqual([400, "batch_too_long"]);
    }
  });

  it("is given whole or not at all when one of its messages is none", async () => {
    const bump = toolCall(1, "bump");
    for (const [bad, reason] of [
      ["7", "invalid_message"],
      ["[]", "batch_not_allowed"],
      [JSON.stringify(initialize()), "already_initialized"],
      ["{", "parse_error"],
      ['{"jsonrpc":"2.0","id":null,"method":"ping"}', "invalid_id"],
    ]) {
      const answer = await client.post(`[${JSON.stringify(bump)},${bad}]`);
      expect(await reasonOf(answer)).toEqual([400, reason]);
    }
    const read = await client.call(2, "resources/read", { uri: "demo://counter" });
    expect(read.result).toMatchObject({ contents: [{ text: "0" }] });
  });

  it("answers an id that stands twice in it once with an error and once with its answer", async () => {
    const all = await answers(
      await client.post([toolCall(1, "slow", { seconds: 0.1, steps: 1 }), ping(1), ping(2)]),
    );
    expect(all).toHaveLength(3);
    expect(all.filter(({ id }) => id === 1)).toMatchObject([
      { error: { data: { reason: "duplicate_id" } } },
      { result: { content: [{ type: "text" }] } },
    ]);
  });

  it("that is cut can be gone on with, request by request", async () => {
    const batch = [
      toolCall(1, "slow", { seconds: 0.4, steps: 2 }, "a"),
      toolCall(2, "slow", { seconds: 0.4, steps: 2 }, "b"),
    ];
    const answer = await client.post(batch);
    const event = async (token: string) => {
      await answer.next(({ params }) => params?.["progressToken"] === token);
      return answer.events.find(({ data }) => data.includes(`"progressToken":"${token}"`))?.id;
    };
    const seen = [await event("a"), await event("b")];
    answer.cut();
    for (const [at, id] of seen.entries()) {
      const rest = await client.listen(id);
      const all = await answers(rest);
      expect(all.map((message) => message.id ?? message.params?.["progress"])).toEqual([2, at + 1]);
    }
  });

  it("is no message of a later version, nor the first of a client", async () => {
    for (const version of ["2025-06-18", "2025-11-25"]) {
      const answer = await client.post([ping(1)], { "mcp-protocol-version": version });
      expect(await reasonOf(answer)).toEqual([400, "batch_not_allowed"]);
    }
    const first = await client.post([initialize()], { "mcp-session-id": undefined });
    expect(await reasonOf(first)).toEqual([400, "batch_not_allowed"]);
  });
});
