import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import { isClosing } from "./linger.ts";

const MAX_URL_LENGTH = 4096;
const MAX_HEADER_LINES = 100;
/** Headers that mean something here and may stand once; Node keeps the first or joins them, which hides the second. */
const ONCE = new Map(
  ["host", "authorization", "x-api-key", "content-type", "origin", "accept", "last-event-id"].map(
    (name, position) => [name, 1 << position],
  ),
);

/**
 * Refuses requests that are not plain HTTP/1.1 for this server, before anything else looks at them. Node's own parser
 * lets all of these through.
 */
export function admit(req: IncomingMessage): void {
  if (isClosing(req.socket)) throw new GatewayError("bad_request");
  if (req.httpVersion !== "1.1" && !(req.httpVersion === "1.0" && req.url?.startsWith("/health") === true)) {
    throw new GatewayError("http_version");
  }
  const { url = "", rawHeaders } = req;
  if (url.length > MAX_URL_LENGTH) throw new GatewayError("url_too_long");
  // A fragment is never sent; where the path ends would depend on who reads it.
  if (!url.startsWith("/") || url.includes("#"))
    throw new GatewayError(url === "*" ? "method_not_allowed" : "bad_target");
  if (rawHeaders.length > 2 * MAX_HEADER_LINES) throw new GatewayError("headers_too_large");
  let seen = 0;
  for (let line = 0; line < rawHeaders.length; line += 2) {
    const name = (rawHeaders[line] as string).toLowerCase();
    const bit = ONCE.get(name) ?? 0;
    if ((seen & bit) !== 0) throw new GatewayError(name === "host" ? "bad_host" : "repeated_header");
    seen |= bit;
  }
  const { host, expect } = req.headers;
  if (host === undefined && req.httpVersion === "1.1") throw new GatewayError("bad_host");
  if (expect !== undefined && expect.toLowerCase() !== "100-continue")
    throw new GatewayError("expectation_failed");
  const coding = req.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked") throw new GatewayError("transfer_encoding");
}

const NO_PARAMETERS: ReadonlyMap<string, string> = new Map();

/**
 * The parameters of a request's query. Throws `bad_query` for one that stands twice, and for broken percent-encoding;
 * so what a parameter says cannot depend on who reads it.
 */
export function queryOf(req: IncomingMessage): ReadonlyMap<string, string> {
  const { url = "" } = req;
  const mark = url.indexOf("?");
  if (mark < 0 || mark === url.length - 1) return NO_PARAMETERS;
  const parameters = new Map<string, string>();
  for (const part of url.slice(mark + 1).split("&")) {
    const equals = part.indexOf("=");
    const name = decode(equals < 0 ? part : part.slice(0, equals));
    if (parameters.has(name)) throw new GatewayError("bad_query");
    parameters.set(name, equals < 0 ? "" : decode(part.slice(equals + 1)));
  }
  return parameters;
}

function decode(text: string): string {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw new GatewayError("bad_query");
  }
}
