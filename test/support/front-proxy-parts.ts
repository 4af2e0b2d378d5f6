import { Agent, type ClientRequest, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Far shorter than the gateway keeps one (65 s), so that no request meets a connection that is being closed. */
const IDLE_MS = 2000;

/** Keeps connections to one instance for reuse, and closes them itself once they idle. */
export class EdgeAgent extends Agent {
  readonly #idle = new Map<Duplex, NodeJS.Timeout>();
  readonly #known = new WeakSet<Duplex>();
  #isRetired = false;

  constructor() {
    super({ keepAlive: true, noDelay: true });
  }

  override keepSocketAlive(socket: Duplex): boolean {
    if (this.#isRetired) return false;
    const timer = setTimeout(() => socket.destroy(), IDLE_MS);
    if (!this.#known.has(socket)) socket.once("close", () => this.#forget(socket));
    this.#known.add(socket);
    this.#idle.set(socket, timer.unref());
    return super.keepSocketAlive(socket) as unknown as boolean;
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#forget(socket);
    super.reuseSocket(socket, request);
  }

  /** Closes what idles, now and from now on; requests under way go on. */
  retire(): void {
    this.#isRetired = true;
    for (const socket of this.#idle.keys()) socket.destroy();
  }

  #forget(socket: Duplex): void {
    clearTimeout(this.#idle.get(socket));
    this.#idle.delete(socket);
  }
}

/** Bytes among which the `endpoint` event must be. */
const SNIFFED_BYTES = 4096;

/** Finds the session's id in the first bytes of its stream. */
export class SessionSniffer {
  sessionId: string | undefined;
  #text = "";

  feed(chunk: Buffer): void {
    if (this.#text.length > SNIFFED_BYTES) return;
    this.#text += chunk.toString("latin1");
    this.sessionId = /[?&]sessionId=([\w-]+)[&\s]/.exec(this.#text)?.[1];
  }
}

const HOP_BY_HOP = /^(connection|keep-alive|transfer-encoding|te|trailer|upgrade|proxy-.*)$/i;

/** The headers of a message that are for its far end. */
export function endToEndHeaders(message: IncomingMessage): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const [name, values = []] of Object.entries(message.headersDistinct))
    if (!HOP_BY_HOP.test(name)) headers[name] = values;
  return headers;
}

/** What an edge tells an instance: the client's headers, and where the client is. */
export function forwardedHeaders(req: IncomingMessage): Record<string, string | string[]> {
  const address = req.socket.remoteAddress ?? "";
  const before = req.headers["x-forwarded-for"];
  const { host = "" } = req.headers;
  return {
    ...endToEndHeaders(req),
    host,
    "x-forwarded-for": before === undefined ? address : `${String(before)}, ${address}`,
    "x-real-ip": address,
    "x-forwarded-proto": "http",
    "x-forwarded-host": host,
  };
}
