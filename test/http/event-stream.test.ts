import { once } from "node:events";
import { Agent, createServer, get, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it, onTestFinished } from "vitest";
import { EventStream } from "../../src/http/event-stream.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway } from "../support/start-gateway.ts";
import { targetOf } from "./refusal.ts";

const NASTY = "a\r\nevent: endpoint\ndata: /evil\n\nid: 9\0\u2028\u2029\u0085\u{1f511}\ufeff";

describe("messages on the stream", () => {
  it("BAD-40 line breaks, NUL and separators in a message stay inside their one event", async () => {
    const gateway = await startTestGateway();
    const stream = await openTestStream(gateway.url);
    await stream.initialize();
    const before = stream.events.length;
    const answer = await stream.call("echo", "tools/call", { name: "echo", arguments: { text: NASTY } });
    expect(answer.result?.["content"]).toMatchObject([{ type: "text", text: NASTY }]);
    // Ids and unknown methods come back in the answer as well.
    await stream.call(NASTY, "ping");
    await stream.call(2, `no/such${NASTY}`);
    await stream.call(3, "tools/call", { name: NASTY, arguments: {} });
    expect(stream.events.slice(before).map(({ event }) => event)).toEqual([
      "message",
      "message",
      "message",
      "message",
    ]);
    for (const { id } of stream.events.slice(before)) expect(id).toMatch(/^[0-9a-f-]{36}\.\d+$/);
    expect(stream.events.filter(({ event }) => event === "endpoint")).toHaveLength(1);
    await gateway.close();
  });

  it("BAD-40 raw line breaks between the tokens of a message are taken as the space they are", async () => {
    const gateway = await startTestGateway();
    const stream = await openTestStream(gateway.url);
    const body = '{\r\n"jsonrpc":\n"2.0",\r"id":"lines"\r\n,"method":"ping"\n}\n\n';
    expect((await stream.post(body)).status).toBe(202);
    await stream.next(({ id }) => id === "lines");
    await gateway.close();
  });

  it("BAD-40 what stands in headers and query never comes back in an event or a header", async () => {
    const gateway = await startTestGateway();
    const connection = openRaw(gateway.port);
    const marker = "%0d%0aevent:%20x";
    connection.send(
      rawRequest(`GET /mcp/sse?clientId=marker&name=${marker}&sessionId=${marker}`, {
        "X-API-Key": KEY,
        "X-Request-Id": "marker",
        "Last-Event-ID": "marker",
        "User-Agent": "marker",
      }),
    );
    const { head } = await connection.answer();
    await connection.until("\n\n");
    expect(head + connection.rest()).not.toMatch(/marker|event: x/);
    expect(connection.rest()).toMatch(
      /retry: \d{4}\nevent: endpoint\ndata: \/messages\?sessionId=[\w-]{36}&token=\w{1,14}-[\w-]{43}\n\n/,
    );
    connection.close();
    await gateway.close();
  });

  it("messages of every size up to the largest come whole and in order", async () => {
    const gateway = await startTestGateway();
    const stream = await openTestStream(gateway.url);
    await stream.initialize();
    // Around 16 KiB, in bytes of the whole message, it is written in another way.
    const sizes = [0, 1, 2, ...Array.from({ length: 60 }, (_, step) => 4060 + step), 32 * 1024, 500_000];
    for (const size of sizes) {
      const text = "\u{1f511}".repeat(size);
      const answer = await stream.call(size, "tools/call", { name: "echo", arguments: { text } });
      expect(answer.result?.["content"]).toEqual([{ type: "text", text }]);
    }
    const numbers = stream.events.filter(({ id }) => id).map(({ id }) => Number(id?.split(".")[1]));
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    await gateway.close();
  });
});

/** An event stream whose client reads nothing, and what becomes of it. */
async function openUnread() {
  let open = (_res: ServerResponse) => undefined as void;
  const opened = new Promise<ServerResponse>((resolve) => (open = resolve));
  const server = createServer((_req, res) => open(res));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const connection = openRaw((server.address() as { port: number }).port);
  connection.send(rawRequest("GET /"));
  connection.socket.pause();
  const res = await opened;
  const told: string[] = [];
  const stream = new EventStream(res);
  stream.events = {
    onTaken: () => told.push("taken"),
    onDrain: () => told.push("drain"),
    onClose: (closed) => told.push(closed === stream ? "close" : "another"),
  };
  stream.begin();
  stream.announce("s", "/messages", 1000);
  const closed = new Promise((resolve) => res.once("close", resolve));
  onTestFinished(async () => {
    connection.close();
    await new Promise((resolve) => server.close(resolve));
  });
  return { stream, told, closed, res, connection };
}

it("a stream that was ended and is not read is cut, and has taken nothing of what was left", async () => {
  const { stream, told, closed } = await openUnread();
  stream.write(1, Buffer.alloc(30_000_000, "x"));
  expect(stream.pendingBytes).toBeGreaterThan(0);
  stream.end(1000);
  stream.end();
  await closed;
  expect(told).toEqual(["close"]);
});

it("a stream that is cut has taken nothing of what its socket had not, and of what is written after that", async () => {
  const { stream, told, closed } = await openUnread();
  stream.write(1, Buffer.alloc(30_000_000, "x"));
  stream.write(2, Buffer.from("{}"));
  stream.cut();
  stream.write(3, Buffer.from("{}"));
  stream.write(4, Buffer.alloc(100_000, "x"));
  await closed;
  // Whatever Node calls back comes in the turns after.
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual(["close"]);
});

it("a client that has ended its side gets all that was written before, and nothing after", async () => {
  const { stream, res, connection } = await openUnread();
  const socket = res.socket as Socket;
  stream.write(1, Buffer.alloc(12_000_000, "x"));
  expect(stream.pendingBytes).toBeGreaterThan(1_000_000);
  const heard = once(socket, "end");
  connection.socket.end();
  await heard;
  stream.write(2, Buffer.from('"late"'));
  connection.socket.resume();
  expect(await connection.ended).toBe("end");
  expect(connection.rest().length).toBeGreaterThan(12_000_000);
  expect(connection.rest()).not.toContain("late");
});

it("a write that Node calls done, although its socket was destroyed before it took it, counts as not taken", async () => {
  const { stream, told, res } = await openUnread();
  let done = (_error?: Error | null) => undefined as void;
  const socket = res.socket as Socket;
  socket.write = ((_chunk: unknown, _encoding: string, called: typeof done) => (
    (done = called),
    true
  )) as typeof socket.write;
  stream.write(1, Buffer.from("{}"));
  done();
  expect(told).toEqual(["taken"]);
  stream.write(2, Buffer.from("{}"));
  socket.destroy();
  done();
  expect(told).toEqual(["taken"]);
});

it("a stream that was ended leaves its connection to the next answer, whatever is written to it still", async () => {
  const streams: EventStream[] = [];
  const server = createServer((_req, res) => {
    const stream = new EventStream(res);
    streams.push(stream);
    stream.begin();
    stream.write(streams.length, Buffer.from("{}"));
    stream.end();
    for (const old of streams) old.write(99, Buffer.from('"late"'));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const { port } = server.address() as { port: number };
  for (let request = 1; request <= 20; request += 1) {
    const [answer] = (await once(get({ host: "127.0.0.1", port, agent }), "response")) as [IncomingMessage];
    expect(await text(answer)).toBe(`id: ${request}\nevent: message\ndata: {}\n\n`);
  }
  // Node has one listener of its own.
  expect([...sockets].map((socket) => socket.listenerCount("drain"))).toEqual([1]);
  agent.destroy();
  await new Promise((resolve) => server.close(resolve));
});

it("a post and its stream share no state but the session: a dead stream's endpoint takes nothing", async () => {
  const gateway = await startTestGateway();
  const stream = await openTestStream(gateway.url);
  const target = targetOf(stream);
  stream.cut();
  await expect
    .poll(
      async () =>
        (
          await fetch(gateway.url + target, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: "{}",
          })
        ).status,
    )
    .toBe(404);
  await gateway.close();
});
