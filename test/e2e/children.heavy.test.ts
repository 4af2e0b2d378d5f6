import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { startTestGateway, type TestGateway, type TestGatewayOptions } from "../support/start-gateway.ts";

const fixture = (name: string) => [
  process.execPath,
  fileURLToPath(new URL(`../fixtures/${name}.mjs`, import.meta.url)),
];

async function start(options: TestGatewayOptions): Promise<TestGateway> {
  const gateway = await startTestGateway(options);
  onTestFinished(() => gateway.close());
  return gateway;
}

async function openStream(gateway: TestGateway): Promise<TestStream> {
  const stream = await openTestStream(gateway.url);
  onTestFinished(() => stream.cut());
  return stream;
}

const call = (id: number | string, name: string, args: Record<string, unknown> = {}) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name, arguments: args },
});

async function post(
  stream: TestStream,
  body: unknown,
): Promise<{ status: number; reason?: string; text: string }> {
  const response = await stream.post(body);
  const text = await response.text();
  const reason = text.startsWith("{") ? (JSON.parse(text) as { reason: string }).reason : undefined;
  return { status: response.status, text, ...(reason === undefined ? {} : { reason }) };
}

describe("when a child misbehaves", { timeout: 60_000 }, () => {
  test("FLT-30 its death is mended: what was in flight gets upstream_restarted, and the session goes on with a fresh one", async () => {
    const gateway = await start({ command: fixture("raw-echo") });
    const stream = await openStream(gateway);
    await stream.initialize();
    expect((await post(stream, call(1, "sleep", { ms: 60_000 }))).status).toBe(202);
    expect((await post(stream, call("last", "crash"))).status).toBe(202);
    for (const id of [1, "last"]) {
      const { error } = await stream.next((message) => message.id === id);
      expect(error).toMatchObject({ code: -32603, data: { reason: "upstream_restarted" } });
    }
    const echoed = await stream.call(2, "tools/call", { name: "echo", arguments: { text: "again" } });
    expect(echoed.result).toEqual({ content: [{ type: "text", text: "again" }] });
  });

  test("FLT-30 without restarts its death answers every request in flight with upstream_exited, ends the stream, and then POST gets 404", async () => {
    const gateway = await start({ command: fixture("raw-echo"), env: { SERVER_RESTARTS: "0" } });
    const stream = await openStream(gateway);
    const bystander = await openStream(gateway);
    await Promise.all([stream.initialize(), bystander.initialize()]);
    for (const id of [0, 1, "two"])
      expect((await post(stream, call(id, "sleep", { ms: 60_000 }))).status).toBe(202);
    expect((await post(stream, call("last", "crash"))).status).toBe(202);

    await stream.ended;
    const answers = stream.messages.filter(({ id }) => id !== "init");
    expect(answers.map(({ id }) => id)).toEqual([0, 1, "two", "last"]);
    for (const { error } of answers)
      expect(error).toMatchObject({ code: -32603, data: { reason: "upstream_exited" } });
    expect(await post(stream, call(9, "echo", { text: "x" }))).toMatchObject({
      status: 404,
      reason: "session_not_found",
    });
    expect(
      (await bystander.call(1, "tools/call", { name: "echo", arguments: { text: "here" } })).result,
    ).toEqual({
      content: [{ type: "text", text: "here" }],
    });
  });

  test.each(["crash-at-start", "exits-zero", "dies-of-sigsegv"])(
    "FLT-30 %s: the client is told, and the next session gets a child of its own",
    async (name) => {
      const gateway = await start({ command: fixture(name) });
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const stream = await openStream(gateway);
        const { status } = await post(stream, { jsonrpc: "2.0", id: 0, method: "initialize", params: {} });
        await stream.ended;
        const outcomes = stream.messages.filter(({ id }) => id === 0);
        // Given to the child, and then answered on the stream by it or for it; or not given, and answered right here.
        if (status === 202) expect(outcomes).toHaveLength(1);
        else expect(status).toBeGreaterThanOrEqual(404);
        for (const { error } of outcomes) if (error) expect(error.data?.reason).toBe("upstream_exited");
      }
    },
  );

  test.each([
    ["a command that is not there", ["/no-such-place-canary/server", "--token", "canary-argument"]],
    [
      "a command that is no program",
      [fileURLToPath(new URL("../../package.json", import.meta.url)), "canary"],
    ],
  ])(
    "FLT-31 %s: POST gets 502 without path, argument or environment, and the stream ends",
    async (_what, command) => {
      const gateway = await start({ command, env: { MCP_SERVER_ENV: "HOME" } });
      const stream = await openStream(gateway);
      const answer = await post(stream, { jsonrpc: "2.0", id: 0, method: "initialize", params: {} });
      expect(answer).toMatchObject({ status: 502, reason: "upstream_start_failed" });
      await stream.ended;
      const told = answer.text + JSON.stringify(stream.events.slice(1));
      expect(told).not.toMatch(/canary|ENOENT|EACCES|package\.json/);
      expect(told).not.toContain(process.env["HOME"]);
      expect((await post(stream, call(1, "echo"))).status).toBe(404);
      expect(gateway.logs()).toContainEqual(
        expect.objectContaining({ level: "error", message: "The server could not be started" }),
      );
    },
  );

  test("FLT-33 one that never answers: each request times out at its time, and the session lives on", async () => {
    const gateway = await start({ command: fixture("never-answers"), env: { REQUEST_TIMEOUT_SECONDS: "1" } });
    const stream = await openStream(gateway);
    for (const id of ["first", "second"]) {
      const { error } = await stream.call(id, "tools/list");
      expect(error).toMatchObject({ code: -32603, data: { reason: "upstream_timeout" } });
    }
    expect(stream.messages).toHaveLength(2);
  });

  test("FLT-40 one that asks with an id the client uses too gets the answer of its own session's client", async () => {
    const gateway = await start({ command: fixture("asks-client") });
    const streams = await Promise.all([openStream(gateway), openStream(gateway)]);
    await Promise.all(
      streams.map(async (stream, index) => {
        expect((await post(stream, call(0, "ask"))).status).toBe(202);
        const asked = await stream.next(({ method }) => method === "sampling/createMessage");
        expect(asked.id).toBe(0);
        expect((await post(stream, { jsonrpc: "2.0", id: 0, result: { from: index } })).status).toBe(202);
        const told = await stream.next(({ method }) => method === "answered");
        expect(told.params).toMatchObject({ id: 0, result: { from: index } });
      }),
    );
  });
});

describe("what one session may have in flight", { timeout: 60_000 }, () => {
  test("an id that is still in flight is refused, and free again once it was answered", async () => {
    const gateway = await start({ command: fixture("raw-echo") });
    const stream = await openStream(gateway);
    await stream.initialize();
    expect((await post(stream, call(7, "sleep", { ms: 60_000 }))).status).toBe(202);
    expect(await post(stream, call(7, "echo", { text: "x" }))).toMatchObject({
      status: 400,
      reason: "duplicate_id",
    });
    // Another type is another id.
    expect(
      (await stream.call("7", "tools/call", { name: "echo", arguments: { text: "x" } })).result,
    ).toBeDefined();
    await stream.call(8, "ping");
    await stream.call(9, "ping");
    expect((await post(stream, { jsonrpc: "2.0", id: 8, method: "ping" })).status).toBe(202);
  });

  test("LIM-18 the limit is kept to the request: at it 202, above it 429, and room again after an answer", async () => {
    const gateway = await start({ command: fixture("raw-echo"), env: { MAX_IN_FLIGHT: "4" } });
    const stream = await openStream(gateway);
    const other = await openStream(gateway);
    await Promise.all([stream.initialize(), other.initialize()]);
    for (let id = 1; id <= 3; id += 1)
      expect((await post(stream, call(id, "sleep", { ms: 60_000 }))).status).toBe(202);
    expect((await stream.call(4, "ping")).result).toEqual({});
    expect((await post(stream, call(5, "sleep", { ms: 60_000 }))).status).toBe(202);
    expect(await post(stream, call(6, "ping"))).toMatchObject({ status: 429, reason: "too_many_in_flight" });
    expect((await other.call(1, "ping")).result).toEqual({});
    const cancelled = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 5 } };
    expect((await post(stream, cancelled)).status).toBe(202);
    await eventually(async () => expect((await stream.call(6, "ping")).result).toEqual({}));
  });
});
