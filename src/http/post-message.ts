import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import type { Session } from "../session/session.ts";
import { COMMON_HEADERS, requestIdOf, writeWhole } from "./answer.ts";
import { queryOf } from "./admit.ts";
import type { Caller } from "./authenticate.ts";
import { clientAddress } from "./client-address.ts";
import { expectJson, readBody } from "./read-body.ts";
import type { DoorParts, Route } from "./routes.ts";

const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether this has the form of a session id. */
export const isSessionId = (id: string): boolean => SESSION_ID.test(id);

const ACCEPTED = "Accepted";

/**
 * `POST /messages`: gives one message to the server of a session. Answers 202 when the server was given it, and never
 * before.
 */
export function createPostMessage(parts: DoorParts): Route {
  const { sessions, reception, elsewhere, maxBodyBytes } = parts;

  return async (req, res) => {
    if (sessions.mustVerify) await sessions.verify();
    const { id, caller, address, key, shown, session } = findSession(req, parts);
    if (session === undefined)
      await elsewhere
        .expect(id, caller, { transport: "sse", address })
        .catch((error: unknown) => refuse(error, shown, parts));
    expectJson(req);
    const message = await readBody(req, res, maxBodyBytes);
    if (!parts.mayUse(key)) throw new GatewayError("api_key_invalid");
    const envelope = scanMessage(message);
    if (typeof envelope === "string") throw new GatewayError(envelope);
    if (session === undefined || session.isLeaving) {
      await elsewhere.deliver(id, caller, message, envelope);
      return accept(res);
    }
    // What is in flight may finish, and for that the client's answers must pass.
    if (sessions.isDraining && !sessions.handsOver && envelope.kind === "request")
      throw new GatewayError("draining");
    const right = session.hasBegun ? session : await reception.judgeFirst(session, message, envelope);
    const given = right.deliver(message, envelope);
    if (given !== undefined) await given;
    accept(res);
  };
}

/** Names and values in turn, which Node writes as they are; the value of the last is each answer's own. */
const ACCEPTED_HEADERS = Object.entries({
  ...COMMON_HEADERS,
  "Content-Type": "text/plain; charset=utf-8",
  "Content-Length": String(ACCEPTED.length),
  "X-Request-Id": "",
}).flat();

function accept(res: ServerResponse): void {
  ACCEPTED_HEADERS[ACCEPTED_HEADERS.length - 1] = requestIdOf(res);
  res.writeHead(202, ACCEPTED_HEADERS);
  writeWhole(res, ACCEPTED);
  res.end();
}

/** Which session a POST names, who posts, and the session itself when it is here. */
interface Addressed {
  id: string;
  caller: string;
  address: string;
  /** Id of the key that was shown, or that made the session's token. */
  key: string;
  /** Set when a key was shown. */
  shown: Caller | undefined;
  session: Session | undefined;
}

/**
 * The session that a POST names and may use: with a key of the caller that opened it, or without a key by its token,
 * which a key of that caller has made. A session of someone else answers as one that does not exist, whatever else is
 * right about the request.
 */
function findSession(req: IncomingMessage, parts: DoorParts): Addressed {
  const { sessions, tokens, authenticator, trustProxy } = parts;
  const query = queryOf(req);
  const address = clientAddress(req, trustProxy);
  const shown = authenticator.identify(req, undefined, address);
  const token = query.get("token");
  if (shown === undefined && token === undefined) throw new GatewayError("api_key_missing");
  const id = query.get("sessionId");
  if (id === undefined || id === "") throw new GatewayError("session_id_required");
  if (!isSessionId(id)) throw notFound(parts, shown);
  const opening = shown === undefined ? tokens.opens(id, token as string) : undefined;
  const caller = shown?.name ?? opening?.caller;
  const key = shown?.key ?? opening?.id;
  if (caller === undefined || key === undefined) {
    authenticator.countFailure(address, "session_token", "session_not_found");
    throw new GatewayError("session_not_found");
  }
  const session = sessions.find(id);
  if (session !== undefined && caller !== session.caller) {
    parts.log.warn(
      { event: "session_owner_mismatch", session: id, caller, address },
      "session of another caller",
    );
    const refusal = notFound(parts, shown);
    parts.events.emit({ type: "session_foreign", session: id, caller, address });
    throw refusal;
  }
  // Answers to it would come where nobody looks for them.
  if (session?.transport === "streamable") throw notFound(parts, shown);
  return { id, caller, address, key, shown, session };
}

function refuse(error: unknown, shown: Caller | undefined, parts: DoorParts): never {
  throw error instanceof GatewayError && error.reason === "session_not_found"
    ? notFound(parts, shown)
    : error;
}

/** Misses of clients that show a token are not counted: many may come back to sessions that are gone. */
function notFound({ authenticator }: DoorParts, shown: Caller | undefined): GatewayError {
  if (shown !== undefined) authenticator.countMiss(shown);
  return new GatewayError("session_not_found");
}
