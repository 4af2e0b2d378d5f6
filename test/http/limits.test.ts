import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAX_DEPTH, MAX_ELEMENTS } from "../../src/protocol/json.ts";
import { openRaw, exchange, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, targetOf } from "./refusal.ts";

const JSON_TYPE = "Content-Type: application/json";
const MAX = 64 * 1024;

/** A notification of exactly so many bytes. */
const sized = (bytes: number) => {
  const frame = '{"jsonrpc":"2.0","method":"notifications/x","params":{"x":""}}';
  return frame.replace('""', `"${"x".repeat(bytes - frame.length)}"`);
};
const chunked = (body: string, size = 1000) => {
  const pieces = body.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
  return [...pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`), "0\r\n\r\n"].join("");
};

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("limits of a message, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env: { MAX_BODY_BYTES: String(MAX) } });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());
  const post = (headers: string[], body: string) =>
    exchange(gateway.port, rawRequest(`POST ${targetOf(stream)}`, [JSON_TYPE, ...headers], body));

  it("LIM-01 a declared body may have as many bytes as the limit, and not one more", async () => {
    expect((await post([], sized(MAX - 1))).status).toBe(202);
    expect((await post([], sized(MAX))).status).toBe(202);
    expectRefusal(await post([], sized(MAX + 1)), "body_too_large");
  });

  it("LIM-01 a chunked body may have as many bytes as the limit, and not one more", async () => {
    const coded = ["Transfer-Encoding: chunked"];
    expect((await post(coded, chunked(sized(MAX - 1)))).status).toBe(202);
    expect((await post(coded, chunked(sized(MAX)))).status).toBe(202);
    expectRefusal(await post(coded, chunked(sized(MAX + 1))), "body_too_large");
    expectRefusal(await post(coded, chunked(sized(MAX + 1), MAX * 2)), "body_too_large");
    expect((await post(coded, chunked(sized(2000), 1))).status).toBe(202);
  });

  it("LIM-02 a batch of one is a batch", async () => {
    expectRefusal(await post([], `[${sized(100)}]`), "batch_not_allowed");
  });

  it("BAD-32 a message may be as deep as the limit, and not deeper", async () => {
    const deep = (levels: number) =>
      `{"jsonrpc":"2.0","method":"notifications/x","params":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
    expect((await post([], deep(MAX_DEPTH - 1))).status).toBe(202);
    expect((await post([], deep(MAX_DEPTH))).status).toBe(202);
    expectRefusal(await post([], deep(MAX_DEPTH + 1)), "too_deep");
  });
});

it("LIM-04 a message may have as many elements as the limit, and not one more", async () => {
  const gateway = await startTestGateway();
  const stream = await openTestStream(gateway.url);
  const message = (params: string) => `{"jsonrpc":"2.0","method":"notifications/x","params":${params}}`;
  const array = (count: number) => message(`[${Array.from({ length: count }, () => 1).join()}]`);
  const keys = (count: number) =>
    message(`{${Array.from({ length: count }, (_, at) => `"${at}":1`).join()}}`);
  for (const make of [array, keys]) {
    expect((await stream.post(make(MAX_ELEMENTS - 1))).status).toBe(202);
    expect((await stream.post(make(MAX_ELEMENTS))).status).toBe(202);
    const over = await stream.post(make(MAX_ELEMENTS + 1));
    expect([over.status, await over.json()]).toMatchObject([400, { reason: "too_many_elements" }]);
    expect((await stream.post(make(2 * MAX_ELEMENTS))).status).toBe(400);
  }
  await gateway.close();
});

it("LIM-03 fifty bodies of the largest size at once stay within their own size in memory, threefold", async () => {
  const bytes = 1024 * 1024;
  const gateway = await startTestGateway({ env: { MAX_BODY_BYTES: String(bytes) } });
  const stream = await openTestStream(gateway.url);
  const request = rawRequest(`POST ${targetOf(stream)}`, [JSON_TYPE], sized(bytes));
  const before = process.memoryUsage.rss();
  const connections = Array.from({ length: 50 }, () => openRaw(gateway.port));
  // All but the last byte of each: now all of them are held at once.
  for (const connection of connections) connection.send(request.subarray(0, -1));
  await Promise.all(
    connections.map(({ socket }) => new Promise<void>((resolve) => socket.write("", () => resolve()))),
  );
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
  for (const connection of connections) connection.send(request.subarray(-1));
  for (const connection of connections) expect((await connection.answer()).status).toBe(202);
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
  for (const connection of connections) connection.close();
  await gateway.close();
});
