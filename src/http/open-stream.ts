import { GatewayError } from "../errors.ts";
import { queryOf } from "./admit.ts";
import { clientAddress } from "./client-address.ts";
import { EventStream } from "./event-stream.ts";
import { hasBody } from "./read-body.ts";
import type { DoorParts, Route } from "./routes.ts";

/** Where messages are posted. */
export const MESSAGES_PATH = "/messages";

/** How long clients wait before they reconnect, in ms: spread, so that they do not all come at once. */
export const retryMs = (): number => 1000 + Math.floor(Math.random() * 1000);

/** `GET /mcp/sse`: opens a session and its stream, whose first event says where to post. */
export function createOpenStream({ sessions, tokens, authenticator, trustProxy }: DoorParts): Route {
  return (req, res) => {
    const address = clientAddress(req, trustProxy);
    const caller = authenticator.identify(req, queryOf(req).get("apiKey"), address);
    if (caller === undefined) throw new GatewayError("api_key_missing");
    if (!acceptsEventStream(req.headers.accept)) throw new GatewayError("not_acceptable");
    // Behind another answer on its connection a stream would wait unseen; behind an unread body, so would its end.
    if (res.socket === null || hasBody(req)) throw new GatewayError("bad_request");
    const userAgent = (req.headers["user-agent"] ?? "").slice(0, 256);
    const session = sessions.open({ caller: caller.name, userAgent, address });
    const stream = new EventStream(res, session.id);
    const endpoint = `${MESSAGES_PATH}?sessionId=${session.id}&token=${tokens.for(session.id)}`;
    stream.open(endpoint, retryMs(), session);
    session.attach(stream);
  };
}

/** Whether an Accept header leaves room for an event stream. curl sends none that says no. */
function acceptsEventStream(accept: string | undefined): boolean {
  if (accept === undefined) return true;
  return accept.split(",").some((range) => {
    const [type = "", ...parameters] = range
      .toLowerCase()
      .split(";")
      .map((part) => part.trim());
    const isRefused = parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
    return !isRefused && ["text/event-stream", "text/*", "*/*"].includes(type);
  });
}
