/** A longer id of a request is not repeated in its lane's. */
const MAX_ID_LENGTH = 96;

/**
 * The name of a request's lane, which goes into the ids of its events: what is the door's own, and the request's id. So an
 * instance that knows nothing of the lane any more can still answer the request.
 * @param tag is like no other in the session, of A-Z, a-z, 0-9 and `-`.
 */
export function laneId(tag: string, requestId: string): string {
  if (requestId.length > MAX_ID_LENGTH) return tag;
  return `${tag}~${Buffer.from(requestId).toString("base64url")}`;
}

/** The id, as JSON text, of the request whose lane this is, when it says so. */
export function requestIdOf(lane: string): string | undefined {
  const [, encoded] = lane.split("~", 2);
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64url").toString();
  // It comes back from a client, and goes into an answer as it is.
  return text.length <= MAX_ID_LENGTH && isId(text) ? text : undefined;
}

/** Whether this is the JSON text of an id. */
export function isId(text: string): boolean {
  try {
    const id: unknown = JSON.parse(text);
    return (typeof id === "string" || Number.isInteger(id)) && !/[\n\r]/.test(text);
  } catch {
    return false;
  }
}
