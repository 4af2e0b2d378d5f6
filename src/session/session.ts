import { GatewayError } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { BETWEEN_POSTS_MS, calmUntil, isStreamDue, lastWords, overdue, type Standing } from "./bounds.ts";
import type { ClientStream } from "./client-stream.ts";
import { Exchange } from "./exchange.ts";
import type { Told } from "./handshake.ts";
import type { Inheritance, Reply, SessionEnd, SessionParts } from "./session-parts.ts";
import { Streams } from "./streams.ts";

/**
 * One client's conversation with one MCP server: the link to the server, the streams to the client, and the requests in
 * flight. The streams may change under it, and so may the link; what is on its way stays the session's own.
 */
export class Session {
  readonly id: string;
  readonly caller: string;
  /** Id of the API key that opened it, or that its client showed last to come back. */
  key: string | undefined;
  /** Name of the MCP server behind. */
  readonly server: string;
  readonly transport: SessionParts["transport"];
  /** When this instance got it, in ms. */
  readonly openedAt: number;
  readonly #parts: SessionParts;
  readonly #streams: Streams;
  readonly #exchange: Exchange;
  #isOpen = true;
  #isLeaving = false;
  #hasBegun = false;
  /** Another stream was attached, and its client has not spoken since. */
  #hasReturned = false;
  #orphanedAt: number | undefined;
  /** The lane of the request that opened it. */
  #firstLane: string | undefined;
  #activeAt: number;
  /** When the client last posted. */
  #heardAt: number;
  /** Nothing is due before, unless something happens. */
  #calmUntil = -Infinity;

  constructor(parts: SessionParts) {
    this.id = parts.id;
    this.caller = parts.caller;
    this.key = parts.key;
    this.server = parts.server;
    this.transport = parts.transport;
    this.#parts = parts;
    this.openedAt = this.#activeAt = this.#heardAt = parts.now();
    if (this.#isStreamable) this.#orphanedAt = this.openedAt;
    this.#streams = new Streams(parts, {
      onFull: () => this.#exchange.pause(),
      onRoom: () => this.#exchange.resume(),
      onOverflow: () => this.close("slow_reader"),
      onOwnEnd: () => this.#ownStreamEnded(),
      // Who has not had the answer to its initialize does not know the session's name.
      onUnheard: (lane) => lane === this.#firstLane && this.close("client_gone"),
      onNone: () => this.#isStreamable && this.#loseStream(),
      isAsked: (id) => this.#exchange.isAsked(id),
    });
    this.#exchange = new Exchange(parts, {
      push: (message, sendable, lane) => {
        this.#calmUntil = -Infinity;
        this.#streams.push(message, sendable, lane);
      },
      hasStream: (lane) => this.#streams.hasLaneStream(lane),
      leaveLane: (lane) => this.#streams.cancelLane(lane),
      restLane: (lane) => this.#streams.restLane(lane),
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

  get stream(): ClientStream | undefined {
    return this.#streams.own;
  }

  /** Since when it has had no stream; undefined while it has one. */
  get orphanedAt(): number | undefined {
    return this.#orphanedAt;
  }

  /** Whether it has been without a stream for so long that it may be given up for another session. */
  get isSpare(): boolean {
    if (this.#orphanedAt === undefined) return false;
    return !this.#isStreamable || this.#parts.now() - this.#orphanedAt >= BETWEEN_POSTS_MS;
  }

  /** When its present stream was attached, in ms. */
  get streamSince(): number {
    return this.#streams.ownSince;
  }

  /** Finds out whether its stream has ended unheard. Never rejects. */
  async confirmStream(): Promise<void> {
    const { own } = this.#streams;
    if (own?.endsUnheard === true) await own.confirm();
  }

  /** Whether the end of its present stream may be learnt long after it came. */
  get endsUnheard(): boolean {
    return this.#streams.own?.endsUnheard === true;
  }

  /** The sequence number up to which the client's own stream has brought everything. */
  get takenUpTo(): number {
    return this.#streams.takenUpTo;
  }

  /** Whether the client has told its server anything yet. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Whether it can outlive its stream: a client that comes back can go on. */
  get isDurable(): boolean {
    return this.#exchange.isIntroduced && this.#parts.limits.orphanMs > 0;
  }

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

  /** Gives it a stream to write to; one that it has is cut. `after` is the last message that the client has, if it says so. */
  attach(stream: ClientStream, after?: number): void {
    const isFirst = this.#isStreamable && this.#streams.ownSince === this.openedAt;
    this.#hasReturned = !isFirst && (this.stream !== undefined || this.#orphanedAt !== undefined);
    this.#orphanedAt = undefined;
    this.#calmUntil = -Infinity;
    if (this.#hasReturned) this.#parts.onAdopted(this, stream.endsUnheard);
    this.#streams.attach(stream, after, this.#heardAt);
  }

  /** Whether a lane has nothing more, ever, for a client that has had all of it up to this message. */
  isLaneOver(id: string, after: number): boolean {
    return this.#streams.isLaneOver(id, after);
  }

  /** Goes on with a lane after a message. Of one that is not known any more the request, which its name says, gets an error. */
  resumeLane(id: string, stream: ClientStream, after: number): void {
    this.#orphanedAt = undefined;
    this.#calmUntil = -Infinity;
    this.#streams.resumeLane(id, stream, after, (one, lane) => this.#exchange.isInFlight(one, lane));
  }

  /** A fresh link must be told this before the client's first message. */
  introduce(told: Told): void {
    this.#exchange.introduce(told);
  }

  /** Goes on with what an earlier owner left. The session has no stream yet. */
  inherit(inheritance: Inheritance): void {
    this.#hasBegun = true;
    this.#loseStream();
    this.#streams.restore(inheritance);
    this.#exchange.resolve(inheritance.unanswered);
  }

  /** It turned out to be another session's client: this one, which has done nothing, is no more. Its stream, to go on with. */
  retire(): ClientStream | undefined {
    this.#isOpen = false;
    return this.#streams.takeOwn();
  }

  /**
   * Gives one message of the client to the server. Resolves, or returns undefined, when the server was given it.
   * Throws or rejects with the fault that kept it from being given; then it was not given, and the stream of the
   * reply, if there is one, is untouched.
   */
  deliver(message: Buffer, envelope: Envelope, reply?: Reply): Promise<void> | undefined {
    if (!this.#isOpen) throw new GatewayError("session_not_found");
    if (this.#isLeaving) throw new GatewayError("draining");
    this.#activeAt = this.#heardAt = this.#parts.now();
    this.#calmUntil = -Infinity;
    const isAnew = this.#hasReturned || (!this.#hasBegun && this.#exchange.isIntroduced);
    if (isAnew && envelope.method === "initialize" && !this.#isStreamable) {
      // The client begins anew: nothing of the old conversation is left.
      this.#exchange.startClean();
      this.#streams.clear();
    }
    this.#hasBegun = true;
    this.#hasReturned = false;
    return reply === undefined
      ? this.#exchange.deliver(message, envelope)
      : this.#deliverInLane(message, envelope, reply);
  }

  /** Does what is due; called about once a second. Whether that was the heartbeat. */
  beat(now: number): boolean {
    if (now < this.#calmUntil) return false;
    const { limits } = this.#parts;
    const standing = this.#standing(now);
    const end = overdue(standing, limits, now);
    if (end !== undefined) {
      this.close(end);
      return false;
    }
    this.#exchange.beat(now);
    const isPing = this.#streams.beat(now);
    if (this.isDurable && isStreamDue(standing, limits, now)) this.#streams.restOwn();
    this.#calmUntil = Math.min(calmUntil(this.#standing(now), limits), this.#streams.calmUntil);
    return isPing;
  }

  /** Ends the session and its link; a slow reader's stream is cut. `retryMs` is when to reconnect. Safe to call twice. */
  close(end: SessionEnd, retryMs?: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#exchange.failAll(lastWords(end));
    this.#streams.close(end === "slow_reader" ? "cut" : "end", retryMs);
    this.#parts.journal?.end(end === "released");
    this.#parts.onEnd(this, end, this.#exchange.close());
  }

  /** Ends the streams with a `retry:` and takes nothing new, for the next owner to go on. `onClose` follows. */
  leave(): void {
    this.#isLeaving = true;
    this.#streams.rest();
  }

  /** What the next owner must know. To be asked when the streams are over. */
  bequeath(): Inheritance {
    return { messages: this.#streams.untaken, unanswered: this.#exchange.bequeath() };
  }

  get #isStreamable(): boolean {
    return this.#parts.transport === "streamable";
  }

  #ownStreamEnded(): void {
    if (this.#isStreamable) return this.#streams.judgeNone();
    if (!this.isDurable) return this.close("client_gone");
    this.#loseStream();
    this.#parts.log.info(
      { event: "session_orphaned", session: this.id },
      "stream ended: the session waits for its client",
    );
  }

  #deliverInLane(message: Buffer, envelope: Envelope, { lane, stream }: Reply): Promise<void> | undefined {
    this.#orphanedAt = undefined;
    if (envelope.method === "initialize") this.#firstLane = lane;
    this.#streams.openLane(lane, envelope.id as string, stream);
    const drop = (error: unknown): never => {
      this.#streams.dropLane(lane);
      throw error;
    };
    try {
      return this.#exchange.deliver(message, envelope, lane)?.catch(drop);
    } catch (error) {
      return drop(error);
    }
  }

  #loseStream(): void {
    this.#orphanedAt = this.#parts.now();
    this.#calmUntil = -Infinity;
  }

  #standing(now: number): Standing {
    const { blockedSince, pendingBytes, ownSince, isQuiet } = this.#streams;
    // Who may do without a stream is not gone when there is none, and not idle while there is one.
    const seenAt = this.#isStreamable ? (this.#orphanedAt ?? now) : -Infinity;
    return {
      openedAt: this.openedAt,
      bornAt: this.openedAt - this.#parts.ageMs,
      hasBegun: this.#hasBegun || this.#exchange.isIntroduced,
      orphanedAt: this.#isStreamable ? undefined : this.#orphanedAt,
      activeAt: Math.max(seenAt, this.#activeAt, this.#exchange.heardAt),
      inFlight: this.inFlight,
      blockedSince,
      pendingBytes,
      streamSince: ownSince,
      isQuiet,
    };
  }
}
