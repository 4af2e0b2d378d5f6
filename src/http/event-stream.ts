import type { ServerResponse } from "node:http";
import {
  encodeEndpoint,
  encodeLargeMessage,
  encodeMessage,
  encodeRetry,
  HEARTBEAT,
} from "../protocol/sse.ts";
import type { ClientStream, ClientStreamEvents } from "../session/client-stream.ts";
import { COMMON_HEADERS, requestIdOf } from "./answer.ts";

/** A message up to this size is copied into one buffer with its frame; a larger one is written beside it. */
const COPY_BYTES = 32 * 1024;
/** How long a stream that was ended may take to hand out its last bytes. */
const END_MS = 5000;

/** An SSE response, as the stream of a session. */
export class EventStream implements ClientStream {
  readonly #res: ServerResponse;
  readonly #idPrefix: string;

  /** @param sessionId begins the `id` of each event, so that a client that comes back with one says which session it means. */
  constructor(res: ServerResponse, sessionId: string) {
    this.#res = res;
    this.#idPrefix = `${sessionId}.`;
  }

  /** Sends the headers and the first event, in one write. */
  open(endpointUrl: string, retryMs: number, events: ClientStreamEvents): void {
    const res = this.#res;
    res.writeHead(200, {
      ...COMMON_HEADERS,
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-cache, no-store, no-transform",
      "X-Accel-Buffering": "no",
      "X-Request-Id": requestIdOf(res),
    });
    res.write(encodeEndpoint(endpointUrl, retryMs));
    // A client that vanishes behind a router sends no farewell; the kernel finds out.
    res.socket?.setKeepAlive(true, 60_000);
    res.on("drain", () => events.onDrain());
    res.once("close", () => events.onClose());
    // A write to a socket that is going away; "close" follows.
    res.on("error", () => undefined);
  }

  get pendingBytes(): number {
    return this.#res.writableLength;
  }

  write(sequence: number, message: Buffer): boolean {
    const res = this.#res;
    if (message.length <= COPY_BYTES) return res.write(encodeMessage(this.#idPrefix, sequence, message));
    let keepsUp = true;
    for (const piece of encodeLargeMessage(this.#idPrefix, sequence, message)) keepsUp = res.write(piece);
    return keepsUp;
  }

  ping(): void {
    this.#res.write(HEARTBEAT);
  }

  end(retryMs?: number): void {
    const res = this.#res;
    res.end(retryMs === undefined ? undefined : encodeRetry(retryMs));
    const timer = setTimeout(() => res.destroy(), END_MS).unref();
    res.once("close", () => clearTimeout(timer));
  }

  cut(): void {
    this.#res.destroy();
  }
}
