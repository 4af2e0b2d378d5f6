import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** How long, and for how many bytes, a client may go on sending when it was answered that the connection closes. */
const LINGER_MS = 3000;
const LINGER_BYTES = 64 * 1024 * 1024;

const closing = new WeakSet<Duplex>();

/** From now on no request of this connection is carried out (RFC 9112 §9.6). */
export function announceClose(socket: Duplex): void {
  closing.add(socket);
}

/** Whether the client was told that this connection closes. */
export function isClosing(socket: Duplex): boolean {
  return closing.has(socket);
}

/**
 * Ends an answer to a request whose body nobody read. A connection that closes upon unread bytes is reset, and the
 * reset takes the answer with it when the client is still sending; so the rest is thrown away first.
 */
export function endAfterBody(req: IncomingMessage, res: ServerResponse): void {
  const end = () => (clearTimeout(timer), res.end());
  const timer = setTimeout(end, LINGER_MS).unref();
  let left = LINGER_BYTES;
  req.on("data", (chunk: Buffer) => {
    if ((left -= chunk.length) < 0) end();
  });
  req.once("end", end).once("close", end).resume();
}

/** The same for a connection that Node has given up on: `answer` is the last that is said there. */
export function endConnection(socket: Duplex, answer: string): void {
  announceClose(socket);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  let left = LINGER_BYTES;
  socket.on("data", (chunk: Buffer) => {
    if ((left -= chunk.length) < 0) socket.destroy();
  });
  // Node took its own listener away, and nobody is left to hear of it.
  socket.on("error", () => undefined).once("close", () => clearTimeout(timer));
  socket.end(answer);
  socket.resume();
}
