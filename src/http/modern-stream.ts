import type { ServerResponse } from "node:http";
import { HEARTBEAT } from "../protocol/sse.ts";
import { isSlow } from "../session/bounds.ts";
import { answerText } from "./answer.ts";
import { beginEvents } from "./event-stream.ts";

/** How long a reader may take nothing, plus what `isSlow` allows for what waits. */
const SLOW_READER = { slowReaderMs: 30_000 };
/** A server that does not heed a pause is not read for its client's sake beyond this. */
const MAX_PENDING_BYTES = 8 * 1024 * 1024;

/**
 * The answer to one request of the 2026-07-28 era: one JSON text, or from the first message before it on a stream that
 * ends with it. Events have no ids: in this era nothing can be resumed.
 */
export class ModernStream {
  readonly #res: ServerResponse;
  #blockedSince: number | undefined;

  /** @param onDrain called when a client that had fallen behind has caught up. */
  constructor(res: ServerResponse, onDrain: () => void) {
    this.#res = res;
    res.on("drain", () => {
      this.#blockedSince = undefined;
      onDrain();
    });
    // A write to a socket that is going away; "close" follows.
    res.on("error", () => undefined);
  }

  /** Whether a message or a heartbeat has gone out, and with it the status. */
  get hasBegun(): boolean {
    return this.#res.headersSent;
  }

  /** Whether the client is behind. */
  get isBlocked(): boolean {
    return this.#blockedSince !== undefined;
  }

  /** Writes one message, which must be on one line. False when the client does not keep up. */
  write(message: Buffer | string): boolean {
    this.#begin();
    if (this.#res.writableLength > MAX_PENDING_BYTES) {
      this.cut();
      return false;
    }
    this.#res.cork();
    this.#res.write("event: message\ndata: ");
    this.#res.write(message);
    const isTaken = this.#res.write("\n\n");
    this.#res.uncork();
    if (!isTaken) this.#blockedSince ??= performance.now();
    return isTaken;
  }

  ping(): void {
    this.#begin();
    this.#res.write(HEARTBEAT);
  }

  /** Sends the response, which is the last. The status counts where nothing has been sent yet. */
  finish(response: Buffer | string, status: number): void {
    if (this.hasBegun) {
      this.write(response);
      this.#res.end();
    } else answerText(this.#res, status, response);
    this.#blockedSince ??= performance.now();
  }

  /** Ends a stream that has begun, without a response. */
  end(): void {
    this.#res.end();
    this.#blockedSince ??= performance.now();
  }

  cut(): void {
    this.#res.destroy();
  }

  /** Whether the client has had its time to take what waits for it. */
  isOverdue(now: number): boolean {
    const standing = { blockedSince: this.#blockedSince, pendingBytes: this.#res.writableLength };
    return isSlow(standing, SLOW_READER, now);
  }

  #begin(): void {
    if (!this.hasBegun) beginEvents(this.#res);
  }
}
