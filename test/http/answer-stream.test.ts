import { createServer, type ServerResponse } from "node:http";
import { describe, expect, it, onTestFinished } from "vitest";
import { AnswerStream, type AnswerStreamOptions } from "../../src/http/answer-stream.ts";
import { eventually } from "../support/eventually.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";

const message = (id: number) => Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, result: {} }));

/** The response to one request, as its client sees it, and what the stream tells whoever it is given to. */
async function open(options: Partial<AnswerStreamOptions> = {}) {
  let opened = (_res: ServerResponse) => undefined as void;
  const given = new Promise<ServerResponse>((resolve) => (opened = resolve));
  const server = createServer((_req, res) => opened(res));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = openRaw((server.address() as { port: number }).port);
  client.send(rawRequest("POST /"));
  const res = await given;
  const stream = new AnswerStream(res, {
    idPrefix: "s.l.",
    canPrime: true,
    prefersStream: false,
    sessionId: "s",
    retryMs: () => 1234,
    ...options,
  });
  const told: string[] = [];
  const events = {
    onTaken: () => told.push("taken"),
    onDrain: () => told.push("drain"),
    onClose: () => told.push("close"),
  };
  stream.events = events;
  onTestFinished(async () => {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  });
  return { stream, res, client, told, events };
}

/** What has come of a stream that has ended. */
async function bodyOf({ client }: Awaited<ReturnType<typeof open>>): Promise<string> {
  await client.until("\r\n0\r\n\r\n");
  return client
    .rest()
    .split("\r\n")
    .filter((_, line) => line % 2 === 1)
    .join("");
}

describe("the response to one request", () => {
  it.each([1, 4094, 4095, 4096, 4097, 100_000])(
    "is every byte of its answer, of %i letters of four",
    async (count) => {
      const { stream, client, told } = await open();
      const text = "\u{1f511}".repeat(count);
      stream.write(5, Buffer.from(text));
      stream.end();
      const { headers, body } = await client.answer();
      expect(Number(headers["content-length"])).toBe(4 * count);
      expect(Buffer.from(body).equals(Buffer.from(text))).toBe(true);
      await eventually(() => expect(told).toEqual(["taken", "close"]));
    },
  );

  it("is JSON when the answer is all there is", async () => {
    const { stream, client, told } = await open();
    // Ended now it would tell its client of an event all the same.
    expect([stream.hasBegun, stream.canResume]).toEqual([false, true]);
    stream.write(5, message(1));
    expect(told).toEqual([]);
    stream.end();
    const { status, headers, body } = await client.answer();
    expect([status, headers["content-type"], headers["mcp-session-id"], body]).toEqual([
      200,
      "application/json; charset=utf-8",
      "s",
      message(1).toString(),
    ]);
    await eventually(() => told.length > 0);
    expect([told[0], stream.hasBegun, stream.canResume]).toEqual(["taken", true, false]);
  });

  it("is a stream when the answer does not follow in the same turn", async () => {
    const opened = await open();
    const { stream, client } = opened;
    stream.write(5, message(1));
    await Promise.resolve();
    expect([stream.hasBegun, stream.canResume]).toEqual([true, true]);
    stream.write(6, message(2));
    stream.end();
    expect((await client.answer()).headers["content-type"]).toBe("text/event-stream");
    const event = (sequence: number, data: Buffer) =>
      `id: s.l.${sequence}\nevent: message\ndata: ${data.toString()}\n\n`;
    expect(await bodyOf(opened)).toBe(
      `retry: 1234\nid: s.l.0\ndata: \n\n${event(5, message(1))}${event(6, message(2))}`,
    );
  });

  it("is a stream for who would rather have one, also with the answer alone", async () => {
    const opened = await open({ prefersStream: true });
    opened.stream.write(5, message(1));
    opened.stream.end();
    expect((await opened.client.answer()).headers["content-type"]).toBe("text/event-stream");
    expect((await bodyOf(opened)).match(/id: s\.l\.\d/g)).toEqual(["id: s.l.0", "id: s.l.5"]);
  });

  it("is a stream when two messages come in one turn, in their order", async () => {
    const opened = await open();
    opened.stream.write(1, message(1));
    opened.stream.write(2, message(2));
    opened.stream.end();
    await opened.client.answer();
    expect((await bodyOf(opened)).match(/id: s\.l\.\d/g)).toEqual(["id: s.l.0", "id: s.l.1", "id: s.l.2"]);
    await eventually(() => opened.told.length >= 2);
    expect(opened.told.slice(0, 2)).toEqual(["taken", "taken"]);
  });

  it("begins by itself when nothing comes for a while, so that a cut can be gone on from", async () => {
    const { stream, client } = await open();
    await client.answer();
    await client.until("id: s.l.0\ndata: \n\n");
    expect([stream.hasBegun, stream.canResume]).toEqual([true, true]);
  });

  it("names no first event to a client that does not know such ones", async () => {
    const opened = await open({ canPrime: false });
    opened.stream.end(1);
    await opened.client.answer();
    expect(await bodyOf(opened)).toBe("retry: 1234\n\nretry: 1\n\n");
  });

  it("can be gone on with by a client that knows no event without data once it has had a message", async () => {
    const { stream, client, told } = await open({ canPrime: false });
    expect(stream.canResume).toBe(false);
    await client.answer();
    expect([stream.hasBegun, stream.canResume]).toEqual([true, false]);
    stream.write(1, message(1));
    await client.until("id: s.l.1");
    client.close();
    await eventually(() => told.includes("close"));
    expect(stream.canResume).toBe(true);
  });

  it("is a stream that ends at once when there is no answer to come", async () => {
    const opened = await open();
    opened.stream.end();
    await opened.client.answer();
    expect(await bodyOf(opened)).toBe("retry: 1234\nid: s.l.0\ndata: \n\n");
  });

  it("tells a client that shall come again so, also when the answer waits: it comes with the next stream", async () => {
    const opened = await open();
    opened.stream.write(1, message(1));
    opened.stream.end(77);
    await opened.client.answer();
    expect(await bodyOf(opened)).toMatch(/id: s\.l\.0\n.*id: s\.l\.1\n.*\nretry: 77\n\n$/s);
  });

  it("gives no heartbeat before it has begun", async () => {
    const { stream, client } = await open();
    stream.ping();
    await client.answer();
    stream.ping();
    await client.until(": ping\n\n");
    expect(client.rest().indexOf(": ping")).toBeGreaterThan(client.rest().indexOf("s.l.0"));
  });

  it("that was let go of is somebody else's: it writes nothing, ever", async () => {
    const { stream, res, client } = await open();
    stream.release();
    stream.write(1, message(1));
    stream.ping();
    stream.end();
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(res.headersSent).toBe(false);
    res.writeHead(400, { "Content-Length": "2" }).end("no");
    expect(await client.answer()).toMatchObject({ status: 400, body: "no" });
  });

  it("cannot be gone on with when its client went before it began", async () => {
    const { stream, client, told } = await open();
    client.close();
    await eventually(() => told.includes("close"));
    expect([stream.isClosed, stream.canResume, stream.hasBegun]).toEqual([true, false, true]);
    stream.write(1, message(1));
    stream.end();
  });

  it("tells whoever is given it after its client went that it is over, once", async () => {
    const { stream, client, told, events } = await open();
    stream.events = undefined;
    client.close();
    await eventually(() => stream.isClosed);
    stream.events = events;
    await Promise.resolve();
    expect(told).toEqual(["close"]);
    // Who lets go of it at once hears nothing.
    stream.events = events;
    stream.events = undefined;
    await Promise.resolve();
    expect(told).toEqual(["close"]);
  });
});
