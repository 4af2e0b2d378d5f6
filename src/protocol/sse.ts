/** The heartbeat: an SSE comment, which keeps proxies from cutting a silent stream and which clients ignore. */
export const HEARTBEAT = Buffer.from(": ping\n\n");

/** Ends an event. */
export const EVENT_END = "\n\n";

/**
 * What stands before a message in an SSE event with `id: <session>.<sequence>`, in ASCII; `EVENT_END` stands behind it.
 * The message must be on one line (`onOneLine`): a line break would end the event's data.
 */
export function eventHead(idPrefix: string, sequence: number): string {
  return `id: ${idPrefix}${sequence}\nevent: message\ndata: `;
}

/** The first event of an HTTP+SSE stream. `retry` is how long the client waits, in ms, before it reconnects. */
export function encodeEndpoint(url: string, retryMs: number): string {
  return `retry: ${retryMs}\nevent: endpoint\ndata: ${url}${EVENT_END}`;
}

/** A last word before a stream ends politely. */
export function encodeRetry(retryMs: number): string {
  return `retry: ${retryMs}${EVENT_END}`;
}

/**
 * The first event of a stream that can be resumed: `retry`, and an event without data whose `id` a client that was cut
 * before any other event names when it comes again. Without an id it is only `retry`.
 */
export function encodePrime(id: string | undefined, retryMs: number): string {
  return id === undefined ? encodeRetry(retryMs) : `retry: ${retryMs}\nid: ${id}\ndata: ${EVENT_END}`;
}
