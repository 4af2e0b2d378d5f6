import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { isStreamDue, overdue, type Standing } from "./bounds.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import { Exchange } from "./exchange.ts";
import type { Told } from "./handshake.ts";
import { Outbox, type Sendable, type Sent } from "./outbox.ts";
import type { Inheritance, SessionEnd, SessionParts } from "./session-parts.ts";

/**
 * What a stream took this shortly before it was cut, or before its client was last heard, may be lost with it: a client
 * that posts is awake, and its stream has brought it what was written well before.
 */
const IN_DOUBT_MS = 1000;
/** The same when nobody knows when the stream ended: the client has noticed, waited, and been looked for since. */
const LONG_IN_DOUBT_MS = 15_000;
const MAX_REPEATS = 10;
/** An open question of the server that may be lost is asked again after this, if no answer shows that it was not. */
const ASK_AGAIN_MS = 3000;
/** Sequence numbers of one epoch; those of the next owner are larger. */
const EPOCH_SEQUENCES = 1e9;

/**
 * One client's conversation with one MCP server: the link to the server, the outbox with the stream to the client, and
 * the requests in flight. The stream may change under it, and so may the link; the outbox is the session's own.
 */
export class Session implements ClientStreamEvents {
  readonly id: string;
  readonly caller: string;
  readonly #parts: SessionParts;
  readonly #openedAt: number;
  readonly #outbox: Outbox;
  readonly #exchange: Exchange;
  #isOpen = true;
  #isLeaving = false;
  #hasBegun = false;
  /** Another stream was attached, and its client has not spoken since. */
  #hasReturned = false;
  #orphanedAt: number | undefined;
  /** When the last stream ended, if that is known. */
  #endSeenAt: number | undefined;
  #streamSince: number;
  #activeAt: number;
  /** When the client last posted. */
  #heardAt: number;
  #pingAt: number;
  /** Questions of the server that the last stream may have lost. */
  #doubtful: Sent[] = [];
  #askAgainAt = 0;

  constructor(parts: SessionParts) {
    this.id = parts.id;
    this.caller = parts.caller;
    this.#parts = parts;
    this.#openedAt = this.#activeAt = this.#heardAt = this.#streamSince = parts.now();
    this.#pingAt = this.#openedAt + parts.limits.heartbeatMs;
    this.#outbox = new Outbox({
      pauseBytes: parts.limits.outboxPauseBytes,
      maxBytes: parts.limits.outboxMaxBytes,
      startsAfter: (parts.epoch - 1) * EPOCH_SEQUENCES,
      now: parts.now,
      onFull: () => this.#exchange.pause(),
      onRoom: () => this.#exchange.resume(),
      onOverflow: () => this.close("slow_reader"),
    });
    this.#exchange = new Exchange({
      ...parts,
      push: (message, sendable) => this.#push(message, sendable),
      tell: (told) => parts.onTold(this, told),
      end: (end) => this.close(end),
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Whether it is about to be handed to the next owner and takes nothing new. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  get epoch(): number {
    return this.#parts.epoch;
  }

  /** Since when it has had no stream; undefined while it has one. */
  get orphanedAt(): number | undefined {
    return this.#orphanedAt;
  }

  /** When its present stream was attached, in ms. */
  get streamSince(): number {
    return this.#streamSince;
  }

  /** Finds out whether its stream has ended unheard. Never rejects. */
  async confirmStream(): Promise<void> {
    const { stream } = this.#outbox;
    if (stream?.endsUnheard === true) await stream.confirm();
  }

  /** Whether the end of its present stream may be learnt long after it came. */
  get endsUnheard(): boolean {
    return this.#outbox.stream?.endsUnheard === true;
  }

  /** Whether the client has told its server anything yet. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Whether it can outlive its stream: a client that comes back can go on. */
  get isDurable(): boolean {
    return this.#exchange.isIntroduced && this.#parts.limits.orphanMs > 0;
  }

  /** What a fresh link must be told. */
  get told(): Told {
    return this.#exchange.told;
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#exchange.inFlight;
  }

  /** Messages of the server that were not forwarded: not JSON-RPC, or answers to nothing. */
  get dropped(): number {
    return this.#exchange.dropped;
  }

  /**
   * Gives the session a stream to write to; one that it has is cut. What no socket has taken goes out first. `after` is
   * the sequence number of the last message that the client has, when it says so.
   */
  attach(stream: ClientStream, after?: number): void {
    const now = this.#parts.now();
    const endedAt = this.#endSeenAt ?? now - LONG_IN_DOUBT_MS;
    const doubtfulSince = Math.min(endedAt, this.#heardAt) - IN_DOUBT_MS;
    const old = this.#outbox.stream;
    this.#outbox.detach();
    old?.cut();
    this.#hasReturned = old !== undefined || this.#orphanedAt !== undefined;
    this.#orphanedAt = this.#endSeenAt = undefined;
    this.#streamSince = now;
    stream.events = this;
    // Cuts that follow each other must not put it off for ever.
    if (this.#doubtful.length === 0) this.#askAgainAt = now + ASK_AGAIN_MS;
    this.#outbox.attach(stream, after, (sent) => this.#mayRepeat(sent, doubtfulSince));
  }

  /** A fresh link must be told this before the client's first message. */
  introduce(told: Told): void {
    this.#exchange.introduce(told);
  }

  /** Goes on with what an earlier owner left. The session has no stream yet. */
  inherit({ messages, unanswered }: Inheritance): void {
    this.#hasBegun = true;
    this.#orphanedAt = this.#parts.now();
    this.#outbox.restore(messages);
    for (const { sequence, message } of messages) this.#parts.journal?.kept(sequence, message);
    this.#exchange.resolve(unanswered);
  }

  /** It turned out to be another session's client: this one, which has done nothing, is no more. Its stream, to go on with. */
  retire(): ClientStream | undefined {
    const { stream } = this.#outbox;
    this.#outbox.detach();
    this.#isOpen = false;
    return stream;
  }

  /**
   * Gives one message of the client to the server. Resolves, or returns undefined, when the server was given it.
   * Throws or rejects with the fault that kept it from being given; then it was not given.
   */
  deliver(message: Buffer, envelope: Envelope): Promise<void> | undefined {
    if (!this.#isOpen) throw new GatewayError("session_not_found");
    if (this.#isLeaving) throw new GatewayError("draining");
    this.#activeAt = this.#heardAt = this.#parts.now();
    const isAnew = this.#hasReturned || (!this.#hasBegun && this.#exchange.isIntroduced);
    if (isAnew && envelope.method === "initialize") this.#startClean();
    this.#hasBegun = true;
    this.#hasReturned = false;
    return this.#exchange.deliver(message, envelope);
  }

  /** Does what is due; called about once a second. Whether that was the heartbeat. */
  beat(now: number): boolean {
    const { limits, retryMs } = this.#parts;
    const standing = this.#standing();
    const end = overdue(standing, limits, now);
    if (end !== undefined) {
      this.close(end);
      return false;
    }
    this.#exchange.beat(now);
    this.#outbox.tidy(now);
    if (this.#doubtful.length > 0 && this.#orphanedAt === undefined && now >= this.#askAgainAt)
      this.#askAgain();
    if (this.isDurable && isStreamDue(standing, limits, now)) this.#outbox.rest(retryMs());
    if (now < this.#pingAt) return false;
    this.#pingAt = now + limits.heartbeatMs;
    this.#outbox.ping();
    return true;
  }

  /**
   * Ends the session and its link. The stream ends after what was written; a slow reader's is cut at once. With
   * `retryMs` the client is told when to reconnect. Safe to call twice.
   */
  close(end: SessionEnd, retryMs?: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (end in FAULTS) this.#exchange.failAll(end as Reason);
    if (end === "slow_reader") this.#outbox.cut();
    else this.#outbox.end(retryMs);
    this.#parts.journal?.end(end === "released");
    this.#parts.onEnd(this, end, this.#exchange.close());
  }

  /** Ends the stream with a `retry:` and takes nothing new, for the next owner to go on. `onClose` follows. */
  leave(): void {
    this.#isLeaving = true;
    this.#outbox.rest(this.#parts.retryMs());
  }

  /** What the next owner must know. To be asked when the stream is over. */
  bequeath(): Inheritance {
    return { messages: this.#outbox.untaken, unanswered: this.#exchange.takeUnanswered() };
  }

  onTaken(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    const sent = this.#outbox.take();
    if (sent !== undefined) this.#parts.journal?.dropped(sent.sequence);
  }

  onDrain(stream: ClientStream): void {
    if (stream === this.#outbox.stream) this.#outbox.resume();
  }

  onClose(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    this.#outbox.detach();
    if (!this.isDurable) return this.close("client_gone");
    this.#orphanedAt = this.#parts.now();
    if (!stream.endsUnheard) this.#endSeenAt = this.#orphanedAt;
    this.#parts.log.info(
      { event: "session_orphaned", session: this.id },
      "stream ended: the session waits for its client",
    );
  }

  /** The client begins anew: nothing of the old conversation is left. */
  #startClean(): void {
    this.#exchange.startClean();
    for (const { sequence } of this.#outbox.untaken) this.#parts.journal?.dropped(sequence);
    this.#outbox.clear();
    this.#doubtful = [];
  }

  #standing(): Standing {
    return {
      openedAt: this.#openedAt,
      hasBegun: this.#hasBegun || this.#exchange.isIntroduced,
      orphanedAt: this.#orphanedAt,
      activeAt: Math.max(this.#activeAt, this.#exchange.heardAt),
      inFlight: this.inFlight,
      blockedSince: this.#outbox.blockedSince,
      pendingBytes: this.#outbox.pendingBytes,
      streamSince: this.#streamSince,
      isQuiet: this.#outbox.isQuiet,
    };
  }

  #push(message: Buffer, sendable: Sendable): void {
    const sequence = this.#outbox.push(message, sendable);
    this.#parts.journal?.kept(sequence, message);
  }

  /** Whether a message that may be lost is to be repeated at once: a response, which whoever has it knows by its id. */
  #mayRepeat(sent: Sent, doubtfulSince: number): boolean {
    if (sent.takenAt < doubtfulSince || sent.taken > MAX_REPEATS || sent.kind === "notification")
      return false;
    if (sent.kind === "request") this.#doubtful.push(sent);
    return sent.kind === "response";
  }

  #askAgain(): void {
    const doubtful = this.#doubtful;
    this.#doubtful = [];
    for (const { message, kind, id } of doubtful) {
      if (this.#exchange.isAsked(id as string)) this.#push(message, { kind, id });
    }
  }
}
