import type { Envelope } from "../protocol/json-rpc.ts";
import type { ClientStream } from "./client-stream.ts";

export interface OutboxParts {
  /** Above this many waiting bytes `onFull` is called, and below half of it `onRoom`. */
  pauseBytes: number;
  /** Above this many waiting bytes `onOverflow` is called. */
  maxBytes: number;
  /** Sequence number of the last message that an earlier owner may have sent. */
  startsAfter: number;
  /** Monotonic time in ms. */
  now: () => number;
  onFull(): void;
  onRoom(): void;
  onOverflow(): void;
}

/** What the outbox must know of a message to judge whether it may be sent a second time. */
export type Sendable = Pick<Envelope, "kind" | "id">;

/** One message on its way to the client. */
export interface Sent extends Sendable {
  readonly sequence: number;
  readonly message: Buffer;
  /** When the socket took it; Infinity until then. */
  takenAt: number;
  /** How many sockets have taken it. */
  taken: number;
}

/** Messages that the socket took may still be lost with it, so the latest are kept for a while: this many, so long. */
const KEPT = 64;
const KEPT_MS = 60_000;

/**
 * The way to the client. Every message gets a sequence number; it goes to the stream at once, or waits here in order
 * while there is no stream or the stream stands still. What a dead stream's socket had not taken is written again to
 * the next stream.
 */
export class Outbox {
  readonly #parts: OutboxParts;
  #stream: ClientStream | undefined;
  /** Oldest first: taken by the socket from `#head` on, written from `#taken` on, waiting from `#written` on. */
  #entries: Sent[] = [];
  #head = 0;
  #taken = 0;
  #written = 0;
  #waitingBytes = 0;
  #keptBytes = 0;
  #sequence: number;
  #isFull = false;
  #isEnding = false;
  #blockedSince: number | undefined;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
    this.#sequence = parts.startsAfter;
  }

  /** The stream that messages go to. */
  get stream(): ClientStream | undefined {
    return this.#stream;
  }

  /** When the stream stopped taking messages, while it does not. */
  get blockedSince(): number | undefined {
    return this.#blockedSince;
  }

  /** Bytes that the client has not taken, here and in the stream. */
  get pendingBytes(): number {
    return this.#waitingBytes + (this.#stream?.pendingBytes ?? 0);
  }

  /** Whether the socket has taken all there is. */
  get isQuiet(): boolean {
    return this.#taken === this.#entries.length;
  }

  /** Messages that no socket has taken, oldest first. */
  get untaken(): readonly Sent[] {
    return this.#entries.slice(this.#taken);
  }

  /**
   * Goes on with another stream. What no socket has taken goes out first, in order. Of what one took, the messages
   * after `after` are repeated when the client says so (its `Last-Event-ID`), else those that `repeats` allows.
   */
  attach(stream: ClientStream, after: number | undefined, repeats: (sent: Sent) => boolean): void {
    const isKnown = after !== undefined && after <= this.#sequence;
    const rest = this.#entries
      .slice(this.#head)
      .filter((sent) => (isKnown ? sent.sequence > after : sent.takenAt === Infinity || repeats(sent)));
    for (const sent of rest) sent.takenAt = Infinity;
    this.#entries = rest;
    this.#head = this.#taken = this.#written = this.#keptBytes = 0;
    this.#waitingBytes = rest.reduce((sum, sent) => sum + sent.message.length, 0);
    this.#stream = stream;
    this.#isEnding = false;
    this.resume();
  }

  /** The stream is over; what comes from now on waits. */
  detach(): void {
    // One that we ended ourselves, with all taken, has brought everything before its end.
    if (this.#isEnding && this.#taken === this.#written) this.#forgetKept();
    this.#isEnding = false;
    this.#stream = undefined;
    this.#blockedSince = undefined;
    while (this.#written > this.#taken) {
      this.#written -= 1;
      this.#waitingBytes += (this.#entries[this.#written] as Sent).message.length;
    }
    this.#judgeRoom();
  }

  /** Takes over what an earlier owner of the session could not send, oldest first. */
  restore(sent: readonly Sent[]): void {
    for (const one of sent) {
      this.#sequence = Math.max(this.#sequence, one.sequence);
      this.#entries.push(one);
      this.#waitingBytes += one.message.length;
    }
  }

  /** Sends one message, on one line, to the client. The sequence number that it got. */
  push(message: Buffer, { kind, id }: Sendable): number {
    this.#sequence += 1;
    const sent = { sequence: this.#sequence, message, kind, id, takenAt: Infinity, taken: 0 };
    const goesOut = this.#canWrite() && this.#written === this.#entries.length;
    this.#entries.push(sent);
    if (goesOut) this.#write(sent);
    else {
      this.#waitingBytes += message.length;
      if (this.#waitingBytes > this.#parts.maxBytes) this.#parts.onOverflow();
      else this.#judgeRoom();
    }
    return sent.sequence;
  }

  /** The stream's socket took one message. */
  take(): Sent | undefined {
    const sent = this.#entries[this.#taken];
    if (sent === undefined || this.#taken === this.#written) return undefined;
    sent.takenAt = this.#parts.now();
    sent.taken += 1;
    this.#taken += 1;
    this.#keptBytes += sent.message.length;
    while (this.#taken - this.#head > KEPT || this.#isKeptTooMuch()) this.#forgetOldest();
    return sent;
  }

  /** Forgets what a socket took too long ago to have been lost with it. */
  tidy(now: number): void {
    if (this.#stream === undefined) return;
    while (this.#head < this.#taken && (this.#entries[this.#head] as Sent).takenAt < now - KEPT_MS) {
      this.#forgetOldest();
    }
  }

  /** The stream takes messages again. */
  resume(): void {
    this.#blockedSince = undefined;
    while (this.#canWrite() && this.#written < this.#entries.length) this.#writeNext();
    this.#judgeRoom();
  }

  /** Writes the heartbeat, unless the stream stands still: a comment behind a jam proves nothing. */
  ping(): void {
    if (this.#canWrite()) this.#stream?.ping();
  }

  /** Ends the stream after what was written; what comes until the next one waits. */
  rest(retryMs: number): void {
    if (this.#stream === undefined || this.#isEnding) return;
    this.#isEnding = true;
    this.#stream.end(retryMs);
  }

  /** Hands all that waits to the stream, which is bounded by `maxBytes`, and ends it. */
  end(retryMs?: number): void {
    while (this.#stream !== undefined && !this.#isEnding && this.#written < this.#entries.length) {
      this.#writeNext();
    }
    if (!this.#isEnding) this.#stream?.end(retryMs);
    this.#stream = undefined;
  }

  /** Ends the stream at once; what waits is lost. */
  cut(): void {
    this.#stream?.cut();
    this.#stream = undefined;
  }

  /** Forgets every message: another conversation begins. */
  clear(): void {
    this.#entries = [];
    this.#head = this.#taken = this.#written = this.#keptBytes = this.#waitingBytes = 0;
    this.#judgeRoom();
  }

  #canWrite(): boolean {
    return this.#stream !== undefined && this.#blockedSince === undefined && !this.#isEnding;
  }

  #writeNext(): void {
    const sent = this.#entries[this.#written] as Sent;
    this.#waitingBytes -= sent.message.length;
    this.#write(sent);
  }

  #write({ sequence, message }: Sent): void {
    this.#written += 1;
    if (this.#stream?.write(sequence, message) === false) this.#blockedSince = this.#parts.now();
  }

  #isKeptTooMuch(): boolean {
    return this.#keptBytes > this.#parts.pauseBytes && this.#taken - this.#head > 1;
  }

  #forgetKept(): void {
    while (this.#head < this.#taken) this.#forgetOldest();
  }

  #forgetOldest(): void {
    this.#keptBytes -= (this.#entries[this.#head] as Sent).message.length;
    this.#head += 1;
    // Cutting them off only now and then keeps a long queue from being moved at each message.
    if (this.#head < 256 && this.#head < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#taken -= this.#head;
    this.#written -= this.#head;
    this.#head = 0;
  }

  #judgeRoom(): void {
    if (!this.#isFull && this.#waitingBytes > this.#parts.pauseBytes) {
      this.#isFull = true;
      this.#parts.onFull();
    } else if (this.#isFull && this.#waitingBytes < this.#parts.pauseBytes / 2) {
      this.#isFull = false;
      this.#parts.onRoom();
    }
  }
}
