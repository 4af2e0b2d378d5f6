import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";

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
  return (res.requestId ??= `${PROCESS_TAG}-${(requests += 1).toString(36)}`);
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
  res.end(res.req.method === "HEAD" ? undefined : text);
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
  // What is left of an unread body would be read as the next request.
  const hasBody =
    (req.headers["content-length"] ?? "0") !== "0" || req.headers["transfer-encoding"] !== undefined;
  if ((hasBody && !req.complete) || fault.reason === "draining") headers["Connection"] = "close";
  answerJson(res, status, { error: title, reason: fault.reason, message, requestId }, headers);
}

/** The path alone: a query may hold a key. */
export function pathOf(req: IncomingMessage): string {
  const url = req.url ?? "";
  const query = url.indexOf("?");
  return (query < 0 ? url : url.slice(0, query)).slice(0, 100);
}
