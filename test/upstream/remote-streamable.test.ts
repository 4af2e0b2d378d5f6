import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { InMemoryEventStore } from "@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js";
import { afterEach, describe, expect, it } from "vitest";
import type { LinkEnd } from "../../src/upstream/upstream.ts";
import { eventually } from "../support/eventually.ts";
import { call, encode, never, outcomeOf, Recorder } from "./recorder.ts";
import {
  event,
  type HttpServer,
  idOf,
  INITIALIZE,
  INITIALIZED,
  progress,
  remote,
  result,
  say,
  startScripted,
  startStreamable,
  stream,
} from "./remote-servers.ts";

describe("remote, Streamable HTTP", () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  type Options = Parameters<typeof remote>[1];

  /** A link to a server that answers so; `isReady`: after the handshake. */
  async function open(script: Parameters<typeof startScripted>[0], options: Options = {}, isReady = true) {
    const server = await startScripted(script);
    const upstream = remote(server.url, { transport: "streamable", ...options });
    opened.push(server, upstream);
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    if (isReady) {
      await link.send(INITIALIZE);
      await seen.answer("first");
      seen.messages.length = 0;
    }
    return { server, link, seen, upstream };
  }

  const names = (server: HttpServer): string[] =>
    server.seen.map(({ method, body }) =>
      body === "" ? method : ((JSON.parse(body) as { method?: string }).method ?? "response"),
    );

  it("SEC-41 sends the operator's headers and the protocol's own, and no others", async () => {
    const { server, link, seen } = await open({}, { headers: { "X-Key": "abc", Accept: "text/plain" } });
    await link.send(INITIALIZED);
    await link.send(call(1, "echo"));
    await seen.answer(1);
    await link.close();
    const transfer = ["host", "connection", "content-length"];
    const sent = server.seen.map(({ headers }) =>
      Object.fromEntries(Object.entries(headers).filter(([name]) => !transfer.includes(name))),
    );
    const session = { "mcp-session-id": "the-session", "mcp-protocol-version": "2025-11-25", "x-key": "abc" };
    const post = { accept: "application/json, text/event-stream", "content-type": "application/json" };
    expect(sent).toEqual([
      { ...post, "x-key": "abc" },
      { ...post, ...session },
      { ...session, accept: "text/event-stream" },
      { ...post, ...session },
      { ...session, accept: "text/plain" },
    ]);
    expect(names(server)).toEqual(["initialize", "notifications/initialized", "GET", "tools/call", "DELETE"]);
  });

  it("forwards the very bytes, both ways", async () => {
    const texts: string[] = [];
    const answers = [
      '{"x-vendor":{"a":1.0},"result":{"big":12345678901234567890,"é":"\\u00e9"},"id":9007199254740993,"jsonrpc":"2.0"}',
      '[{"jsonrpc":"2.0","method":"a"},\n {"jsonrpc":"2.0","id":9007199254740995,"result":{ }}]',
    ];
    const { server, link, seen } = await open({
      "tools/call": (_, response) => say(response, 200, answers.shift()),
    });
    seen.onMessage = (message) => void texts.push(message.toString());
    const asked =
      '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","x-vendor":1.0,"params":{"n":1e2,"é":"\\u00e9"}}';
    await link.send(Buffer.from(asked));
    await link.send(Buffer.from(asked.replace("993", "995")));
    await eventually(() => expect(texts).toHaveLength(3));
    expect(server.seen.map(({ body }) => body)).toContain(asked);
    expect(texts).toEqual([
      '{"x-vendor":{"a":1.0},"result":{"big":12345678901234567890,"é":"\\u00e9"},"id":9007199254740993,"jsonrpc":"2.0"}',
      '{"jsonrpc":"2.0","method":"a"}',
      '{"jsonrpc":"2.0","id":9007199254740995,"result":{ }}',
    ]);
  });

  it("puts an event of several lines on one", async () => {
    const { link, seen } = await open({
      "tools/call": (_, response) =>
        stream(response)('\ufeffdata: {"jsonrpc":"2.0",\r\ndata:"id":1,\r\ndata: "result":{}}\r\n\r\n'),
    });
    const texts: string[] = [];
    seen.onMessage = (message) => void texts.push(message.toString());
    await link.send(call(1, "echo"));
    await eventually(() => expect(texts).toEqual(['{"jsonrpc":"2.0", "id":1, "result":{}}']));
  });

  it("sends nothing before the server has accepted initialized and answered for its stream", async () => {
    let accept = (): unknown => undefined;
    let listen = (): unknown => undefined;
    const { server, link, upstream } = await open({
      "notifications/initialized": (_, response) => (accept = () => response.writeHead(202).end()),
      GET: (_, response) => (listen = () => response.writeHead(405).end()),
    });
    void link.send(INITIALIZED);
    const called = link.send(call(1, "echo"));
    await eventually(() => expect(names(server)).toContain("notifications/initialized"));
    accept();
    await eventually(() => expect(names(server)).toContain("GET"));
    const other = new Recorder();
    await (await upstream.open(other, never())).send(INITIALIZE);
    await other.answer("first");
    expect(names(server)).not.toContain("tools/call");
    listen();
    await called;
    expect(names(server).at(-1)).toBe("tools/call");
  });

  it("does not wait for ever for the head of the server's stream", async () => {
    const { server, link } = await open({ GET: () => undefined });
    await link.send(INITIALIZED);
    await link.send(call(1, "echo"));
    expect(names(server).slice(-2)).toEqual(["GET", "tools/call"]);
  });

  it("leaves a stream that answers a notification", async () => {
    const { server, link } = await open({
      "notifications/x": (_, response) => stream(response)(": hello\n\n"),
    });
    await link.send(encode({ method: "notifications/x" }));
    await server.seen.at(-1)?.gone;
  });

  it("does not let a request that is answered late hold back the others", async () => {
    let answer = (): unknown => undefined;
    const { link, seen } = await open({
      "tools/call": (_, response, one) => {
        const reply = () => say(response, 200, result(idOf(one)));
        return idOf(one) === 1 ? (answer = reply) : reply();
      },
    });
    let isGiven = false;
    const first = link.send(call(1, "echo"))?.then(() => (isGiven = true));
    await link.send(call(2, "echo"));
    await seen.answer(2);
    expect(isGiven).toBe(false);
    await first;
    expect(seen.messages).toHaveLength(1);
    answer();
    await seen.answer(1);
  });

  it("gives what belongs to no request as it comes, and answers of the client to the server", async () => {
    const { server, link, seen } = await open({
      GET: (_, response) => stream(response)(event({ jsonrpc: "2.0", id: 5, method: "roots/list" })),
    });
    await link.send(INITIALIZED);
    await seen.notification("roots/list");
    await link.send(encode({ id: 5, result: { roots: [] } } as never));
    expect(names(server).at(-1)).toBe("response");
  });

  it("resumes an answer whose stream was cut, from where it was cut", async () => {
    const { server, link, seen } = await open({
      "tools/call": (_, response) => {
        const write = stream(response);
        write("id: 1\nretry: 1\ndata: \n\n");
        write(event(progress(1), "id: 2\n"));
        setImmediate(() => response.destroy());
      },
      GET: (_, response, { headers }) => {
        const write = stream(response);
        if (headers["last-event-id"] === "2") {
          write(event(progress(2), "id: 3\n"));
          response.end();
        } else {
          write(event(result(1), "id: 4\n"));
        }
      },
    });
    await link.send(call(1, "echo"));
    await seen.answer(1);
    expect(seen.messages.map(({ params }) => params?.["progress"])).toEqual([1, 2, undefined]);
    const gets = server.seen.filter(({ method }) => method === "GET");
    expect(gets.map(({ headers }) => headers["last-event-id"])).toEqual(["2", "3"]);
    expect(gets[0]?.headers["mcp-session-id"]).toBe("the-session");
    await Promise.all(gets.map(({ gone }) => gone));
  });

  it("loses nothing and repeats nothing of a long call to the v1 SDK's server whose connections are cut", async () => {
    const server = await startStreamable({ store: () => new InMemoryEventStore(), retryInterval: 5 });
    const upstream = remote(server.url);
    opened.push(server, upstream);
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(INITIALIZE);
    await seen.answer("first");
    await link.send(INITIALIZED);
    seen.onEach = () => [5, 20].includes(seen.messages.length) && server.cut();
    await link.send(call(1, "slow", { seconds: 1, steps: 40 }));
    await seen.answer(1);
    const steps = seen.messages.flatMap(({ params }) => (params ? [params["progress"]] : []));
    expect(steps).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
    expect(seen.messages).toHaveLength(42);
    expect(
      server.seen.filter(({ headers }) => headers["last-event-id"] !== undefined).length,
    ).toBeGreaterThan(1);
  });

  it.each([
    ["was cut", (response: ServerResponse) => response.destroy()],
    ["ended", (response: ServerResponse) => response.end()],
  ])("tells a request whose stream %s and cannot be resumed, once", async (_, end) => {
    const { link, seen } = await open({
      "tools/call": (_request, response) => {
        stream(response)(event(progress(1)));
        setImmediate(end, response);
      },
    });
    await link.send(call(1, "echo"));
    expect((await seen.answer(1)).error).toMatchObject({ data: { reason: "upstream_unreachable" } });
    await link.close();
    expect(seen.messages).toHaveLength(2);
    expect(seen.ends).toEqual(["closed"]);
  });

  it.each([
    ["refused", (response: ServerResponse) => response.writeHead(405).end(), 1],
    ["cut each time", (response: ServerResponse) => response.destroy(), 6],
  ])("gives up an answer when the resumption is %s", async (_, refuse, times) => {
    const { server, link, seen } = await open({
      "tools/call": (_request, response) => {
        stream(response)("id: 1\nretry: 1\ndata: \n\n");
        setImmediate(() => response.destroy());
      },
      GET: (_request, response) => refuse(response),
    });
    await link.send(call(1, "echo"));
    expect((await seen.answer(1)).error).toMatchObject({ data: { reason: "upstream_unreachable" } });
    expect(names(server).filter((name) => name === "GET")).toHaveLength(times);
  });

  it("opens its own stream again when it was cut, from where it was cut", async () => {
    let streams = 0;
    const { server, link, seen } = await open({
      GET: (_, response) => {
        streams += 1;
        stream(response)(event({ jsonrpc: "2.0", method: `m${streams}` }, `id: e${streams}\nretry: 1\n`));
        if (streams < 3) setTimeout(() => response.destroy(), 5);
      },
    });
    await link.send(INITIALIZED);
    await seen.notification("m3");
    const gets = server.seen.filter(({ method }) => method === "GET");
    expect(gets.map(({ headers }) => headers["last-event-id"])).toEqual([undefined, "e1", "e2"]);
  });

  it("ends when the server has forgotten the session", async () => {
    const { link, seen } = await open({ "tools/call": (_, response) => response.writeHead(404).end() });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe("upstream_exited");
    expect(await seen.end()).toBe("upstream_exited");
    expect(await outcomeOf(link.send(call(2, "echo")))).toBe("upstream_exited");
    await link.close();
    expect(seen.ends).toEqual(["upstream_exited"]);
    expect(seen.messages).toEqual([]);
  });

  it("ends when the server says at its stream that it has forgotten the session", async () => {
    let streams = 0;
    const { link, seen } = await open({
      GET: (_, response) => {
        streams += 1;
        if (streams > 1) return response.writeHead(404).end();
        stream(response)("retry: 1\ndata: \n\n");
        setImmediate(() => response.destroy());
      },
    });
    await link.send(INITIALIZED);
    expect(await seen.end()).toBe("upstream_exited");
  });

  it("lives with a server that has nothing at GET", async () => {
    const { link, seen } = await open({ GET: (_, response) => response.writeHead(404).end() });
    await link.send(INITIALIZED);
    await link.send(call(1, "echo"));
    await seen.answer(1);
  });

  it.each([
    [401, "upstream_refused"],
    [403, "upstream_refused"],
    [404, "upstream_unreachable"],
    [429, "upstream_busy"],
    [500, "upstream_unreachable"],
    [503, "upstream_busy"],
  ])("FLT-42 refuses a message that is answered %s as %s", async (status, reason) => {
    const refuse = (_: unknown, response: ServerResponse) =>
      response.writeHead(status, { "content-type": "text/html" }).end("<html>");
    const { link, seen } = await open({ "tools/call": refuse, "notifications/x": refuse }, {}, false);
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe(reason);
    expect(await outcomeOf(link.send(encode({ method: "notifications/x" })))).toBe(reason);
    expect(seen.messages).toEqual([]);
    expect(seen.ends).toEqual([]);
  });

  it("FLT-42 tells a request that is answered with a web page", async () => {
    const { link, seen } = await open({
      "tools/call": (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>"),
    });
    await link.send(call(1, "echo"));
    expect((await seen.answer(1)).error).toMatchObject({ data: { reason: "upstream_unreachable" } });
  });

  it.each([
    ["the request's id", 400, 1],
    ["no id", 400, null],
    ["the request's id", 500, 1],
  ])("forwards a JSON-RPC error with %s and status %s as the answer", async (_, status, id) => {
    const error = { code: -32000, message: "Server not initialized", data: { n: 1 } };
    const { link, seen } = await open({
      "tools/call": (_request, response) => say(response, status, { jsonrpc: "2.0", id, error }),
    });
    await link.send(call(1, "echo"));
    expect(await seen.answer(1)).toEqual({ jsonrpc: "2.0", id: 1, error });
  });

  it.each([
    [
      "another's id",
      400,
      { jsonrpc: "2.0", id: 2, error: { code: 1, message: "x" } },
      "upstream_unreachable",
    ],
    ["no error", 400, { jsonrpc: "2.0", id: null, result: {} }, "upstream_unreachable"],
    ["our credentials", 401, { jsonrpc: "2.0", id: 1, error: { code: 1, message: "x" } }, "upstream_refused"],
  ])("does not forward a refusal with %s", async (_, status, body, reason) => {
    const { link, seen } = await open({ "tools/call": (_request, response) => say(response, status, body) });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe(reason);
    expect(seen.messages).toEqual([]);
  });

  it("gives a message at most once, though its connection was cut", async () => {
    const cut = (_: unknown, response: ServerResponse) => response.destroy();
    const { server, link } = await open({ "tools/call": cut, "notifications/x": cut });
    expect(await outcomeOf(link.send(call(1, "echo")))).toBe("upstream_unreachable");
    expect(await outcomeOf(link.send(encode({ method: "notifications/x" })))).toBe("upstream_unreachable");
    expect(names(server)).toEqual(["initialize", "tools/call", "notifications/x"]);
  });

  it("stops waiting for what the client has cancelled", async () => {
    const { server, link, seen } = await open({
      "tools/call": (_, response) => stream(response)(event(progress(1), "id: 1\n")),
    });
    await link.send(call(7, "echo"));
    await seen.notification("notifications/progress");
    await link.send(encode({ method: "notifications/cancelled", params: { requestId: 7 } }));
    await server.seen.find(({ body }) => body.includes("tools/call"))?.gone;
    await link.close();
    expect(seen.messages.filter(({ id }) => id === 7)).toEqual([]);
  });

  it("ends the server's session, and does not wait for it for ever", async () => {
    const { server, link, seen } = await open({ DELETE: () => undefined });
    await link.close();
    expect(server.seen.at(-1)).toMatchObject({
      method: "DELETE",
      headers: { "mcp-session-id": "the-session" },
    });
    expect(seen.ends).toEqual(["closed"]);
  });

  it.each<[string, (response: ServerResponse) => unknown]>([
    ["a JSON body", (response) => response.writeHead(200, { "content-type": "application/json" })],
    ["a line of a stream", (response) => response.writeHead(200, { "content-type": "text/event-stream" })],
  ])("FLT-44 ends when %s is too long", async (_, begin) => {
    const { link, seen, server } = await open(
      {
        "tools/call": async (_request, response, { gone }) => {
          begin(response);
          response.write("data: ");
          while (!response.destroyed) {
            if (!response.write(" ".repeat(65_536))) {
              await Promise.race([once(response, "drain"), gone]);
            }
          }
        },
      },
      { maxMessageBytes: 1_000_000 },
    );
    await link.send(call(1, "echo"));
    expect(await seen.end()).toBe<LinkEnd>("upstream_message_too_large");
    await server.seen.find(({ body }) => body.includes("tools/call"))?.gone;
    expect(seen.messages).toEqual([]);
  });

  it("does not read on while it is paused", async () => {
    const text = "x".repeat(100_000);
    let written = 0;
    let stuck = (): void => undefined;
    const isStuck = new Promise<void>((resolve) => (stuck = resolve));
    const { link, seen } = await open({
      "tools/call": async (_, response, one) => {
        const write = stream(response);
        for (; written < 1000; written += 1) {
          write(event({ jsonrpc: "2.0", method: "m", params: { text } }));
          if (!response.writableNeedDrain) continue;
          const timer = setTimeout(stuck, 300);
          await new Promise((next) => response.once("drain", next));
          clearTimeout(timer);
        }
        write(event(result(idOf(one))));
      },
    });
    seen.onEach = () => seen.messages.length === 1 && link.pause();
    await link.send(call(1, "echo"));
    await isStuck;
    expect(written).toBeLessThan(1000);
    expect(seen.messages.length).toBeLessThan(10);
    link.resume();
    await seen.answer(1);
    expect(seen.messages).toHaveLength(1001);
  });

  it("says nothing more of what is asked when it is closed", async () => {
    const { link, seen } = await open({
      "tools/call": (_, response) => stream(response)(event(progress(1))),
    });
    await link.send(call(1, "echo"));
    await seen.notification("notifications/progress");
    const late = outcomeOf(link.send(call(2, "other")));
    await link.close();
    expect(await late).toBe("upstream_exited");
    expect(seen.messages).toHaveLength(1);
    expect(seen.ends).toEqual(["closed"]);
  });

  it("ISO-06 drops answers to what was not asked", async () => {
    const { link, seen } = await open({
      "tools/call": (_, response, one) =>
        stream(response)(event(result(99)) + event(result(idOf(one))) + event(result(idOf(one)))),
    });
    await link.send(call(1, "echo"));
    await link.send(call(2, "echo"));
    await seen.answer(2);
    expect(seen.messages.map(({ id }) => id)).toEqual([1, 2]);
  });
});
