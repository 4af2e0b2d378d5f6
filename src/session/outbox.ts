import type { ClientStream } from "./client-stream.ts";

export interface OutboxParts {
  /** Above this many waiting bytes `onFull` is called, and below half of it `onRoom`. */
  pauseBytes: number;
  /** Above this many waiting bytes `onOverflow` is called. */
  maxBytes: number;
  /** Monotonic time in ms. */
  now: () => number;
  onFull(): void;
  onRoom(): void;
  onOverflow(): void;
}

/**
 * The way to the client. Every message gets a sequence number; it goes to the stream at once, or waits here in order
 * while there is no stream or the stream stands still.
 */
export class Outbox {
  readonly #parts: OutboxParts;
  #stream: ClientStream | undefined;
  #waiting: Buffer[] = [];
  /** Messages at the front of `#waiting` that were handed out already. */
  #taken = 0;
  #waitingBytes = 0;
  #sequence = 0;
  #isFull = false;
  #blockedSince: number | undefined;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
  }

  /** When the stream stopped taking messages, while it does not. */
  get blockedSince(): number | undefined {
    return this.#blockedSince;
  }

  /** Bytes that the client has not taken, here and in the stream. */
  get pendingBytes(): number {
    return this.#waitingBytes + (this.#stream?.pendingBytes ?? 0);
  }

  /** What waits goes out first. */
  attach(stream: ClientStream): void {
    this.#stream = stream;
    this.resume();
  }

  /** The stream is over; what comes from now on waits. */
  detach(): void {
    this.#stream = undefined;
    this.#blockedSince = undefined;
  }

  /** Sends one message, on one line, to the client. */
  push(message: Buffer): void {
    this.#sequence += 1;
    if (this.#stream !== undefined && this.#blockedSince === undefined && this.#waiting.length === 0) {
      if (!this.#stream.write(this.#sequence, message)) this.#blockedSince = this.#parts.now();
      return;
    }
    this.#waiting.push(message);
    this.#waitingBytes += message.length;
    if (this.#waitingBytes > this.#parts.maxBytes) return this.#parts.onOverflow();
    if (!this.#isFull && this.#waitingBytes > this.#parts.pauseBytes) {
      this.#isFull = true;
      this.#parts.onFull();
    }
  }

  /** The stream takes messages again. */
  resume(): void {
    this.#blockedSince = undefined;
    this.#handOut((keepsUp) => keepsUp);
    if (this.#isFull && this.#waitingBytes < this.#parts.pauseBytes / 2) {
      this.#isFull = false;
      this.#parts.onRoom();
    }
  }

  /** Writes the heartbeat, unless the stream stands still: a comment behind a jam proves nothing. */
  ping(): void {
    if (this.#blockedSince === undefined) this.#stream?.ping();
  }

  /** Hands all that waits to the stream, which is bounded by `maxBytes`, and ends it. */
  end(retryMs?: number): void {
    this.#handOut(() => true);
    this.#stream?.end(retryMs);
    this.detach();
  }

  /** Ends the stream at once; what waits is lost. */
  cut(): void {
    this.#stream?.cut();
    this.detach();
  }

  #handOut(goesOn: (keepsUp: boolean) => boolean): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    let open = true;
    while (open && this.#taken < this.#waiting.length) {
      const message = this.#waiting[this.#taken] as Buffer;
      const sequence = this.#sequence - (this.#waiting.length - 1 - this.#taken);
      this.#taken += 1;
      this.#waitingBytes -= message.length;
      const keepsUp = stream.write(sequence, message);
      if (!keepsUp) this.#blockedSince = this.#parts.now();
      open = goesOn(keepsUp);
    }
    // Cutting the taken ones off only now and then keeps a long queue from being moved at each message.
    if (this.#taken === this.#waiting.length || this.#taken > 1024) {
      this.#waiting = this.#waiting.slice(this.#taken);
      this.#taken = 0;
    }
  }
}
