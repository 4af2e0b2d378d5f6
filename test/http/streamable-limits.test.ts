import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { eventually } from "../support/eventually.ts";
import type { Message } from "../support/sse-client.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGatewayOptions } from "../support/start-gateway.ts";
import {
  answerOf,
  BOTH,
  initialize,
  openStreamable,
  sendTo,
  toolCall,
  type StreamableAnswer,
} from "../support/streamable-client.ts";
import { expectRpcRefusal } from "./refusal.ts";

const fixture = (name: string) => [
  process.execPath,
  fileURLToPath(new URL(`../fixtures/${name}.mjs`, import.meta.url)),
];
const PING = { jsonrpc: "2.0", id: "p", method: "ping" };

async function start(options: TestGatewayOptions = {}) {
  const gateway = await startTestGateway(options);
  onTestFinished(() => gateway.close());
  const sessions = async () => {
    const ready = await fetch(`${gateway.url}/health/ready`);
    return ((await ready.json()) as { sessions: number }).sessions;
  };
  return { gateway, sessions };
}

const refusalOf = async (answer: StreamableAnswer) => {
  const { id, error } = JSON.parse(await answer.text()) as Message;
  return [answer.status, error?.data?.reason, id];
};

describe("sizes", () => {
  it("a message as large as a body may be goes there and comes back, and one byte more is refused", async () => {
    const { gateway } = await start({ command: fixture("raw-echo") });
    const client = await openStreamable(gateway.url);
    const frame = JSON.stringify(toolCall(1, "echo", { text: "" }));
    const text = "é".repeat((4 * 1024 * 1024 - frame.length) / 2);
    const body = Buffer.from(JSON.stringify(toolCall(1, "echo", { text })));
    const padded = Buffer.concat([body, Buffer.alloc(4 * 1024 * 1024 - body.length, " ")]);
    const answer = await client.post(padded);
    const { result = {} } = await answerOf(answer, 1);
    expect((result["content"] as { text: string }[])[0]?.text === text).toBe(true);
    const over = await client.post(Buffer.concat([padded, Buffer.from(" ")]));
    expect(await refusalOf(over)).toEqual([413, "body_too_large", null]);
  });

  it("an answer that the server may not send ends in an error, and its request's stream with it", async () => {
    const { gateway } = await start({
      command: fixture("raw-echo"),
      env: { MAX_LINE_BYTES: "100000", SERVER_RESTARTS: "0" },
    });
    const client = await openStreamable(gateway.url);
    const answer = await client.post(toolCall(1, "bytes", { n: 200_000 }));
    expect(await answerOf(answer, 1)).toMatchObject({
      error: { data: { reason: "upstream_message_too_large" } },
    });
    await answer.ended;
  });

  it("a client that reads late gets all, in order, and the server waits for it", async () => {
    const { gateway } = await start({ command: fixture("raw-echo") });
    const client = await openStreamable(gateway.url);
    const steps = 40_000;
    const answer = await client.post(toolCall(1, "progress", { steps }, "p"));
    answer.response.pause();
    const other = await client.post(PING);
    other.cut();
    await new Promise((resolve) => setTimeout(resolve, 300));
    answer.response.resume();
    await answer.ended;
    expect(answer.messages).toHaveLength(steps + 1);
    const isOrdered = answer.messages.every(
      ({ params }, at) => at === steps || params?.["progress"] === at + 1,
    );
    expect([isOrdered, answer.messages.at(-1)?.id]).toEqual([true, 1]);
  });

  it("a large answer as JSON is read as slowly as its client likes, for a while", async () => {
    const { gateway } = await start({ command: fixture("raw-echo") });
    const client = await openStreamable(gateway.url);
    const answer = await client.post(toolCall(1, "bytes", { n: 3_000_000 }));
    answer.response.pause();
    await new Promise((resolve) => setTimeout(resolve, 500));
    answer.response.resume();
    expect((await answerOf(answer, 1)).result?.["content"]).toMatchObject([{ text: "x".repeat(3_000_000) }]);
  });
});

describe("limits", () => {
  it("LIM-10 a key has so many sessions; one that is between two requests makes no room, one that was ended does", async () => {
    const { gateway, sessions } = await start({ env: { MAX_SESSIONS_PER_KEY: "2", MAX_SESSIONS: "3" } });
    const clients = [await openStreamable(gateway.url), await openStreamable(gateway.url)];
    const streams = await Promise.all(clients.map((client) => client.listen()));
    const over = await sendTo(gateway.url, { body: initialize() });
    expect(over.headers["retry-after"]).toBe("5");
    expect(over.headers).not.toHaveProperty("mcp-session-id");
    expect(await refusalOf(over)).toEqual([429, "too_many_sessions", null]);
    const other = await openStreamable(gateway.url, { key: OTHER_KEY });
    streams.push(await other.listen());
    const full = await sendTo(gateway.url, { headers: { "x-api-key": OTHER_KEY }, body: initialize() });
    expect(await refusalOf(full)).toEqual([503, "overloaded", null]);
    streams[0]?.cut();
    await streams[0]?.ended;
    expect(await refusalOf(await sendTo(gateway.url, { body: initialize() }))).toEqual([
      503,
      "overloaded",
      null,
    ]);
    const ended = await fetch(`${gateway.url}/mcp`, {
      method: "DELETE",
      headers: { "X-API-Key": KEY, "Mcp-Session-Id": clients[0]?.sessionId as string },
    });
    expect(ended.status).toBe(200);
    expect((await sendTo(gateway.url, { body: initialize() })).status).toBe(200);
    expect(await sessions()).toBe(3);
    expect((await clients[0]?.post(PING))?.status).toBe(404);
    expect((await clients[1]?.post(PING))?.status).toBe(200);
  });

  it("LIM-18 a session has so many requests in flight, and one more when one is answered", async () => {
    const { gateway } = await start({ env: { MAX_IN_FLIGHT: "2" } });
    const client = await openStreamable(gateway.url);
    const slow = (id: number) => client.post(toolCall(id, "slow", { seconds: 60, steps: 1 }));
    const calls = [await slow(1), await slow(2)];
    const over = await client.post({ ...PING, id: "é" });
    expect(over.headers["retry-after"]).toBe("1");
    expect(await refusalOf(over)).toEqual([429, "too_many_in_flight", "é"]);
    await client.post({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } });
    await calls[0]?.ended;
    expect((await client.post(PING)).status).toBe(200);
  });

  it("LIM-01 heartbeats come on a request's stream and on the client's own", async () => {
    const { gateway } = await start({ env: { HEARTBEAT_SECONDS: "1" } });
    const client = await openStreamable(gateway.url);
    const own = await client.listen();
    const call = await client.post(toolCall(1, "slow", { seconds: 60, steps: 1 }));
    for (const answer of [own, call]) {
      await eventually(() => answer.comments.length >= 2);
      expect(new Set(answer.comments)).toEqual(new Set(["ping"]));
    }
  });

  it("a session that nobody speaks to ends, and one whose client listens does not", async () => {
    const { gateway, sessions } = await start({ env: { SESSION_IDLE_SECONDS: "2" } });
    const [silent, listening] = [await openStreamable(gateway.url), await openStreamable(gateway.url)];
    const own = await listening.listen();
    await eventually(async () => (await sessions()) === 1);
    expect((await silent.post(PING)).status).toBe(404);
    expect((await listening.post(PING)).status).toBe(200);
    own.cut();
  });
});

describe("a server that cannot be had", () => {
  it.each([
    ["does not exist", ["/no/such/command"]],
    ["ends at once", fixture("crash-at-start")],
  ])("is told to who opens a session, when it %s, and no session is left", async (_what, command) => {
    const { gateway, sessions } = await start({ command });
    const answer = await sendTo(gateway.url, { body: initialize() });
    const { id, error } = await answerOf(answer, "init");
    expect(id).toBe("init");
    expect(error?.data?.reason).toMatch(/^upstream_(start_failed|exited)$/);
    await answer.ended;
    await eventually(async () => (await sessions()) === 0);
  });

  it("is told as the server says it, when it refuses", async () => {
    const refuses = `require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
      const { id } = JSON.parse(line);
      console.log(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32602, message: "no such version" } }));
    })`;
    const { gateway, sessions } = await start({ command: [process.execPath, "-e", refuses] });
    const answer = await sendTo(gateway.url, { body: initialize() });
    expect(await answerOf(answer, "init")).toMatchObject({
      id: "init",
      error: { code: -32602, message: "no such version" },
    });
    await answer.ended;
    await eventually(async () => (await sessions()) === 0);
  });

  it("that ends in the middle of a call is told on that call's stream", async () => {
    const { gateway } = await start({ command: fixture("raw-echo"), env: { SERVER_RESTARTS: "0" } });
    const client = await openStreamable(gateway.url);
    const slow = await client.post(toolCall(1, "sleep", { ms: 60_000 }));
    const crash = await client.post(toolCall(2, "crash"));
    for (const [id, answer] of [
      [1, slow],
      [2, crash],
    ] as const) {
      expect(await answerOf(answer, id)).toMatchObject({
        id,
        error: { data: { reason: "upstream_exited" } },
      });
      await answer.ended;
    }
    expect((await client.post(PING)).status).toBe(404);
  });
});

describe("going down", () => {
  it("answers what is in flight, takes answers to the server's questions, and refuses what is new", async () => {
    const gateway = await startTestGateway({ env: { DRAIN_SECONDS: "20" } });
    const client = await openStreamable(gateway.url, { capabilities: { sampling: {} } });
    const headers = {
      "X-API-Key": KEY,
      "Mcp-Session-Id": client.sessionId,
      "Content-Type": "application/json",
      Accept: BOTH,
    };
    const post = (body: object) => rawRequest("POST /mcp", headers, JSON.stringify(body));
    // Connections that are there before the door is closed.
    const connections = [openRaw(gateway.port), openRaw(gateway.port)] as const;
    for (const connection of connections) {
      connection.send(post(PING));
      expect((await connection.answer()).status).toBe(200);
    }
    const call = await client.post(toolCall(1, "ask"));
    const question = await call.next(({ method }) => method === "sampling/createMessage");
    const closed = gateway.close();
    await eventually(() => gateway.logText().includes('"draining"'));
    connections[0].send(post(PING));
    expectRpcRefusal(await connections[0].answer(), "draining", "p");
    const result = { role: "assistant", model: "m", content: { type: "text", text: "42" } };
    connections[1].send(post({ jsonrpc: "2.0", id: question.id, result }));
    expect((await connections[1].answer()).status).toBe(202);
    expect(await answerOf(call, 1)).toMatchObject({
      result: { content: [{ text: "The model m answers: 42" }] },
    });
    await call.ended;
    await closed;
    connections.forEach((connection) => connection.close());
  });

  it("ends the client's own stream with a time to come again", async () => {
    const gateway = await startTestGateway();
    const own = await (await openStreamable(gateway.url)).listen();
    await eventually(() => own.retryMs !== undefined);
    own.retryMs = undefined;
    await Promise.all([gateway.close(), own.ended]);
    expect(own.retryMs).toBeGreaterThanOrEqual(1000);
  });
});
