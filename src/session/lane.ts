import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import { Outbox, type OutboxParts, type Sendable, type Sent } from "./outbox.ts";

/** What the lanes of one session have in common. */
export interface LaneParts extends OutboxParts {
  /** The client's socket took a message. */
  onTaken(lane: Lane, sent: Sent): void;
  /** Its stream is over. */
  onStreamEnd(lane: Lane): void;
}

/**
 * The way of one request's answer to a client of Streamable HTTP, and of what the server says about that request before
 * it: the POST's own stream, or one that the client opens to go on with it. It ends with the answer.
 */
export class Lane implements ClientStreamEvents {
  readonly id: string;
  readonly requestId: string;
  readonly #parts: LaneParts;
  readonly #outbox: Outbox;
  #isDone = false;
  #streamSince: number;
  #changedAt: number;
  #canResume = true;

  /** @param requestId the request that it waits for, as in `Envelope.id`. */
  constructor(id: string, requestId: string, parts: LaneParts) {
    this.id = id;
    this.requestId = requestId;
    this.#parts = parts;
    this.#outbox = new Outbox(parts);
    this.#streamSince = this.#changedAt = parts.now();
  }

  /** Whether the request has its outcome, and the client has or may still fetch it. */
  get isDone(): boolean {
    return this.#isDone;
  }

  get hasStream(): boolean {
    return this.#outbox.stream !== undefined;
  }

  /** When its stream last came or went, in ms. */
  get changedAt(): number {
    return this.#changedAt;
  }

  /** Whether nobody can ask for what is left of it. */
  get isSpent(): boolean {
    return !this.hasStream && !this.#canResume;
  }

  get blockedSince(): number | undefined {
    return this.#outbox.blockedSince;
  }

  get pendingBytes(): number {
    return this.#outbox.pendingBytes;
  }

  /** Bytes of what a socket took and that is kept all the same. */
  get keptBytes(): number {
    return this.#outbox.keptBytes;
  }

  /** Messages that no socket has taken, oldest first. */
  get untaken(): readonly Sent[] {
    return this.#outbox.untaken;
  }

  /** Goes on with this stream; one that it has is cut. `after` is the last message that the client has. */
  attach(stream: ClientStream, after?: number): void {
    const old = this.#outbox.stream;
    this.#outbox.detach();
    old?.cut();
    this.#streamSince = this.#changedAt = this.#parts.now();
    stream.events = this;
    this.#outbox.attach(stream, after, () => false);
    this.#finish();
  }

  /** Whether it has nothing more for a client that has had all up to this message. */
  isOverAfter(sequence: number): boolean {
    return this.#isDone && !this.#outbox.hasAfter(sequence);
  }

  /** What an earlier owner of the session could not send. */
  restore(sent: readonly Sent[]): void {
    this.#outbox.restore(sent);
    this.#isDone = sent.some(({ kind, id }) => kind === "response" && id === this.requestId);
  }

  push(message: Buffer, sendable: Sendable): number {
    const sequence = this.#outbox.push(message, sendable);
    if (sendable.kind === "response") this.done();
    return sequence;
  }

  /** The request has its outcome: the stream ends when all is written. */
  done(): void {
    this.#isDone = true;
    this.#finish();
  }

  /** Does what is due. A stream that is older than `maxAgeMs` (0: never) is ended for the client to go on with another. */
  beat(now: number, maxAgeMs: number, retryMs: () => number): void {
    this.#outbox.tidy(now);
    const isOld = maxAgeMs > 0 && now - this.#streamSince >= maxAgeMs;
    if (isOld) this.restIfResumable(retryMs());
  }

  /** Ends its stream at once; what that had not taken waits for the next. */
  cutStream(): void {
    this.#outbox.stream?.cut();
  }

  /** Ends the stream for the client to go on with another, when it can. */
  restIfResumable(retryMs: number): void {
    if (this.#outbox.stream?.canResume === true) this.#outbox.rest(retryMs);
  }

  ping(): void {
    this.#outbox.ping();
  }

  /** Ends the stream for the client to come again. */
  rest(retryMs: number): void {
    this.#outbox.rest(retryMs);
  }

  /** Hands all that waits to the stream and ends it. */
  end(retryMs?: number): void {
    this.#outbox.end(retryMs);
  }

  cut(): void {
    this.#outbox.cut();
  }

  /** Lets go of its stream, which somebody else answers on, and of all that waits. */
  drop(): void {
    this.#outbox.detach();
    this.#outbox.clear();
  }

  onTaken(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    const sent = this.#outbox.take();
    if (sent !== undefined) this.#parts.onTaken(this, sent);
  }

  onDrain(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    this.#outbox.resume();
    this.#finish();
  }

  onClose(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    this.#canResume = stream.canResume;
    this.#changedAt = this.#parts.now();
    this.#outbox.detach({ keeps: true });
    this.#parts.onStreamEnd(this);
  }

  #finish(): void {
    if (this.#isDone && this.#outbox.blockedSince === undefined) this.#outbox.rest();
  }
}
