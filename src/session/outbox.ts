import type { Envelope } from "../protocol/json-rpc.ts";
import type { Backlog } from "./backlog.ts";
import type { ClientStream } from "./client-stream.ts";

export interface OutboxParts {
  /** Counts what waits, here and in the client's other outboxes. */
  backlog: Backlog;
  /** What waits while there is no stream is not in the backlog: its owner bounds it otherwise. */
  waitsAside?: boolean;
  /** The sequence number that was given last, by any of them. */
  numbers: { last: number };
  /** Monotonic time in ms. */
  now: () => number;
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
  /** Those of them that are in the backlog. */
  #countedBytes = 0;
  #keptBytes = 0;
  #isEnding = false;
  #blockedSince: number | undefined;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
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

  /** Bytes of what a socket took and that is kept, since it may be lost with it. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Whether the socket has taken all there is. */
  get isQuiet(): boolean {
    return this.#taken === this.#entries.length;
  }

  /** Messages that no socket has taken, oldest first. */
  get untaken(): readonly Sent[] {
    return this.#entries.slice(this.#taken);
  }

  /** The sequence number before that of the first message that no socket has taken. */
  get takenUpTo(): number {
    const next = this.#entries[this.#taken];
    return next === undefined ? this.#parts.numbers.last : next.sequence - 1;
  }

  /** Whether there is a message after this one that the next stream may bring. */
  hasAfter(sequence: number): boolean {
    return this.#head < this.#entries.length && (this.#entries.at(-1) as Sent).sequence > sequence;
  }

  /**
   * Goes on with another stream. What no socket has taken goes out first, in order. Of what one took, the messages
   * after `after` are repeated when the client says so (its `Last-Event-ID`), else those that `repeats` allows.
   */
  attach(stream: ClientStream, after: number | undefined, repeats: (sent: Sent) => boolean): void {
    const isKnown = after !== undefined && after <= this.#parts.numbers.last;
    const rest = this.#entries
      .slice(this.#head)
      .filter((sent) => (isKnown ? sent.sequence > after : sent.takenAt === Infinity || repeats(sent)));
    for (const sent of rest) sent.takenAt = Infinity;
    this.#entries = rest;
    this.#head = this.#taken = this.#written = this.#keptBytes = 0;
    this.#wait(rest.reduce((sum, sent) => sum + sent.message.length, 0) - this.#waitingBytes);
    this.#stream = stream;
    this.#count();
    this.#isEnding = false;
    this.resume();
  }

  /** The stream is over; what comes from now on waits. With `keeps` the client says itself what it has had. */
  detach({ keeps = false } = {}): void {
    // One that we ended ourselves, with all taken, has brought everything before its end.
    if (!keeps && this.#isEnding && this.#taken === this.#written) this.#forgetKept();
    this.#isEnding = false;
    this.#stream = undefined;
    this.#blockedSince = undefined;
    while (this.#written > this.#taken) {
      this.#written -= 1;
      this.#wait((this.#entries[this.#written] as Sent).message.length);
    }
    this.#count();
    this.#parts.backlog.judge();
  }

  /** Takes over what an earlier owner of the session could not send, oldest first. */
  restore(sent: readonly Sent[]): void {
    const { numbers } = this.#parts;
    for (const one of sent) {
      numbers.last = Math.max(numbers.last, one.sequence);
      this.#entries.push(one);
      this.#wait(one.message.length);
    }
  }

  /** Sends one message, on one line, to the client. The sequence number that it got. */
  push(message: Buffer, { kind, id }: Sendable): number {
    const { numbers, backlog } = this.#parts;
    numbers.last += 1;
    const sent = { sequence: numbers.last, message, kind, id, takenAt: Infinity, taken: 0 };
    const goesOut = this.#canWrite() && this.#written === this.#entries.length;
    this.#entries.push(sent);
    if (goesOut) this.#write(sent);
    else {
      this.#waitingBytes += message.length;
      if (this.#isCounted) {
        this.#countedBytes += message.length;
        backlog.add(message.length);
      }
    }
    return sent.sequence;
  }

  /**
   * Forgets of what waits for a stream as much as is too much: the oldest notifications first, then anything. Answers
   * what was forgotten.
   */
  trim(maxBytes: number): Sent[] {
    const lost: Sent[] = [];
    for (const isSpared of [true, false]) {
      for (let at = this.#written; at < this.#entries.length && this.#waitingBytes > maxBytes;) {
        const sent = this.#entries[at] as Sent;
        if (isSpared && sent.kind !== "notification") at += 1;
        else {
          this.#entries.splice(at, 1);
          this.#wait(-sent.message.length);
          lost.push(sent);
        }
      }
    }
    return lost;
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

  /** When `tidy` has something to forget, if nothing happens before. */
  get tidyAt(): number {
    return this.#head < this.#taken ? (this.#entries[this.#head] as Sent).takenAt + KEPT_MS : Infinity;
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
    this.#parts.backlog.judge();
  }

  /** Writes the heartbeat, unless the stream stands still: a comment behind a jam proves nothing. */
  ping(): void {
    if (this.#canWrite()) this.#stream?.ping();
  }

  /** Ends the stream after what was written; what comes until the next one waits. */
  rest(retryMs?: number): void {
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
    this.#head = this.#taken = this.#written = this.#keptBytes = 0;
    this.#wait(-this.#waitingBytes);
    this.#parts.backlog.judge();
  }

  get #isCounted(): boolean {
    return this.#parts.waitsAside !== true || this.#stream !== undefined;
  }

  #wait(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#count();
  }

  #count(): void {
    const counted = this.#isCounted ? this.#waitingBytes : 0;
    this.#parts.backlog.change(counted - this.#countedBytes);
    this.#countedBytes = counted;
  }

  #canWrite(): boolean {
    return this.#stream !== undefined && this.#blockedSince === undefined && !this.#isEnding;
  }

  #writeNext(): void {
    const sent = this.#entries[this.#written] as Sent;
    this.#wait(-sent.message.length);
    this.#write(sent);
  }

  #write({ sequence, message }: Sent): void {
    this.#written += 1;
    if (this.#stream?.write(sequence, message) === false) this.#blockedSince = this.#parts.now();
  }

  #isKeptTooMuch(): boolean {
    return this.#keptBytes > this.#parts.backlog.pauseBytes && this.#taken - this.#head > 1;
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
}
