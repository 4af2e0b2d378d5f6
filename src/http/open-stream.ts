import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Visitor } from "../session/fingerprint.ts";
import type { Return } from "../session/reception.ts";
import type { Session } from "../session/session.ts";
import type { OpenOptions } from "../session/sessions-parts.ts";
import { accepts } from "./accept.ts";
import { serverOf } from "./addressed.ts";
import { queryOf } from "./admit.ts";
import { clientAddress } from "./client-address.ts";
import { EventStream } from "./event-stream.ts";
import { hasBody } from "./read-body.ts";
import type { DoorParts, Route } from "./routes.ts";

/** Where streams are opened to what stands at the root. */
export const SSE_PATH = "/mcp/sse";

/** Where messages are posted. */
export const MESSAGES_PATH = "/messages";

/** Where a client that has no stream of its own yet names itself, beside the URL. */
const CLIENT_ID_HEADER = "x-client-id";
const CLIENT_ID = /^[\x21-\x7e]{1,128}$/;

/** How long clients wait before they reconnect, in ms: spread, so that they do not all come at once. */
export const retryMs = (): number => 1000 + Math.floor(Math.random() * 1000);

/**
 * `GET /mcp/sse`: a stream whose first event says where to post, of a new session or of the one that the client had. A
 * client that comes back with a valid key is never refused: SDK clients that get anything but 200 then never try again.
 */
export function createOpenStream(parts: DoorParts): Route {
  const { sessions, reception, carrier, tokens, authenticator, trustProxy } = parts;

  /** The token is that of the key which the client shows now; the session may have been opened with another of its caller. */
  const announce = (stream: EventStream, id: string, { key }: Visitor): void =>
    stream.announce(id, `${MESSAGES_PATH}?sessionId=${id}&token=${tokens.for(id, key as string)}`, retryMs());

  function attach(stream: EventStream, session: Session, visitor: Visitor, after?: number): void {
    announce(stream, session.id, visitor);
    sessions.showKey(session, visitor.key);
    session.attach(stream, after);
  }

  /** Opens a session for a stream whose client may go while its seat is looked for. */
  async function openFor(stream: EventStream, visitor: Visitor, options: OpenOptions = {}): Promise<void> {
    const session = await sessions.admit(visitor, options);
    if (stream.isClosed) return session.close("client_gone");
    if (options.isReturning !== true) stream.begin();
    attach(stream, session, visitor);
  }

  async function receive(stream: EventStream, visitor: Visitor, back: Return): Promise<void> {
    stream.begin();
    if (sessions.isDraining) return stream.end(retryMs());
    const found = await reception.findAnywhere(visitor, back);
    if (found === "later") return stream.end(retryMs());
    const told = found === undefined ? await reception.recall(visitor, back.protocolVersion) : undefined;
    // A session that was found waits on for a client that has gone again.
    if (stream.isClosed) return;
    if (!parts.mayUse(visitor.key as string)) return stream.end();
    if (found === undefined) {
      if (sessions.isDraining) return stream.end(retryMs());
      try {
        await openFor(stream, visitor, { isReturning: true, ...(told && { told }) });
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        parts.log.warn(
          { event: "sent_away", caller: visitor.caller, reason: error.reason },
          "told to come again",
        );
        stream.end(retryMs());
      }
    } else if ("session" in found) {
      if (!found.session.isOpen || found.session.isLeaving) return stream.end(retryMs());
      attach(stream, found.session, visitor, found.after);
    } else {
      announce(stream, found.sessionId, visitor);
      await carrier.carry(stream, found, visitor);
    }
  }

  return (req, res) => {
    const address = clientAddress(req, trustProxy);
    const query = queryOf(req);
    const caller = authenticator.identify(req, query.get("apiKey"), address);
    if (caller === undefined) throw new GatewayError("api_key_missing");
    if (!accepts(req.headers.accept, "text/event-stream")) throw new GatewayError("not_acceptable");
    // Behind another answer on its connection a stream would wait unseen; behind an unread body, so would its end.
    if (res.socket === null || hasBody(req)) throw new GatewayError("bad_request");
    const userAgent = (req.headers["user-agent"] ?? "").slice(0, 256);
    const server = serverOf(req, parts.servers, caller.name);
    const clientId = clientIdOf(req, query);
    const visitor = { caller: caller.name, key: caller.key, server, userAgent, address, clientId };
    const back = returnOf(req);
    const stream = new EventStream(res);
    stream.key = caller.key;
    const found = reception.findHere(visitor, back);
    if (found !== undefined && "session" in found) {
      stream.begin();
      return attach(stream, found.session, visitor, found.after);
    }
    if (back.last !== undefined || back.protocolVersion !== undefined) return receive(stream, visitor, back);
    return openFor(stream, visitor);
  };
}

function clientIdOf(req: IncomingMessage, query: ReadonlyMap<string, string>): string | undefined {
  const clientId = query.get("clientId") ?? (req.headers[CLIENT_ID_HEADER] as string | undefined);
  if (clientId !== undefined && !CLIENT_ID.test(clientId)) throw new GatewayError("bad_client_id");
  return clientId;
}

/** What a request says of an earlier stream. Only a client that was initialized names the version that it negotiated. */
function returnOf({ headers }: IncomingMessage): Return {
  const version = headers["mcp-protocol-version"] as string | undefined;
  const event = /^([0-9a-f-]{36})\.(\d{1,15})$/.exec((headers["last-event-id"] as string | undefined) ?? "");
  return {
    last: event === null ? undefined : { sessionId: event[1] as string, sequence: Number(event[2]) },
    // From 2026 on there is nothing to initialize and so nothing to come back to.
    protocolVersion: version !== undefined && /^202[45]-\d\d-\d\d$/.test(version) ? version : undefined,
  };
}
