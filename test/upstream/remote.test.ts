import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { RemoteUpstreamOptions } from "../../src/upstream/remote.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { call, captureLog, never, outcomeOf, Recorder } from "./recorder.ts";
import {
  type HttpServer,
  INITIALIZE,
  introducing,
  remote,
  say,
  startScripted,
  startSse,
  startStreamable,
  startStreamableV2,
  stream,
} from "./remote-servers.ts";

// A thousand messages are a thousand round trips here, and the machine may be busy.
vi.setConfig({ testTimeout: 30_000 });

let servers: Record<"streamable" | "json" | "streamableV2" | "sse", HttpServer>;
beforeAll(async () => {
  const [streamable, json, streamableV2, sse] = await Promise.all([
    startStreamable(),
    startStreamable({ enableJsonResponse: true }),
    startStreamableV2(),
    startSse(),
  ]);
  servers = { streamable, json, streamableV2, sse };
});
afterAll(() => Promise.all(Object.values(servers).map((server) => server.close())));

describeUpstream("remote, Streamable HTTP", {
  create: () => introducing(remote(servers.streamable.url, { transport: "streamable" })),
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

describeUpstream("remote, Streamable HTTP of the v2 SDK", {
  create: () => introducing(remote(servers.streamableV2.url)),
  talk: (id, steps) => call(id, "slow", { steps }),
});

describeUpstream("remote, HTTP+SSE", {
  create: () => remote(servers.sse.url, { transport: "sse" }),
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

describeUpstream("remote, HTTP+SSE that was found out", {
  create: () => remote(servers.sse.url),
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

describe("remote", () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });
  const use = <T extends { close(): Promise<void> }>(one: T): T => {
    opened.push(one);
    return one;
  };
  async function open(url: string, options: Partial<RemoteUpstreamOptions> = {}) {
    const upstream: Upstream = use(remote(url, options));
    const seen = new Recorder();
    return { upstream, seen, link: await upstream.open(seen, never()) };
  }

  it("carries a session of a server that answers with JSON alone", async () => {
    const upstream = use(introducing(remote(servers.json.url)));
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(call(1, "echo", { text: "hello" }));
    expect((await seen.answer(1)).result?.content?.[0]?.text).toBe("hello");
  });

  it.each([400, 404, 405])("falls back to HTTP+SSE on %s, and remembers it", async (status) => {
    const server = use(await startSse(status));
    const { upstream, link, seen } = await open(server.url);
    await link.send(INITIALIZE);
    await seen.answer("first");
    const other = new Recorder();
    const again = await upstream.open(other, never());
    await again.send(INITIALIZE);
    await other.answer("first");
    const tries = server.seen.filter(({ method, path }) => method === "POST" && path === "/sse");
    expect(tries).toHaveLength(1);
  });

  it.each([401, 403, 500, 503])("does not fall back on %s", async (status) => {
    const server = use(
      await startScripted({ initialize: (_, response) => response.writeHead(status).end() }),
    );
    const { link } = await open(server.url);
    await outcomeOf(link.send(INITIALIZE));
    expect(server.seen.map(({ method }) => method)).toEqual(["POST"]);
  });

  it("tells what the first transport said when neither is spoken", async () => {
    const error = { code: -32602, message: "no such version", data: { supported: [] } };
    const server = use(
      await startScripted({
        initialize: (_, response) => say(response, 400, { jsonrpc: "2.0", id: null, error }),
      }),
    );
    const { link, seen } = await open(server.url);
    await link.send(INITIALIZE);
    expect(await seen.answer("first")).toEqual({ jsonrpc: "2.0", id: "first", error });
  });

  it("goes on looking when the second transport fails half way", async () => {
    const server = use(
      await startScripted({
        initialize: (_, response, { path }) => response.writeHead(path === "/mcp" ? 405 : 500).end(),
        GET: (_, response) => stream(response)("event: endpoint\ndata: /messages\n\n"),
      }),
    );
    const { link, seen } = await open(server.url);
    for (const _again of [1, 2]) {
      expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
    }
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).toEqual([
      "POST /mcp",
      "GET /mcp",
      "POST /messages",
      "POST /mcp",
      "GET /mcp",
      "POST /messages",
    ]);
    expect(seen.ends).toEqual([]);
  });

  it("tries again with the next message when the server was not there", async () => {
    const server = await startScripted({});
    await server.close();
    const { link } = await open(server.url);
    expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
    expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
  });

  it("refuses messages while a header cannot be sent", async () => {
    const server = use(await startScripted({}));
    const { log, text } = captureLog();
    const { link } = await open(server.url, { headers: { "x-key": "SECRET\nvalue" }, log });
    expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
    expect(server.seen).toEqual([]);
    expect(text()).toContain("invalid x-key header");
    expect(text()).not.toContain("SECRET");
  });

  it("opens as many links as it may", async () => {
    const upstream = use(remote("http://127.0.0.1:1/mcp", { maxLinks: 1 }));
    expect(upstream.isFull).toBe(false);
    const link = await upstream.open(new Recorder(), never());
    expect(upstream.isFull).toBe(true);
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("upstream_queue_full");
    await link.close();
    expect(upstream.isFull).toBe(false);
  });

  it("says nothing of the URL's secrets, of headers and of messages in its log", async () => {
    const server = use(
      await startScripted({ initialize: (_, response) => response.writeHead(500).end("SECRET") }),
    );
    const { log, text } = captureLog();
    const url = server.url.replace("http://", "http://USER:PASSWORD@").concat("?key=SECRET");
    const { link } = await open(url, { headers: { "x-key": "SECRET" }, log });
    expect(await outcomeOf(link.send(INITIALIZE))).toBe("upstream_unreachable");
    expect(server.seen[0]?.headers["authorization"]).toBe(`Basic ${btoa("USER:PASSWORD")}`);
    expect(server.seen[0]?.path).toBe("/mcp?key=SECRET");
    const dead = await open(url.replace(/127\.0\.0\.1:\d+/, "127.0.0.1:1"), {
      headers: { "x-key": "SECRET" },
      log,
    });
    await outcomeOf(dead.link.send(INITIALIZE));
    expect(text()).toContain("ECONNREFUSED");
    expect(text()).toContain('"status":500');
    expect(text()).not.toMatch(/SECRET|USER|PASSWORD|initialize/);
  });
});
