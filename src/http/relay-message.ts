import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import { COMMON_HEADERS, requestIdOf } from "./answer.ts";
import { readBody } from "./read-body.ts";
import type { Route } from "./routes.ts";

/** Where other instances bring messages, and the header that proves them. */
export const RELAY_PATH = "/internal/relay";
const RELAY_HEADER = "x-mcp-relay";

/** Names and values in turn, which Node writes as they are; what follows is each answer's own. */
const HEADERS = [
  ...Object.entries({ ...COMMON_HEADERS, "Content-Type": "application/octet-stream" }).flat(),
  "Content-Length",
];
const MAX_TOGETHER_BYTES = 16 * 1024;

/**
 * Takes a message of another instance. Calls `readBody` only for a proven header, with the length that the header
 * tells. `unproven` is answered as a path that is not there, `silent` is not answered.
 */
export type ReceiveRelayed = (
  header: string,
  readBody: (maxBytes: number) => Promise<Buffer>,
) => Promise<{ readonly status: 200 | 421; readonly body: Buffer } | "unproven" | "silent">;

/**
 * `POST /internal/relay`: other instances only. The path stands open to the world, so whoever cannot prove to be one of
 * us finds nothing here, whatever else is right or wrong about the request.
 */
export function createRelayRoute(
  receive: ReceiveRelayed,
  guardOrigin: (req: IncomingMessage) => void,
): Route {
  return async (req, res) => {
    const header = proofOf(req);
    if (header === undefined) throw absent(req);
    const reply = await receive(header, (maxBytes) =>
      readBody(req, res, maxBytes).catch((error: unknown) => {
        throw isTooLarge(error) ? absent(req) : error;
      }),
    );
    if (reply === "unproven") throw absent(req);
    if (reply === "silent") return void res.destroy();
    const { status, body } = reply;
    res.writeHead(status, [...HEADERS, String(body.length), "X-Request-Id", requestIdOf(res)]);
    // As text of one byte a letter Node writes a short answer together with its headers.
    if (body.length <= MAX_TOGETHER_BYTES) res.end(body.toString("latin1"), "latin1");
    else res.end(body);
  };

  /** What any other path would answer: other instances are not held to names and origins, all others are. */
  function absent(req: IncomingMessage): unknown {
    guardOrigin(req);
    return new GatewayError("not_found");
  }
}

function proofOf({ method, headers }: IncomingMessage): string | undefined {
  const header = headers[RELAY_HEADER];
  return method === "POST" && typeof header === "string" ? header : undefined;
}

const isTooLarge = (error: unknown): boolean =>
  error instanceof GatewayError && error.reason === "body_too_large";
