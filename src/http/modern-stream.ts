import type { ServerResponse } from "node:http";
import { HEARTBEAT } from "../protocol/sse.ts";
import { answerText, COMMON_HEADERS, requestIdOf } from "./answer.ts";

/** A reader that lags must take at least 32 KiB a second, after a time in which it may take nothing. */
const SLOW_READER_MS = 30_000;
const SLOW_READER_BYTES_PER_MS = 32;
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
    if (this.#blockedSince === undefined) return false;
    const allowedMs = SLOW_READER_MS + this.#res.writableLength / SLOW_READER_BYTES_PER_MS;
    return now - this.#blockedSince >= allowedMs;
  }

  #begin(): void {
    const res = this.#res;
    if (res.headersSent) return;
    res.writeHead(200, {
      ...COMMON_HEADERS,
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-cache, no-store, no-transform",
      "X-Accel-Buffering": "no",
      "X-Request-Id": requestIdOf(res),
    });
    // A client that vanishes behind a router sends no farewell; the kernel finds out.
    res.socket?.setKeepAlive(true, 60_000);
  }
}
