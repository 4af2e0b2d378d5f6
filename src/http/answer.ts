import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { announceClose, endAfterBody } from "./linger.ts";
import { hasBody } from "./read-body.ts";

/** What every answer carries: nothing here may be cached, guessed at, or told to the next site. */
export const COMMON_HEADERS = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
} as const;

const PROCESS_TAG = Math.random().toString(36).slice(2, 8).padEnd(6, "0");
let requests = 0;

/** The id of a request, for the answer and the log. Ours always: what a client sends as its id is not echoed. */
export function requestIdOf(res: ServerResponse & { requestId?: string }): string {
  return (res.requestId ??= nextRequestId());
}

/** A fresh id, always of one length: the length of an answer must tell nothing. */
export function nextRequestId(): string {
  return `${PROCESS_TAG}-${(requests += 1).toString(36).padStart(6, "0")}`;
}

export function answerJson(
  res: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  answerText(res, status, JSON.stringify(body), headers);
}

/** The same for what is JSON text already. */
export function answerText(
  res: ServerResponse,
  status: number,
  text: string | Buffer,
  headers: Record<string, string> = {},
): void {
  res.writeHead(status, {
    ...COMMON_HEADERS,
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": String(Buffer.byteLength(text)),
    "X-Request-Id": requestIdOf(res),
    ...headers,
  });
  const isClosing = headers["Connection"] === "close";
  if (isClosing) announceClose(res.req.socket);
  if (!isClosing || res.req.readableEnded || !hasBody(res.req))
    return void res.end(res.req.method === "HEAD" ? undefined : text);
  res.write(text);
  endAfterBody(res.req, res);
}

/**
 * Writes the whole body, of latin1 text, in one write with the head, and at once; `end()` follows without any. What
 * `end` is given is written as two, since an empty text follows it to tell when all is out.
 */
export function writeWhole(res: ServerResponse, body: string): void {
  res.write(body, "latin1");
  res.socket?.uncork();
}

/** Answers with a status alone. */
export function answerEmpty(res: ServerResponse, status: number): void {
  res.writeHead(status, { ...COMMON_HEADERS, "Content-Length": "0", "X-Request-Id": requestIdOf(res) });
  res.end();
}

/** Answers with a fault as `{error, reason, message, requestId}`. Anything that is not a fault is a bug: told to the log, hidden from the client. */
export function answerError(req: IncomingMessage, res: ServerResponse, error: unknown, log: Log): void {
  const fault = faultOf(error);
  tellRefusal(req, res, fault, log);
  // A stream that has begun can only be cut.
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const { status, error: title, message } = fault.words;
  const body = { error: title, reason: fault.reason, message, requestId: requestIdOf(res) };
  answerJson(res, status, body, refusalHeaders(req, res, fault));
}

export const faultOf = (error: unknown): GatewayError =>
  error instanceof GatewayError ? error : new GatewayError("internal", { cause: error });

/** Tells the log that a request is answered with a fault. */
export function tellRefusal(req: IncomingMessage, res: ServerResponse, fault: GatewayError, log: Log): void {
  const told = {
    event: "refused",
    requestId: requestIdOf(res),
    method: req.method,
    path: pathOf(req),
    status: fault.words.status,
    reason: fault.reason,
  };
  if (fault.reason === "internal") log.error({ ...told, err: fault.cause ?? fault }, "request failed");
  else log.info(told, "request refused");
}

/** What an answer with a fault says beside its body, of whichever shape that is. */
export function refusalHeaders(
  req: IncomingMessage,
  res: ServerResponse,
  { reason, words: { status, retryAfterSeconds } }: GatewayError,
): Record<string, string> {
  const headers: Record<string, string> = {};
  if (retryAfterSeconds !== undefined) headers["Retry-After"] = String(retryAfterSeconds);
  if (status === 401) {
    headers["WWW-Authenticate"] =
      `Bearer realm="mcp-sse-gateway"${reason === "api_key_invalid" ? ', error="invalid_token"' : ""}`;
  }
  if (status === 415) headers["Accept-Post"] = "application/json";
  // What `OPTIONS *` may be told: the methods of all routes.
  if (status === 405 && !res.hasHeader("Allow")) headers["Allow"] = "GET, HEAD, POST";
  // A body that nobody read goes with its connection, also when it has come by now: what was looked up must not show.
  if ((hasBody(req) && !req.readableEnded) || reason === "draining") headers["Connection"] = "close";
  return headers;
}

/** The path without what may be a key: no query, and of its segments only those that are plain words. */
export function pathOf(req: IncomingMessage): string {
  const [path = ""] = (req.url ?? "").split("?", 1);
  return path
    .slice(0, 100)
    .replaceAll(/[^/]+/g, (segment) => (/^[a-z._-]{1,30}$/i.test(segment) ? segment : "*"));
}
