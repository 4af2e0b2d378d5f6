import { GatewayError } from "../errors.ts";
import { isBatch } from "../protocol/batch.ts";
import { scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { isModern } from "../protocol/modern.ts";
import { laneId } from "../session/lane-id.ts";
import { acceptsBoth, prefersStream } from "./accept.ts";
import { answerEmpty, requestIdOf } from "./answer.ts";
import { AnswerStream } from "./answer-stream.ts";
import { answerBatch } from "./batch-answer.ts";
import { retryMs } from "./open-stream.ts";
import { expectJson, readBody } from "./read-body.ts";
import { resumeStream } from "./resume-stream.ts";
import type { DoorParts, Route } from "./routes.ts";
import { answerRpcError, lateRpcError } from "./rpc-answer.ts";
import {
  FIRST_PRIMED,
  give,
  identify,
  methodNotAllowed,
  UNNAMED_VERSION,
  type StreamableRequest,
} from "./streamable-request.ts";

/** Where Streamable HTTP is spoken to what stands at the root. */
export const STREAMABLE_PATH = "/mcp";

/** `/mcp`: Streamable HTTP with sessions (2025-03-26 to 2025-11-25), and what needs none (from 2026-07-28 on). */
export function createStreamable(parts: DoorParts): Route {
  return async (req, res) => {
    try {
      if (parts.sessions.mustVerify) await parts.sessions.verify();
      const found = identify(req, res, parts);
      const request = found instanceof Promise ? await found : found;
      switch (req.method) {
        case "POST":
          return await post(request, parts);
        case "GET":
          return await resumeStream(request, parts);
        case "DELETE":
          return await endSession(request, parts);
        default:
          throw methodNotAllowed(res);
      }
    } catch (error) {
      answerRpcError(req, res, error, parts.log);
    }
  };
}

async function post(request: StreamableRequest, parts: DoorParts): Promise<void> {
  const { req, res, caller, server, id } = request;
  const { accept } = req.headers;
  if (!acceptsBoth(accept)) throw new GatewayError("not_acceptable");
  expectJson(req);
  const message = await readBody(req, res, parts.maxBodyBytes);
  // A body may take its time, and its key be revoked meanwhile.
  if (!parts.mayUse(caller.key)) throw new GatewayError("api_key_invalid");
  if (isBatch(message) && id !== undefined && request.version === UNNAMED_VERSION)
    return answerBatch(request, message, parts);
  const envelope = scanMessage(message);
  if (typeof envelope === "string") throw new GatewayError(envelope);
  if (isModern(req.headers, message, envelope)) {
    const upstream = parts.servers.statelessFor(server, caller.name);
    if (upstream === undefined) throw new GatewayError("not_found");
    return parts.modern.serve(req, res, {
      message,
      envelope,
      caller: caller.name,
      key: caller.key,
      upstream,
    });
  }
  // Behind another answer on its connection a stream would wait unseen.
  if (envelope.kind === "request" && res.socket === null) throw new GatewayError("bad_request");
  if (id === undefined) return begin(request, message, envelope, parts);
  if (envelope.kind === "request") return ask(request, id, message, envelope, parts);
  await give(request, id, message, envelope, parts);
  answerEmpty(res, 202);
}

/** The first request of a client: opens its session. */
async function begin(
  request: StreamableRequest,
  message: Buffer,
  envelope: Envelope,
  parts: DoorParts,
): Promise<void> {
  const { req, res, caller, server, address } = request;
  if (envelope.method !== "initialize" || envelope.kind !== "request")
    throw new GatewayError("mcp_session_id_required");
  const userAgent = (req.headers["user-agent"] ?? "").slice(0, 256);
  const visitor = { caller: caller.name, key: caller.key, server, userAgent, address, clientId: undefined };
  const session = await parts.sessions.admit(visitor, { transport: "streamable" });
  // A client that is gone already has nobody to tell of its session.
  if (res.closed) return session.close("client_gone");
  return ask({ ...request, session }, session.id, message, envelope, parts, () =>
    session.close("client_gone"),
  );
}

/** Gives a request to the session's server; its answer is this response. */
async function ask(
  request: StreamableRequest,
  id: string,
  message: Buffer,
  envelope: Envelope,
  parts: DoorParts,
  onFailed?: () => void,
): Promise<void> {
  const { req, res, version } = request;
  const lane = laneId(requestIdOf(res), envelope.id as string);
  const stream = new AnswerStream(res, {
    idPrefix: `${id}.${lane}.`,
    canPrime: version >= FIRST_PRIMED,
    prefersStream: prefersStream(req.headers.accept),
    sessionId: id,
    retryMs,
  });
  try {
    const given = give(request, id, message, envelope, parts, { lane, stream });
    if (given !== undefined) await given;
  } catch (error) {
    onFailed?.();
    if (!stream.hasBegun) {
      stream.release();
      return answerRpcError(req, res, error, parts.log, envelope.id);
    }
    // The client may be gone already.
    if (stream.isClosed) return;
    stream.fail(lateRpcError(res, error, parts.log, envelope.id));
  }
}

async function endSession(request: StreamableRequest, { elsewhere }: DoorParts): Promise<void> {
  const { res, id, session, caller } = request;
  if (id === undefined) throw new GatewayError("mcp_session_id_required");
  if (session === undefined || session.isLeaving) await elsewhere.end(id, caller.name);
  else session.close("deleted");
  answerEmpty(res, 200);
}
