import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import {
  answerOf,
  initialize,
  openStreamable,
  sendTo,
  toolCall,
  UNPRIMED,
} from "../support/streamable-client.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const PING = { jsonrpc: "2.0", id: 1, method: "ping" };

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("Streamable HTTP, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath });
  });
  afterAll(() => gateway.close());

  it("opens a session with initialize, whose answer names it", async () => {
    const answer = await sendTo(gateway.url, { body: initialize() });
    expect(answer.status).toBe(200);
    expect(answer.headers["mcp-session-id"]).toMatch(UUID);
    expect(answer.headers["cache-control"]).toContain("no-store");
    expect(await answerOf(answer, "init")).toMatchObject({
      id: "init",
      result: { protocolVersion: "2025-11-25", serverInfo: { name: "mcp-sse-gateway-demo" } },
    });
    await answer.ended;
  });

  it("answers as JSON when the answer is the first that comes, and soon", async () => {
    const client = await openStreamable(gateway.url);
    const answer = await client.post(PING);
    expect(answer.headers).toMatchObject({
      "content-type": "application/json; charset=utf-8",
      "mcp-session-id": client.sessionId,
      "content-length": "36",
    });
    expect(answer.headers["x-request-id"]).toMatch(/^\w{6}-\w{6}$/);
    expect(await answer.text()).toBe('{"result":{},"jsonrpc":"2.0","id":1}');
  });

  it("answers who would rather have a stream with one", async () => {
    const client = await openStreamable(gateway.url);
    const accept = "text/event-stream, application/json";
    const answer = await client.post(PING, { accept });
    await answer.ended;
    expect([answer.isStream, answer.messages]).toMatchObject([true, [{ id: 1, result: {} }]]);
  });

  it("answers as a stream when something comes before, and ends it with the answer", async () => {
    const client = await openStreamable(gateway.url);
    const answer = await client.post(toolCall(7, "slow", { seconds: 0.02, steps: 2 }, "p"));
    await answer.ended;
    expect(answer.headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-store, no-transform",
      "x-accel-buffering": "no",
      "mcp-session-id": client.sessionId,
    });
    expect(answer.messages).toMatchObject([
      { method: "notifications/progress", params: { progressToken: "p", progress: 1 } },
      { method: "notifications/progress", params: { progressToken: "p", progress: 2 } },
      { id: 7, result: { content: [{ type: "text" }] } },
    ]);
  });

  it("begins a stream for an answer that takes its time, which names its first event", async () => {
    const client = await openStreamable(gateway.url);
    const answer = await client.post(toolCall(7, "slow", { seconds: 0.5, steps: 1 }));
    expect(answer.isStream).toBe(true);
    await eventually(() => answer.events.length > 0);
    expect(answer.messages).toEqual([]);
    await answer.ended;
    expect(answer.retryMs).toBeGreaterThanOrEqual(1000);
    expect(answer.retryMs).toBeLessThan(2000);
    expect(answer.messages).toMatchObject([{ id: 7 }]);
    const [prime, last] = answer.events.map(({ id }) => id?.split("."));
    expect(prime).toEqual([client.sessionId, prime?.[1], "0"]);
    expect(last?.slice(0, 2)).toEqual(prime?.slice(0, 2));
    expect(answer.events.map(({ data }) => data === "")).toEqual([true, false]);
  });

  it("sends a client of an earlier version no event without data, which it would take for a broken message", async () => {
    for (const version of [UNPRIMED, undefined]) {
      const client = await openStreamable(gateway.url, { version: UNPRIMED });
      const headers = { "mcp-protocol-version": version };
      const answer = await client.post(toolCall(7, "slow", { seconds: 0.3, steps: 1 }), headers);
      const own = await client.send({ method: "GET", headers });
      await answer.ended;
      expect(answer.events.map(({ data }) => data)).toEqual([expect.stringContaining('"id":7')]);
      expect(answer.retryMs).toBeGreaterThanOrEqual(1000);
      await eventually(() => own.retryMs !== undefined);
      expect(own.events).toEqual([]);
      own.cut();
    }
  });

  it("answers what has no answer with 202 and no body", async () => {
    const client = await openStreamable(gateway.url);
    const bodies = [
      { jsonrpc: "2.0", method: "notifications/roots/list_changed" },
      { jsonrpc: "2.0", id: 99, result: {} },
      { jsonrpc: "2.0", id: 99, error: { code: -1, message: "no" } },
    ];
    for (const body of bodies) {
      const answer = await client.post(body);
      expect([answer.status, await answer.text()]).toEqual([202, ""]);
      expect(answer.headers).not.toHaveProperty("content-type");
      expect(answer.headers["content-length"]).toBe("0");
    }
  });

  it("gives a question of the server to the client with its call, and its answer back", async () => {
    const client = await openStreamable(gateway.url, { capabilities: { sampling: {} } });
    const answer = await client.post(toolCall(1, "ask", { question: "why?" }));
    const question = await answer.next(({ method }) => method === "sampling/createMessage");
    const result = { role: "assistant", model: "m", content: { type: "text", text: "because" } };
    expect((await client.post({ jsonrpc: "2.0", id: question.id, result })).status).toBe(202);
    expect(await answerOf(answer, 1)).toMatchObject({
      result: { content: [{ text: "The model m answers: because" }] },
    });
  });

  it("sends what is for all of the client on the stream that it opens by GET, also what came before", async () => {
    const client = await openStreamable(gateway.url);
    await client.call(1, "resources/subscribe", { uri: "demo://counter" });
    await client.call(2, "tools/call", { name: "bump", arguments: {} });
    const own = await client.listen();
    expect([own.status, own.headers["mcp-session-id"]]).toEqual([200, client.sessionId]);
    await own.next(({ method }) => method === "notifications/resources/updated");
    await client.call(3, "tools/call", { name: "bump", arguments: {} });
    await eventually(() => own.messages.length === 2);
    expect(own.messages.map(({ method }) => method)).toEqual(
      Array.from({ length: 2 }, () => "notifications/resources/updated"),
    );
    own.cut();
  });

  it("lets the second stream by GET take over, and ends the first", async () => {
    const client = await openStreamable(gateway.url);
    const first = await client.listen();
    const second = await client.listen();
    await first.ended;
    await client.call(1, "resources/subscribe", { uri: "demo://counter" });
    await client.call(2, "tools/call", { name: "bump", arguments: {} });
    await second.next(({ method }) => method === "notifications/resources/updated");
    expect(first.messages).toEqual([]);
    second.cut();
  });

  it("goes on with the client's own stream after Last-Event-ID, and repeats nothing", async () => {
    const client = await openStreamable(gateway.url);
    const bump = (id: number) => client.call(id, "tools/call", { name: "bump", arguments: {} });
    await client.call(0, "resources/subscribe", { uri: "demo://counter" });
    const first = await client.listen();
    await bump(1);
    await eventually(() => first.messages.length === 1);
    const seen = first.events.at(-1)?.id as string;
    first.cut();
    await bump(2);
    await bump(3);
    const second = await client.listen(seen);
    await eventually(() => second.messages.length === 2);
    const ids = second.events.filter(({ data }) => data !== "").map(({ id }) => id);
    expect(new Set([...ids, seen]).size).toBe(3);
    second.cut();
    // What the client says that it has not had comes again, although a socket took it.
    const third = await client.listen(seen);
    await eventually(() => third.messages.length === 2);
    third.cut();
  });

  it("goes on with a call whose stream was cut, and gives its answer once", async () => {
    const client = await openStreamable(gateway.url);
    const cut = await client.post(toolCall(5, "slow", { seconds: 0.6, steps: 3 }, "p"));
    await cut.next(({ method }) => method === "notifications/progress");
    cut.cut();
    const own = await client.listen();
    const rest = await client.listen(cut.events.at(-1)?.id);
    expect(await answerOf(rest, 5)).toMatchObject({ result: { content: [{ type: "text" }] } });
    await rest.ended;
    const steps = [...cut.messages, ...rest.messages].map(({ params }) => params?.["progress"]);
    expect(steps).toEqual([1, 2, 3, undefined]);
    expect(own.messages).toEqual([]);
    // Who lost that stream as well can ask again.
    const again = await client.listen(cut.events.at(-1)?.id);
    await again.ended;
    expect(again.messages).toEqual(rest.messages);
    own.cut();
  });

  it("answers a call of which nothing is known any more with what became of it", async () => {
    const client = await openStreamable(gateway.url);
    const event = `${client.sessionId}.x~${Buffer.from('"é"').toString("base64url")}.3`;
    const answer = await client.listen(event);
    await answer.ended;
    expect(answer.messages).toMatchObject([
      { id: "é", error: { code: -32603, data: { reason: "answer_lost" } } },
    ]);
  });

  it("takes a Last-Event-ID of another session, or of none, as if it were not there", async () => {
    const [client, other] = [await openStreamable(gateway.url), await openStreamable(gateway.url)];
    const call = await other.post(toolCall(1, "slow", { seconds: 0.2, steps: 1 }));
    await call.ended;
    const foreign = call.events[0]?.id as string;
    for (const id of [foreign, "x", `${client.sessionId}.`, `${client.sessionId}.-1`, "é".repeat(3), ""]) {
      const own = await client.send({
        method: "GET",
        headers: { "last-event-id": Buffer.from(id).toString("latin1") },
      });
      await eventually(() => own.events.length === 1);
      expect(own.events[0]).toMatchObject({
        id: expect.stringMatching(`^${client.sessionId}\\.\\d+$`),
        data: "",
      });
      own.cut();
    }
  });

  it("ends a session with DELETE, and what it had open", async () => {
    const client = await openStreamable(gateway.url);
    const own = await client.listen();
    const call = await client.post(toolCall(1, "slow", { seconds: 60, steps: 1 }));
    const gone = await client.send({ method: "DELETE" });
    expect([gone.status, await gone.text()]).toEqual([200, ""]);
    await Promise.all([own.ended, call.ended]);
    for (const method of ["POST", "GET", "DELETE"]) {
      const answer = await client.send({ method, ...(method === "POST" ? { body: PING } : {}) });
      expect(answer.status).toBe(404);
      expect(JSON.parse(await answer.text())).toMatchObject({
        error: { data: { reason: "session_not_found" } },
      });
    }
  });

  it("carries any text, either way", async () => {
    const client = await openStreamable(gateway.url);
    const text = "a\r\nevent: endpoint\ndata: /evil\n\nid: 9\0\u2028\u2029\u0085\u{1f511}\ufeff\ud800";
    const echo = await client.call(1, "tools/call", { name: "echo", arguments: { text } });
    // Half a character cannot be said in UTF-8.
    const told = text.replace("\ud800", "\ufffd");
    expect(echo.result?.["content"]).toMatchObject([{ text: expect.stringContaining(told.slice(0, -1)) }]);
  });

  it("a key in the query opens a session as well", async () => {
    const path = `/mcp?apiKey=${KEY}`;
    const headers = { "x-api-key": undefined };
    const first = await sendTo(gateway.url, { path, headers, body: initialize() });
    expect(first.status).toBe(200);
    await first.text();
    const named = { ...headers, "mcp-session-id": first.headers["mcp-session-id"] as string };
    expect((await sendTo(gateway.url, { path, headers: named, body: PING })).status).toBe(200);
  });
});

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("the stream's URL, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath });
  });
  afterAll(() => gateway.close());

  it.each(["/mcp/sse", "/servers/default/mcp", "/servers/default/mcp/sse"])(
    "%s takes Streamable HTTP as it is",
    async (path) => {
      const client = await openStreamable(gateway.url, { path });
      expect(await client.call(1, "ping")).toMatchObject({ result: {} });
      const own = await client.listen();
      await client.call(2, "resources/subscribe", { uri: "demo://counter" });
      await client.call(3, "tools/call", { name: "bump", arguments: {} });
      await own.next(({ method }) => method === "notifications/resources/updated");
      expect((await client.send({ method: "DELETE" })).status).toBe(200);
      await own.ended;
    },
  );
});

it("brings ids back as they were: of 64 bits, as text, and as text of a number", async () => {
  // A server that reads no number as one.
  const echoes = `require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const id = /"id":("(?:[^"\\\\]|\\\\.)*"|-?\\d+)/.exec(line)?.[1];
    if (id !== undefined) console.log('{"jsonrpc":"2.0","id":' + id + ',"result":{"capabilities":{}}}');
  })`;
  const gateway = await startTestGateway({ command: [process.execPath, "-e", echoes] });
  const client = await openStreamable(gateway.url);
  for (const id of ["9007199254740993", "-9223372036854775808", '"7"', '"é\\n\\u0000🔑"', '""', "0"]) {
    const answer = await client.post(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`);
    expect(await answer.text()).toBe(`{"jsonrpc":"2.0","id":${id},"result":{"capabilities":{}}}`);
  }
  await gateway.close();
});
