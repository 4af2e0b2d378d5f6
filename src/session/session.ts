import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { Log } from "../log.ts";
import { errorResponse, onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import type { LinkEnd, Upstream } from "../upstream/upstream.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import { Handshake, isOwnId, type Told } from "./handshake.ts";
import type { SessionJournal } from "./journal.ts";
import { Outbox, type Sendable, type Sent } from "./outbox.ts";
import type { Repeatable } from "./repeatable.ts";
import { Requests, type Unanswered } from "./requests.ts";
import { SessionLink } from "./session-link.ts";

/** Bounds of one session. Durations in ms. */
export interface SessionLimits {
  /** How often the heartbeat is written to the stream. */
  heartbeatMs: number;
  /** Requests of the client that may be unanswered at once. */
  inFlight: number;
  /** Above this much waiting for the client, the server behind is paused. */
  outboxPauseBytes: number;
  /** Above this much the session ends. */
  outboxMaxBytes: number;
  /** How long a stream may stand still with something to write, plus 1 ms for each 32 bytes that wait. */
  slowReaderMs: number;
  /** How long a session may live without a message either way. */
  idleMs: number;
  /** How long a client may take to send its first message. */
  firstPostMs: number;
  /** How long the client's first message may wait for the server to be started. */
  startMs: number;
  /** How long a request may go without its answer or a sign of progress. */
  requestTimeoutMs: number;
  /** How long a session whose stream was cut waits for its client. 0: it ends with its stream. */
  orphanMs: number;
  /** Age at which a stream is ended for its client to reconnect. 0: never. */
  streamMaxAgeMs: number;
  /** How often within a minute a server that ended by itself is started again. */
  restarts: number;
}

/** Why a session ended. */
export type SessionEnd =
  | "client_gone"
  | "slow_reader"
  | "idle"
  | "no_first_message"
  | "owner_conflict"
  | "made_room"
  | "released"
  | "draining"
  | Exclude<LinkEnd, "closed">;

/** What an earlier owner of a session left for the next. */
export interface Inheritance {
  /** Messages that no socket took, oldest first. */
  messages: readonly Sent[];
  unanswered: readonly Unanswered[];
}

export interface SessionParts {
  id: string;
  /** Grows by one with each owner. */
  epoch: number;
  /** Name of the caller whose key opened it. */
  caller: string;
  upstream: Upstream;
  limits: SessionLimits;
  /** What the server must be told, when the client told it to an earlier link. */
  told?: Told;
  repeatable: Repeatable;
  /** Keeps what must outlive this instance. */
  journal?: SessionJournal | undefined;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
  /** How long a client should wait before it reconnects, in ms. */
  retryMs: () => number;
  /** The client told its server something that a fresh link must be told as well. */
  onTold(session: Session, told: Told): void;
  /** Called once. `left` resolves when nothing of the link is left. */
  onEnd(session: Session, end: SessionEnd, left: Promise<void>): void;
}

/** A reader that lags must take at least 32 KiB a second. */
const SLOW_READER_BYTES_PER_MS = 32;
/** A request of the server that was written this shortly before its stream ended may be lost with it, and is repeated. */
const IN_DOUBT_MS = 2000;
/** Silence that makes a moment quiet enough for a stream to be ended. */
const QUIET_MS = 500;
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
  readonly #requests: Requests;
  #handshake: Handshake;
  #link: SessionLink;
  #isOpen = true;
  #isLeaving = false;
  #hasBegun = false;
  /** Another stream was attached, and its client has not spoken since. */
  #hasReturned = false;
  #orphanedAt: number | undefined;
  #streamSince: number;
  #activeAt: number;
  #pingAt: number;
  #progressAt = -Infinity;
  #dropped = 0;

  constructor(parts: SessionParts) {
    this.id = parts.id;
    this.caller = parts.caller;
    this.#parts = parts;
    this.#openedAt = this.#activeAt = this.#streamSince = parts.now();
    this.#pingAt = this.#openedAt + parts.limits.heartbeatMs;
    this.#requests = new Requests(parts.limits.inFlight);
    this.#outbox = new Outbox({
      pauseBytes: parts.limits.outboxPauseBytes,
      maxBytes: parts.limits.outboxMaxBytes,
      startsAfter: (parts.epoch - 1) * EPOCH_SEQUENCES,
      now: parts.now,
      onFull: () => this.#link.pause(),
      onRoom: () => this.#link.resume(),
      onOverflow: () => this.close("slow_reader"),
    });
    this.#handshake = new Handshake(parts.told);
    this.#link = this.#createLink();
    if (this.#handshake.isKnown) this.#requests.assumeInitialized();
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

  /** Whether the client has told its server anything yet. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Whether it can outlive its stream: a client that comes back can go on. */
  get isDurable(): boolean {
    return this.#handshake.isKnown && this.#parts.limits.orphanMs > 0;
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#requests.inFlight;
  }

  /** Messages of the server that were not forwarded: not JSON-RPC, or answers to nothing. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Gives the session a stream to write to; one that it has is cut. What no socket has taken goes out first. `after` is
   * the sequence number of the last message that the client has, when it says so.
   */
  attach(stream: ClientStream, after?: number): void {
    const now = this.#parts.now();
    const endedAt = this.#orphanedAt ?? now;
    const old = this.#outbox.stream;
    this.#outbox.detach();
    old?.cut();
    this.#hasReturned = old !== undefined || this.#orphanedAt !== undefined;
    this.#orphanedAt = undefined;
    this.#streamSince = this.#activeAt = now;
    stream.events = this;
    this.#outbox.attach(stream, after, (sent) => this.#mayRepeat(sent, endedAt));
  }

  /** A fresh link must be told this before the client's first message. */
  introduce(told: Told): void {
    this.#handshake = new Handshake(told);
    this.#link = this.#createLink();
    this.#requests.assumeInitialized();
  }

  /** Goes on with what an earlier owner left. The session has no stream yet. */
  inherit({ messages, unanswered }: Inheritance): void {
    this.#hasBegun = true;
    this.#orphanedAt = this.#parts.now();
    this.#outbox.restore(messages);
    for (const { sequence, message } of messages) this.#parts.journal?.kept(sequence, message);
    this.#resolve(unanswered);
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
    this.#activeAt = this.#parts.now();
    if (this.#hasReturned && envelope.method === "initialize") this.#startClean();
    this.#hasBegun = true;
    this.#hasReturned = false;
    const line = onOneLine(message);
    switch (envelope.kind) {
      case "response":
        return this.#requests.answer(envelope) ? this.#link.send(line) : undefined;
      case "notification":
        if (envelope.method === "notifications/cancelled" && envelope.paramsEnd > 0) {
          const { paramsStart, paramsEnd } = envelope;
          const cancelled = this.#requests.cancel(message.toString("utf8", paramsStart, paramsEnd));
          if (cancelled !== undefined) this.#parts.journal?.settled(cancelled);
        }
        return this.#link.send(line);
      case "request":
        return this.#request(line, envelope);
    }
  }

  /** Does what is due; called about once a second. Whether that was the heartbeat. */
  beat(now: number): boolean {
    const overdue = this.#overdue(now);
    if (overdue !== undefined) {
      this.close(overdue);
      return false;
    }
    const { requestTimeoutMs, heartbeatMs, streamMaxAgeMs } = this.#parts.limits;
    const latest = now - requestTimeoutMs;
    if (this.#progressAt <= latest)
      for (const { id } of this.#requests.takeSentBefore(latest)) this.#timeOut(id);
    this.#outbox.tidy(now);
    if (streamMaxAgeMs > 0 && this.#isStreamDue(now)) this.#outbox.rest(this.#parts.retryMs());
    if (now < this.#pingAt) return false;
    this.#pingAt = now + heartbeatMs;
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
    if (end in FAULTS)
      for (const { id } of this.#requests.takeSentBefore(Infinity)) this.#fail(id, end as Reason);
    if (end === "slow_reader") this.#outbox.cut();
    else this.#outbox.end(retryMs);
    this.#parts.journal?.end(end === "released");
    this.#parts.onEnd(this, end, this.#link.close());
  }

  /** Ends the stream with a `retry:` and takes nothing new, for the next owner to go on. `onClose` follows. */
  leave(): void {
    this.#isLeaving = true;
    this.#outbox.rest(this.#parts.retryMs());
  }

  /** What the next owner must know. To be asked when the stream is over. */
  bequeath(): Inheritance {
    return { messages: this.#outbox.untaken, unanswered: [...this.#requests.takeSentBefore(Infinity)] };
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
    this.#parts.log.info(
      { event: "session_orphaned", session: this.id },
      "stream ended: the session waits for its client",
    );
  }

  /** The bound that this session has outlived. */
  #overdue(now: number): SessionEnd | undefined {
    const { limits } = this.#parts;
    if (!this.#hasBegun && now - this.#openedAt >= limits.firstPostMs) return "no_first_message";
    if (this.#orphanedAt !== undefined && now - this.#orphanedAt >= limits.orphanMs) return "client_gone";
    if (this.inFlight === 0 && now - this.#activeAt >= limits.idleMs) return "idle";
    const { blockedSince } = this.#outbox;
    if (blockedSince === undefined) return undefined;
    const allowed = limits.slowReaderMs + this.#outbox.pendingBytes / SLOW_READER_BYTES_PER_MS;
    return now - blockedSince >= allowed ? "slow_reader" : undefined;
  }

  /** Whether the stream is old, and this a good moment to end it. From a fifth before its age on, quiet moments are good. */
  #isStreamDue(now: number): boolean {
    const { streamMaxAgeMs } = this.#parts.limits;
    const age = now - this.#streamSince;
    if (age < streamMaxAgeMs * 0.8 || !this.isDurable) return false;
    return (
      age >= streamMaxAgeMs ||
      (this.inFlight === 0 && this.#outbox.isQuiet && now - this.#activeAt > QUIET_MS)
    );
  }

  #createLink(): SessionLink {
    const { upstream, limits, log, now } = this.#parts;
    const link: SessionLink = new SessionLink({
      upstream,
      handshake: this.#handshake,
      startMs: limits.startMs,
      restarts: limits.restarts,
      log,
      now,
      mayRestart: () => this.#requests.isInitialized,
      onMessage: (message) => link === this.#link && this.#receive(message),
      onAnnouncement: (message) => this.#push(message, { kind: "notification", id: undefined }),
      onLost: () => link === this.#link && this.#lost(),
      onEnd: (end) => link === this.#link && this.close(end),
    });
    return link;
  }

  #request(line: Buffer, envelope: Envelope): Promise<void> | undefined {
    this.#requests.enter(envelope, line, this.#activeAt);
    const given = () => {
      if (this.#handshake.note(envelope, line)) this.#parts.onTold(this, this.#handshake.told);
    };
    const failed = (error: unknown) => {
      this.#requests.leave(envelope);
      this.#parts.journal?.settled(envelope.id as string);
      throw error;
    };
    const sent = this.#link.send(line);
    const kept = this.#parts.journal?.accepted(envelope.id as string, line);
    if (sent !== undefined)
      return kept === undefined ? sent.then(given, failed) : sent.then(given, failed).then(() => kept);
    given();
    return kept;
  }

  #receive(message: Buffer): void {
    if (!this.#isOpen) return;
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return this.#drop(envelope);
    this.#activeAt = this.#parts.now();
    if (envelope.kind === "response") {
      const asked = this.#requests.settle(envelope);
      if (asked === undefined) return isOwnId(envelope.id) ? undefined : this.#drop("unasked_answer");
      if (asked.method === "tools/list" && !envelope.failed) this.#parts.repeatable.learn(message);
      this.#parts.journal?.settled(asked.id);
    } else if (envelope.kind === "request") {
      this.#requests.ask(envelope);
    } else if (envelope.method === "notifications/progress") {
      this.#progressAt = this.#activeAt;
    }
    this.#push(onOneLine(message), envelope);
  }

  #push(message: Buffer, sendable: Sendable): void {
    const sequence = this.#outbox.push(message, sendable);
    this.#parts.journal?.kept(sequence, message);
  }

  /** A response is safe to repeat: whoever has it knows it by its id. A notification never is. */
  #mayRepeat({ kind, id, takenAt }: Sent, endedAt: number): boolean {
    if (kind === "response") return true;
    return kind === "request" && this.#requests.isAsked(id as string) && endedAt - takenAt < IN_DOUBT_MS;
  }

  /** The server was lost with what it was asked, and another is being started. */
  #lost(): void {
    for (const id of this.#requests.takeAsked()) {
      const params = `{"requestId":${id},"reason":"the server was started again"}`;
      const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":${params}}`;
      this.#push(Buffer.from(cancelled), { kind: "notification", id: undefined });
    }
    this.#resolve([...this.#requests.takeSentBefore(Infinity)]);
  }

  /** Sends again what may be, to a fresh link, and answers the rest with an error. */
  #resolve(unanswered: readonly Unanswered[]): void {
    const sentAt = this.#parts.now();
    for (const one of unanswered) {
      if (!this.#parts.repeatable.allows(one)) {
        this.#fail(one.id, "upstream_restarted");
        continue;
      }
      this.#requests.reenter({ ...one, sentAt });
      this.#link.send(one.message as Buffer)?.catch(() => undefined);
      void this.#parts.journal?.accepted(one.id, one.message as Buffer);
    }
  }

  /** The client begins anew on a session that it came back to: nothing of the old conversation is left. */
  #startClean(): void {
    const old = this.#link;
    this.#requests.reset();
    this.#outbox.clear();
    this.#handshake = new Handshake();
    this.#link = this.#createLink();
    old
      .close()
      .catch((error: unknown) =>
        this.#parts.log.error({ err: error, session: this.id }, "link did not close"),
      );
  }

  #drop(why: string): void {
    this.#dropped += 1;
    // Told at 1, 2, 4, 8, …: a mad child must not flood the log.
    if ((this.#dropped & (this.#dropped - 1)) === 0) {
      const { log } = this.#parts;
      log.warn({ session: this.id, why, dropped: this.#dropped }, "message of the server not forwarded");
    }
  }

  #timeOut(id: string): void {
    this.#fail(id, "upstream_timeout");
    const params = `{"requestId":${id},"reason":"timed out at the gateway"}`;
    this.#link.tell(Buffer.from(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":${params}}`));
  }

  #fail(id: string, reason: Reason): void {
    const { rpcCode, message } = FAULTS[reason];
    this.#push(errorResponse(id, rpcCode, message, reason), { kind: "response", id });
    this.#parts.journal?.settled(id);
  }
}
