import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { namesModern } from "../protocol/modern.ts";
import type { Reply } from "../session/session-parts.ts";
import type { Session } from "../session/session.ts";
import { serverOf } from "./addressed.ts";
import { queryOf } from "./admit.ts";
import type { Caller } from "./authenticate.ts";
import { clientAddress } from "./client-address.ts";
import { isSessionId } from "./post-message.ts";
import type { DoorParts } from "./routes.ts";

/** Versions of Streamable HTTP with sessions, and the one before it, which some clients name all the same. */
const VERSIONS = new Set(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]);
/** Who names none speaks this one. It is the only one with batches. */
export const UNNAMED_VERSION = "2025-03-26";

/** From this one on clients know an event without data. */
export const FIRST_PRIMED = "2025-11-25";

/** One request to `/mcp`, and what is known of it before its body is read. */
export interface StreamableRequest {
  req: IncomingMessage;
  res: ServerResponse;
  caller: Caller;
  address: string;
  /** Name of the MCP server. */
  server: string;
  /** The session that it names. */
  id: string | undefined;
  /** That session, if it is here. */
  session: Session | undefined;
  version: string;
}

/** Who asks, and of which session. A session of someone else answers as one that does not exist. */
export function identify(
  req: IncomingMessage,
  res: ServerResponse,
  parts: DoorParts,
): StreamableRequest | Promise<StreamableRequest> {
  const { authenticator, servers, trustProxy, sessions, elsewhere } = parts;
  const address = clientAddress(req, trustProxy);
  const caller = authenticator.identify(req, queryOf(req).get("apiKey"), address);
  if (caller === undefined) throw new GatewayError("api_key_missing");
  const server = serverOf(req, servers, caller.name);
  const version = (req.headers["mcp-protocol-version"] as string | undefined) ?? UNNAMED_VERSION;
  if (namesModern(req.headers)) {
    if (req.method !== "POST") throw methodNotAllowed(res, "POST");
    return { req, res, caller, address, server, version, id: undefined, session: undefined };
  }
  if (!VERSIONS.has(version)) throw new GatewayError("unsupported_version");
  const id = req.headers["mcp-session-id"] as string | undefined;
  const session = id === undefined ? undefined : sessions.find(id);
  const request = { req, res, caller, address, server, version, id, session };
  if (id === undefined) return request;
  const isOurs = session === undefined ? isSessionId(id) : session.caller === caller.name;
  const isMeant = session === undefined || (session.transport === "streamable" && session.server === server);
  if (!isOurs || !isMeant) {
    const refusal = notFound(parts, caller);
    if (session !== undefined && !isOurs)
      parts.events.emit({ type: "session_foreign", session: id, caller: caller.name, address });
    throw refusal;
  }
  if (session !== undefined) {
    sessions.showKey(session, caller.key);
    return request;
  }
  return elsewhere.expect(id, caller.name, { transport: "streamable", server, address }).then(
    () => request,
    (error: unknown) => {
      const isUnknown = error instanceof GatewayError && error.reason === "session_not_found";
      throw isUnknown ? notFound(parts, caller) : error;
    },
  );
}

/** Gives one message to the session, here or elsewhere. Undefined when that is done. */
export function give(
  { caller, session }: StreamableRequest,
  id: string,
  message: Buffer,
  envelope: Envelope,
  { sessions, elsewhere }: DoorParts,
  reply?: Reply,
): Promise<void> | undefined {
  if (session === undefined || session.isLeaving)
    return elsewhere.deliver(id, caller.name, message, envelope, reply);
  // What is in flight may finish, and for that the client's answers must pass.
  if (sessions.isDraining && !sessions.handsOver && envelope.kind === "request")
    throw new GatewayError("draining");
  return session.deliver(message, envelope, reply);
}

function notFound({ authenticator }: DoorParts, caller: Caller): GatewayError {
  authenticator.countMiss(caller);
  return new GatewayError("session_not_found");
}

export function methodNotAllowed(res: ServerResponse, allow = "GET, POST, DELETE"): GatewayError {
  res.setHeader("Allow", allow);
  return new GatewayError("method_not_allowed");
}
