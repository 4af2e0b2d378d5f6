import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import type { Duplex } from "node:stream";
import { FAULTS, type Reason } from "../errors.ts";
import type { Log } from "../log.ts";
import { admit } from "./admit.ts";
import { answerError, COMMON_HEADERS, nextRequestId } from "./answer.ts";
import { announceClose, endConnection, isClosing } from "./linger.ts";
import { MESSAGES_PATH, SSE_PATH } from "./open-stream.ts";
import { RELAY_PATH } from "./relay-message.ts";
import type { Route } from "./routes.ts";
import { answerRpcError } from "./rpc-answer.ts";
import { STREAMABLE_PATH } from "./streamable.ts";

export interface DoorListeners {
  /** The Express app. */
  app: RequestListener;
  openStream: Route;
  postMessage: Route;
  relayMessage: Route;
  streamable: Route;
  guardOrigin: (req: IncomingMessage) => void;
  log: Log;
}

/**
 * Takes the hot routes past Express, which costs more than all the rest of a message's way, and two kilobytes of each
 * open stream; everything else, and every request that is in any way unusual, goes through the app. Both run the same
 * guards and the same routes.
 */
export function createThinPath(listeners: DoorListeners): RequestListener {
  const { app, openStream, postMessage, relayMessage, streamable, guardOrigin, log } = listeners;
  const messages = `${MESSAGES_PATH}?`;
  const streams = `${SSE_PATH}?`;
  const posted = new Map([
    [RELAY_PATH, relayMessage],
    [STREAMABLE_PATH, streamable],
  ]);

  function routeOf({ method, url = "", headers }: IncomingMessage): Route | undefined {
    if (headers.origin !== undefined) return undefined;
    if (method === "POST") return url.startsWith(messages) ? postMessage : posted.get(url);
    if (method !== "GET") return undefined;
    if (url === STREAMABLE_PATH) return streamable;
    const isStream = url === SSE_PATH || url.startsWith(streams);
    return isStream && headers["mcp-session-id"] === undefined ? openStream : undefined;
  }

  return (req, res) => {
    const route = routeOf(req);
    if (route === undefined) return app(req, res);
    const answer = route === streamable ? answerRpcError : answerError;
    try {
      admit(req);
      if (route !== relayMessage) guardOrigin(req);
      const done = route(req, res);
      done?.catch((error: unknown) => answer(req, res, error, log));
    } catch (error) {
      answer(req, res, error, log);
    }
  };
}

/** Node's HTTP server with our limits: what takes too long or is not HTTP is answered in JSON and cut. */
export function createDoor(listener: RequestListener): Server {
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 1000,
      // Longer than the 60 s of the proxies in front, so that they never send on a connection we are closing.
      keepAliveTimeout: 65_000,
      // Node would refuse with an empty answer; `admit` does it in JSON.
      requireHostHeader: false,
    },
    listener,
  );
  // Node would drop the headers beyond a count silently, a key among them perhaps; `admit` counts instead.
  server.maxHeadersCount = 0;
  // The body is asked for only when everything else is right; see `readBody`.
  server.on("checkContinue", listener);
  server.on("checkExpectation", listener);
  server.on("connect", (_req: IncomingMessage, socket: Duplex) => answerRaw(socket, "method_not_allowed"));
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (isClosing(socket)) return;
    const pending = answerUnderWay(socket);
    if (error.code === "ECONNRESET" || !socket.writable || pending?.headersSent === true) socket.destroy();
    else if (pending?.req.complete === true) {
      pending.shouldKeepAlive = false;
      announceClose(socket);
    } else answerRaw(socket, PARSER_FAULTS[error.code ?? ""] ?? "bad_request");
  });
  return server;
}

const PARSER_FAULTS: Record<string, Reason> = {
  HPE_HEADER_OVERFLOW: "headers_too_large",
  ERR_HTTP_REQUEST_TIMEOUT: "request_timeout",
};

/**
 * The answer that is owed or being given on this connection. What is written past it would be read as part of it, of a
 * stream perhaps; Node's own reply to a parser's error looks at the same member.
 */
function answerUnderWay(
  socket: Duplex & { _httpMessage?: ServerResponse | null },
): ServerResponse | undefined {
  return socket._httpMessage ?? undefined;
}

/** Answers where there is no request to answer to. */
function answerRaw(socket: Duplex, reason: Reason): void {
  const { status, error, message } = FAULTS[reason];
  const requestId = nextRequestId();
  const body = JSON.stringify({ error, reason, message, requestId });
  const headers = {
    ...COMMON_HEADERS,
    "X-Request-Id": requestId,
    "Content-Type": "application/json; charset=utf-8",
    Connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  endConnection(
    socket,
    `HTTP/1.1 ${status} ${error}\r\n${lines.join("")}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Resolves with the port once the server listens. */
export function listen(server: Server, port: number, host: string | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
      server.off("error", reject);
      resolve((server.address() as { port: number }).port);
    });
  });
}
