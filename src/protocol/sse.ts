/** The heartbeat: an SSE comment, which keeps proxies from cutting a silent stream and which clients ignore. */
export const HEARTBEAT = Buffer.from(": ping\n\n");

const EVENT = "\nevent: message\ndata: ";
const END = "\n\n";

/**
 * One message as an SSE event with `id: <session>.<sequence>`, in one buffer. The message must be on one line
 * (`onOneLine`): a line break would end the event's data.
 */
export function encodeMessage(idPrefix: string, sequence: number, message: Buffer): Buffer {
  const head = `id: ${idPrefix}${sequence}${EVENT}`;
  const event = Buffer.allocUnsafe(head.length + message.length + 2);
  event.write(head, 0, "latin1");
  event.set(message, head.length);
  event.write(END, head.length + message.length, "latin1");
  return event;
}

/** The same in three pieces, for a message too large to be copied. */
export function encodeLargeMessage(
  idPrefix: string,
  sequence: number,
  message: Buffer,
): [string, Buffer, string] {
  return [`id: ${idPrefix}${sequence}${EVENT}`, message, END];
}

/** The first event of an HTTP+SSE stream. `retry` is how long the client waits, in ms, before it reconnects. */
export function encodeEndpoint(url: string, retryMs: number): string {
  return `retry: ${retryMs}\nevent: endpoint\ndata: ${url}${END}`;
}

/** A last word before a stream ends politely. */
export function encodeRetry(retryMs: number): string {
  return `retry: ${retryMs}${END}`;
}

/**
 * The first event of a stream that can be resumed: `retry`, and an event without data whose `id` a client that was cut
 * before any other event names when it comes again. Without an id it is only `retry`.
 */
export function encodePrime(id: string | undefined, retryMs: number): string {
  return id === undefined ? encodeRetry(retryMs) : `retry: ${retryMs}\nid: ${id}\ndata: ${END}`;
}
