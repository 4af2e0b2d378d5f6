import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { NodeStreamableHTTPServerTransport, toNodeHandler } from "@modelcontextprotocol/node";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import {
  type EventStore,
  StreamableHTTPServerTransport,
} from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { createRemoteUpstream, type RemoteUpstreamOptions } from "../../src/upstream/remote.ts";
import type { LinkEvents, Upstream } from "../../src/upstream/upstream.ts";
import { captureLog, encode } from "./recorder.ts";

/** One request that a server was sent. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Resolves when its connection is closed. */
  readonly gone: Promise<unknown>;
}

export interface HttpServer {
  readonly url: string;
  /** Every request, once its body is here. */
  readonly seen: Seen[];
  /** Closes every connection that is open. */
  cut(): void;
  close(): Promise<void>;
}

type Answer = (request: IncomingMessage, response: ServerResponse, seen: Seen) => unknown;

/** An HTTP server on a port of its own that answers as its test says. */
export async function startHttp(answer: Answer, path = "/mcp"): Promise<HttpServer> {
  const sockets = new Set<Socket>();
  const seen: Seen[] = [];
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    const { method = "", url: target = "", headers } = request;
    const gone = once(response, "close");
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const one: Seen = { method, path: target, headers, body: Buffer.concat(chunks).toString(), gone };
    seen.push(one);
    await answer(request, response, one);
  }
  const server = createServer((request, response) => void serve(request, response));
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`,
    seen,
    cut,
    async close() {
      server.close();
      cut();
      await once(server, "close");
    },
  };
}

type Script = Record<string, Answer>;

/** Answers with JSON. */
export function say(response: ServerResponse, status: number, body: unknown, headers: object = {}): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}

/** Answers with a stream, and hands out what writes to it: an event's fields, or any text. */
export function stream(response: ServerResponse): (text: string) => void {
  response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
  return (text) => void response.write(text);
}

export const event = (message: unknown, fields = ""): string =>
  `${fields}data: ${JSON.stringify(message)}\n\n`;

export const result = (id: unknown, value: object = {}) => ({ jsonrpc: "2.0", id, result: value });

export const progress = (step: number) => ({
  jsonrpc: "2.0",
  method: "notifications/progress",
  params: { progressToken: 1, progress: step },
});

export const idOf = ({ body }: Seen): number => (JSON.parse(body) as { id: number }).id;

const MANNERS: Script = {
  initialize: (_, response, seen) =>
    say(
      response,
      200,
      result(idOf(seen), { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: {} }),
      {
        "mcp-session-id": "the-session",
      },
    ),
  GET: (_, response) => response.writeHead(405).end(),
  DELETE: (_, response) => response.writeHead(200).end(),
  "tools/call": (_, response, seen) => say(response, 200, result(idOf(seen))),
};

/** A Streamable HTTP server that answers each method, of HTTP or of the message, as its test says. */
export function startScripted(script: Script): Promise<HttpServer> {
  return startHttp((request, response, seen) => {
    const told = seen.body === "" ? undefined : (JSON.parse(seen.body) as { method?: string });
    const name = request.method === "POST" ? (told?.method ?? "response") : (request.method as string);
    const answer = script[name] ?? MANNERS[name];
    return answer === undefined ? response.writeHead(202).end() : answer(request, response, seen);
  });
}

export const INITIALIZE = encode({
  id: "first",
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } },
});
export const INITIALIZED = encode({ method: "notifications/initialized" });

/** An upstream for this server. */
export function remote(
  url: string,
  options: Partial<RemoteUpstreamOptions> = {},
): ReturnType<typeof createRemoteUpstream> {
  return createRemoteUpstream({
    name: "remote",
    url,
    headers: {},
    transport: "auto",
    maxMessageBytes: 4 * 1024 * 1024,
    log: captureLog().log,
    ...options,
  });
}

interface Transport {
  sessionId?: string | undefined;
  handleRequest(request: IncomingMessage, response: ServerResponse, body?: unknown): Promise<void>;
}

type CreateTransport = (options: {
  sessionIdGenerator: () => string;
  onsessioninitialized: (id: string) => void;
}) => Promise<Transport>;

/** A server with sessions, each of which has a transport of its own. */
function startSessions(create: CreateTransport): Promise<HttpServer> {
  const sessions = new Map<string, Transport>();
  return startHttp(async (request, response, { body }) => {
    const id = request.headers["mcp-session-id"] as string | undefined;
    const transport =
      id === undefined
        ? await create({
            sessionIdGenerator: randomUUID,
            onsessioninitialized: (given) => void sessions.set(given, transport as Transport),
          })
        : sessions.get(id);
    if (transport === undefined) return response.writeHead(404).end();
    await transport.handleRequest(request, response, body === "" ? undefined : JSON.parse(body));
  });
}

/** The demo server behind the v1 SDK's Streamable HTTP transport. */
export function startStreamable({
  store,
  ...options
}: {
  enableJsonResponse?: boolean;
  store?: () => EventStore;
  retryInterval?: number;
} = {}): Promise<HttpServer> {
  return startSessions(async (sessions) => {
    const transport = new StreamableHTTPServerTransport({
      ...options,
      ...sessions,
      ...(store === undefined ? {} : { eventStore: store() }),
    });
    await createDemoServer().connect(
      transport as Parameters<ReturnType<typeof createDemoServer>["connect"]>[0],
    );
    return transport as Transport;
  });
}

/** A server of the v2 SDK with `echo` and `slow`, as the demo server has them. */
function createV2Server(): McpServer {
  const server = new McpServer({ name: "v2", version: "1" }, { capabilities: { tools: {} } });
  server.registerTool("echo", { inputSchema: z.object({ text: z.string() }) }, ({ text }) => ({
    content: [{ type: "text", text }],
  }));
  server.registerTool(
    "slow",
    { inputSchema: z.object({ steps: z.number() }) },
    async ({ steps }, context) => {
      const { _meta: meta, notify } = context.mcpReq;
      const progressToken = (meta as { progressToken: number }).progressToken;
      for (let progress = 1; progress <= steps; progress += 1) {
        await notify({ method: "notifications/progress", params: { progressToken, progress } });
      }
      return { content: [] };
    },
  );
  return server;
}

/** The same behind the v2 SDK's Streamable HTTP transport. */
export function startStreamableV2(): Promise<HttpServer> {
  return startSessions(async (sessions) => {
    const transport = new NodeStreamableHTTPServerTransport(sessions);
    await createV2Server().connect(transport);
    return transport;
  });
}

/** The same as a server of the 2026-07-28 era. */
export function startModern(legacy: "stateless" | "reject" = "reject"): Promise<HttpServer> {
  const handle = toNodeHandler(createMcpHandler(createV2Server, { legacy, keepAliveMs: 0 }));
  return startHttp((request, response, { body }) =>
    handle(request as Parameters<typeof handle>[0], response, body === "" ? undefined : JSON.parse(body)),
  );
}

/** The demo server behind the v1 SDK's HTTP+SSE transport, which answers a POST to the stream's URL so. */
export function startSse(status = 405): Promise<HttpServer> {
  const sessions = new Map<string, SSEServerTransport>();
  return startHttp(async (request, response, { body, path }) => {
    const url = new URL(path, "http://localhost");
    if (url.pathname === "/messages") {
      const transport = sessions.get(url.searchParams.get("sessionId") ?? "");
      if (transport === undefined) return response.writeHead(404).end();
      return transport.handlePostMessage(request, response, JSON.parse(body));
    }
    if (request.method !== "GET") return response.writeHead(status).end();
    const transport = new SSEServerTransport("/messages", response);
    sessions.set(transport.sessionId, transport);
    await createDemoServer().connect(transport);
  }, "/sse");
}

/** Says who the client is before its first message where that does not do so itself, as a session does for a fresh link. */
export function introducing(upstream: Upstream): Upstream {
  const HIDDEN = '"hidden"';
  return {
    name: upstream.name,
    isFull: false,
    close: () => upstream.close(),
    async open(events, signal) {
      let told: (() => void) | undefined;
      const inner: LinkEvents = {
        onMessage: (message) =>
          told !== undefined && message.includes(HIDDEN) ? told() : events.onMessage(message),
        onEnd: (end) => events.onEnd(end),
      };
      const link = await upstream.open(inner, signal);
      let introduced: Promise<void> | undefined;
      async function introduce(): Promise<void> {
        const params = {
          protocolVersion: "2025-06-18",
          capabilities: {},
          clientInfo: { name: "test", version: "1" },
        };
        const answered = new Promise<void>((resolve) => (told = resolve));
        await link.send(encode({ id: "hidden", method: "initialize", params }));
        await answered;
        told = undefined;
        await link.send(encode({ method: "notifications/initialized" }));
      }
      return {
        send(message) {
          if (message.includes('"initialize"')) introduced = Promise.resolve();
          introduced ??= introduce();
          return introduced.then(() => link.send(message));
        },
        pause: () => link.pause(),
        resume: () => link.resume(),
        close: () => link.close(),
      };
    },
  };
}
