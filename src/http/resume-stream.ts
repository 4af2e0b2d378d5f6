import { GatewayError } from "../errors.ts";
import { requestIdOf } from "../session/lane-id.ts";
import { accepts } from "./accept.ts";
import { EventStream } from "./event-stream.ts";
import { retryMs } from "./open-stream.ts";
import { hasBody } from "./read-body.ts";
import { answerNoMore, ResumedStream } from "./resumed-stream.ts";
import type { DoorParts } from "./routes.ts";
import { FIRST_PRIMED, type StreamableRequest } from "./streamable-request.ts";

/** Which event a client had last: of its own stream, or of the lane of one of its requests. */
interface LastEvent {
  lane: string | undefined;
  sequence: number;
}

/**
 * `GET /mcp`: the client's own stream of its session, or with the `Last-Event-ID` of a request's stream the rest of that
 * one. A stream that is there already ends: its client has lost it without our seeing it.
 */
export async function resumeStream(request: StreamableRequest, parts: DoorParts): Promise<void> {
  const { req, res, id, session, caller, version } = request;
  if (!accepts(req.headers.accept, "text/event-stream")) throw new GatewayError("not_acceptable");
  if (id === undefined) throw new GatewayError("mcp_session_id_required");
  if (res.socket === null || hasBody(req)) throw new GatewayError("bad_request");
  const last = lastEventOf(req.headers["last-event-id"] as string | undefined, id);
  const lane = last?.lane;
  if (lane !== undefined && requestIdOf(lane) === undefined) throw new GatewayError("event_unknown");
  const idPrefix = lane === undefined ? `${id}.` : `${id}.${lane}.`;
  const headers = { "Mcp-Session-Id": id };
  const canPrime = version >= FIRST_PRIMED;
  if (session !== undefined && !session.isLeaving) {
    const sequence = last?.sequence ?? session.takenUpTo;
    if (lane !== undefined && session.isLaneOver(lane, sequence)) return answerNoMore(res);
    const stream = new EventStream(res);
    stream.key = caller.key;
    stream.begin(headers);
    stream.prime(idPrefix, retryMs(), canPrime ? sequence : undefined);
    if (lane === undefined) session.attach(stream, last?.sequence);
    else session.resumeLane(lane, stream, sequence);
    return;
  }
  // With what the client has said: SDK clients that are cut without an id forget which stream it was.
  const after = canPrime ? last?.sequence : undefined;
  const stream =
    lane === undefined ? new EventStream(res) : new ResumedStream(res, { idPrefix, after, headers, retryMs });
  stream.key = caller.key;
  if (lane === undefined) {
    stream.begin(headers);
    stream.prime(idPrefix, retryMs(), after);
  }
  const found = parts.sessions.isDraining ? undefined : await parts.reception.findById(id, caller.name);
  if (stream.isClosed) return;
  // The key may have been revoked while the store was asked.
  if (found === undefined || !parts.mayUse(caller.key)) return stream.end(retryMs());
  if ("session" in found) {
    if (!found.session.isOpen || found.session.isLeaving) return stream.end(retryMs());
    if (lane === undefined) found.session.attach(stream, last?.sequence);
    else found.session.resumeLane(lane, stream, last?.sequence ?? 0);
  } else {
    const place = {
      ...(last === undefined ? {} : { after: last.sequence }),
      ...(lane === undefined ? {} : { lane }),
    };
    await parts.carrier.carry(stream, { ...found, ...place }, { caller: caller.name, key: caller.key });
  }
}

/** What a `Last-Event-ID` says, if it is of this session; anything else is as if it were not there. */
function lastEventOf(header: string | undefined, id: string): LastEvent | undefined {
  const event = /^([0-9a-f-]{36})\.(?:([\w~-]{1,200})\.)?(\d{1,15})$/.exec(header ?? "");
  if (event === null || event[1] !== id) return undefined;
  return { lane: event[2], sequence: Number(event[3]) };
}
