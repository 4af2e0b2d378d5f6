import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import type { Session } from "../session/session.ts";
import { COMMON_HEADERS, requestIdOf } from "./answer.ts";
import { queryOf } from "./admit.ts";
import type { Caller } from "./authenticate.ts";
import { clientAddress } from "./client-address.ts";
import { expectJson, readBody } from "./read-body.ts";
import type { DoorParts, Route } from "./routes.ts";

const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const ACCEPTED = "Accepted";

/**
 * `POST /messages`: gives one message to the server of a session. Answers 202 when the server was given it, and never
 * before.
 */
export function createPostMessage(parts: DoorParts): Route {
  const { sessions, maxBodyBytes } = parts;

  return async (req, res) => {
    const session = await findSession(req, parts);
    expectJson(req);
    const message = await readBody(req, res, maxBodyBytes);
    const envelope = scanMessage(message);
    if (typeof envelope === "string") throw new GatewayError(envelope);
    // What is in flight may finish, and for that the client's answers must pass.
    if (sessions.isDraining && envelope.kind === "request") throw new GatewayError("draining");
    const given = session.deliver(message, envelope);
    if (given !== undefined) await given;
    accept(res);
  };
}

function accept(res: ServerResponse): void {
  res.writeHead(202, {
    ...COMMON_HEADERS,
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": String(ACCEPTED.length),
    "X-Request-Id": requestIdOf(res),
  });
  res.end(ACCEPTED);
}

/**
 * The session that a POST names and may use: with a key of the caller that opened it, or without a key by its token.
 * A session of someone else answers as one that does not exist, whatever else is right about the request.
 */
function findSession(req: IncomingMessage, parts: DoorParts): Session | Promise<Session> {
  const { sessions, tokens, authenticator, trustProxy } = parts;
  const query = queryOf(req);
  const address = clientAddress(req, trustProxy);
  const caller = authenticator.identify(req, undefined, address);
  const token = query.get("token");
  if (caller === undefined && token === undefined) throw new GatewayError("api_key_missing");
  const id = query.get("sessionId");
  if (id === undefined || id === "") throw new GatewayError("session_id_required");
  if (!SESSION_ID.test(id)) throw notFound(parts, caller);
  if (caller === undefined && !tokens.opens(id, token as string)) {
    authenticator.countFailure(address);
    throw new GatewayError("session_not_found");
  }
  const session = sessions.find(id);
  if (session === undefined) return findElsewhere(id, caller, parts);
  if (caller !== undefined && caller.name !== session.caller) {
    parts.log.warn(
      { event: "session_owner_mismatch", session: id, caller: caller.name, address },
      "session of another caller",
    );
    throw notFound(parts, caller);
  }
  return session;
}

async function findElsewhere(id: string, caller: Caller | undefined, parts: DoorParts): Promise<never> {
  const record = await parts.whereabouts.find(id);
  if (record === undefined || (caller !== undefined && caller.name !== record.caller))
    throw notFound(parts, caller);
  throw new GatewayError("session_elsewhere");
}

function notFound({ authenticator }: DoorParts, caller: Caller | undefined): GatewayError {
  if (caller !== undefined) authenticator.countMiss(caller);
  return new GatewayError("session_not_found");
}
