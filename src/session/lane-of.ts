import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import type { Requests } from "./requests.ts";

/** What a server says to all of a client, not about one of its requests. */
const ABOUT_NO_REQUEST =
  /^notifications\/(?:.*list_changed|resources\/updated|tasks\/status|elicitation\/complete)$/;

/**
 * The lane of the request that a request or notification of the server is about. Only progress says which that is;
 * anything else that is about some request goes with the newest that the client listens to: the newest of all may have
 * been sent again after a crash, and its answer had before. Undefined: it is for the client's own stream.
 */
export function laneOf(
  message: Buffer,
  { method }: Envelope,
  requests: Requests,
  hasStream: (lane: string) => boolean,
): string | undefined {
  if (method === "notifications/progress") {
    const token = locate(message, ["params", "progressToken"]);
    return token && requests.laneOfProgress(textAt(message, token));
  }
  return ABOUT_NO_REQUEST.test(method as string) ? undefined : requests.newestLane(hasStream);
}
