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
  const text = JSON.stringify(body);
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

/** Answers with a fault as `{error, reason, message, requestId}`. Anything that is not a fault is a bug: told to the log, hidden from the client. */
export function answerError(req: IncomingMessage, res: ServerResponse, error: unknown, log: Log): void {
  const fault = error instanceof GatewayError ? error : new GatewayError("internal", { cause: error });
  const { status, error: title, message, retryAfterSeconds } = fault.words;
  const requestId = requestIdOf(res);
  const told = {
    event: "refused",
    requestId,
    method: req.method,
    path: pathOf(req),
    status,
    reason: fault.reason,
  };
  if (fault.reason === "internal") log.error({ ...told, err: error }, "request failed");
  else log.info(told, "request refused");
  // A stream that has begun can only be cut.
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const headers: Record<string, string> = {};
  if (retryAfterSeconds !== undefined) headers["Retry-After"] = String(retryAfterSeconds);
  if (status === 401) {
    headers["WWW-Authenticate"] =
      `Bearer realm="mcp-sse-gateway"${fault.reason === "api_key_invalid" ? ', error="invalid_token"' : ""}`;
  }
  if (status === 415) headers["Accept-Post"] = "application/json";
  // What `OPTIONS *` may be told: the methods of all routes.
  if (status === 405 && !res.hasHeader("Allow")) headers["Allow"] = "GET, HEAD, POST";
  // A body that nobody read goes with its connection, also when it has come by now: what was looked up must not show.
  if ((hasBody(req) && !req.readableEnded) || fault.reason === "draining") headers["Connection"] = "close";
  answerJson(res, status, { error: title, reason: fault.reason, message, requestId }, headers);
}

/** The path without what may be a key: no query, and of its segments only those that are plain words. */
export function pathOf(req: IncomingMessage): string {
  const [path = ""] = (req.url ?? "").split("?", 1);
  return path
    .slice(0, 100)
    .replaceAll(/[^/]+/g, (segment) => (/^[a-z._-]{1,30}$/i.test(segment) ? segment : "*"));
}
