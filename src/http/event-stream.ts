import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import {
  encodeEndpoint,
  encodePrime,
  encodeRetry,
  EVENT_END,
  eventHead,
  HEARTBEAT,
} from "../protocol/sse.ts";
import type { ClientStream, ClientStreamEvents } from "../session/client-stream.ts";
import { COMMON_HEADERS, requestIdOf } from "./answer.ts";

/** A message up to this size is copied into one text with what stands around it; a larger one is written beside that. */
export const COPY_BYTES = 16 * 1024;
/** Ends an event that is a chunk of an HTTP/1.1 body (RFC 9112, 7.1). */
const CHUNK_END = `${EVENT_END}\r\n`;
/** How long a stream that was ended may take to hand out its last bytes. */
const END_MS = 5000;

/** Names and values in turn, which Node writes as they are; the value of the last is each stream's own. */
const EVENTS_HEADERS = [
  ...Object.entries({
    ...COMMON_HEADERS,
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",
  }).flat(),
  "X-Request-Id",
];

/** Answers 200 with a stream of events, which no proxy is to keep or change. */
export function beginEvents(res: ServerResponse, headers: Record<string, string> = {}): void {
  res.writeHead(200, [...EVENTS_HEADERS, requestIdOf(res), ...Object.entries(headers).flat()]);
  // A client that vanishes behind a router sends no farewell; the kernel finds out.
  res.socket?.setKeepAlive(true, 60_000);
}

type WriteCallback = (error?: Error | null) => void;

/** An SSE response, as the stream of a session. */
export class EventStream implements ClientStream {
  /** The response that it is. */
  protected readonly res: ServerResponse;
  readonly endsUnheard = false;
  key: string | undefined;
  protected readonly taken = this.whenTaken(() => this.events?.onTaken(this));
  readonly #socket: Socket | null;
  #events: ClientStreamEvents | undefined;
  #idPrefix = "";
  #isClosed = false;
  /** The socket, once messages may be written to it past Node's own framing, which makes four writes of one. */
  #framed: Socket | undefined;
  #onDrain: (() => void) | undefined;

  constructor(res: ServerResponse) {
    this.res = res;
    // A response that is over has none.
    this.#socket = res.socket;
    // Its client may have gone while it was looked for.
    this.#isClosed = res.closed || res.destroyed;
    res.on("close", () => {
      this.#isClosed = true;
      // The connection may go on with other answers.
      if (this.#onDrain !== undefined) this.#socket?.off("drain", this.#onDrain);
      this.closed();
      this.events?.onClose(this);
    });
    // A write to a socket that is going away; "close" follows.
    res.on("error", () => undefined);
  }

  get events(): ClientStreamEvents | undefined {
    return this.#events;
  }

  /** Who is given a stream that is over already, because its client went while it was looked for, is told so too. */
  set events(events: ClientStreamEvents | undefined) {
    this.#events = events;
    if (this.#isClosed) queueMicrotask(() => this.#events === events && events?.onClose(this));
  }

  get canResume(): boolean {
    return true;
  }

  /** Whether the client is gone already. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Answers 200, in one write with the first event if that comes in this turn. */
  begin(headers: Record<string, string> = {}): void {
    const { res } = this;
    const socket = this.#socket;
    beginEvents(res, headers);
    if (socket !== null) corkForTurn(socket);
    // Written by itself the head becomes one text; else Node keeps it in pieces, a kilobyte, for the stream's life.
    res.flushHeaders();
    // All that was to be read of them was; the key, too, is not to lie here for as long as the stream is open.
    res.req.headers = {};
    res.req.rawHeaders = [];
    this.#onDrain = () => this.drained();
    socket?.on("drain", this.#onDrain);
    if (res.chunkedEncoding && socket !== null) this.#framed = socket;
  }

  /**
   * Sends the first event.
   * @param sessionId begins the `id` of each event, so that a client that comes back with one says which session it means.
   */
  announce(sessionId: string, endpointUrl: string, retryMs: number): void {
    this.#idPrefix = `${sessionId}.`;
    this.res.write(encodeEndpoint(endpointUrl, retryMs));
  }

  /**
   * The same for Streamable HTTP. `sequence` is the number after which the client would go on if it were cut now, when
   * it is known and the client can be told.
   * @param idPrefix begins the `id` of each event.
   */
  prime(idPrefix: string, retryMs: number, sequence: number | undefined): void {
    this.#idPrefix = idPrefix;
    this.res.write(encodePrime(sequence === undefined ? undefined : idPrefix + sequence, retryMs));
  }

  get pendingBytes(): number {
    return this.res.writableLength;
  }

  write(sequence: number, message: Buffer): boolean {
    return this.writeEvent(this.#idPrefix, sequence, message, this.taken);
  }

  /** Writes one message under an id that begins so; `taken` is of `whenTaken`. */
  writeEvent(idPrefix: string, sequence: number, message: Buffer, taken: WriteCallback): boolean {
    const head = eventHead(idPrefix, sequence);
    const socket = this.#framed;
    const { res } = this;
    // After its end the socket may be another answer's; of a client that has half closed Node sends what waits, and no more.
    if (socket?.writable !== true || res.writableEnded) {
      res.write(head);
      res.write(message);
      return res.write(EVENT_END, taken);
    }
    corkForTurn(socket);
    const size = head.length + message.length + EVENT_END.length;
    const opening = `${size.toString(16)}\r\n${head}`;
    if (message.length <= COPY_BYTES)
      return socket.write(`${opening}${message.toString("latin1")}${CHUNK_END}`, "latin1", taken);
    socket.write(opening, "latin1");
    socket.write(message);
    return socket.write(CHUNK_END, "latin1", taken);
  }

  /** A callback for writes, which calls `onTaken` when the socket took what was written. */
  whenTaken(onTaken: () => void): WriteCallback {
    return (error) => {
      // Node calls back without an error also for what a socket that was destroyed had not taken.
      if ((error === undefined || error === null) && this.#socket?.destroyed === false) onTaken();
    };
  }

  /** The client has caught up. */
  protected drained(): void {
    this.events?.onDrain(this);
  }

  /** The response is over. */
  protected closed(): void {}

  confirm(): Promise<void> {
    return Promise.resolve();
  }

  ping(): void {
    this.res.write(HEARTBEAT);
  }

  end(retryMs?: number): void {
    this.finish(retryMs === undefined ? undefined : encodeRetry(retryMs));
  }

  cut(): void {
    this.res.destroy();
  }

  /** Ends the response, whose last bytes the client must take within this time. */
  protected finish(last: string | Buffer | undefined, withinMs = END_MS, taken?: WriteCallback): void {
    const { res } = this;
    res.end(last, taken);
    // The kernel has all of it, and needs no watching.
    if (res.writableLength === 0) return;
    const timer = setTimeout(() => res.destroy(), withinMs).unref();
    res.once("close", () => clearTimeout(timer));
  }
}

/** All that a turn has for a client goes in one system call, as Node does it for what it frames. */
function corkForTurn(socket: Socket): void {
  if (socket.writableCorked > 0) return;
  socket.cork();
  process.nextTick(uncork, socket);
}

const uncork = (socket: Socket): void => socket.uncork();
