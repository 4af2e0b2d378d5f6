import { FAULTS, type Reason } from "../errors.ts";
import { cancelled, errorResponse, onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { locate, spelled, textAt } from "../protocol/splice.ts";
import { ASK_TOOLS, ASK_TOOLS_ID, Handshake, isOwnId, type Told } from "./handshake.ts";
import { laneOf } from "./lane-of.ts";
import type { Sendable } from "./outbox.ts";
import { Requests, type Unanswered } from "./requests.ts";
import type { SessionEnd, SessionParts } from "./session-parts.ts";
import { SessionLink } from "./session-link.ts";

export interface ExchangeParts extends SessionParts {
  /** Sends a message to the client; with a lane it is about the request that waits there. */
  push(message: Buffer, sendable: Sendable, lane?: string): void;
  /** Whether the client listens to this lane now. */
  hasStream(lane: string): boolean;
  /** The client waits no more for what this lane was to bring. */
  leaveLane(lane: string): void;
  /** What this lane is to bring comes later; its client may come again for it. */
  restLane(lane: string): void;
  /** The client's server was told something that a fresh link must be told as well. */
  tell(told: Told): void;
  /** The server has ended for good. */
  end(end: SessionEnd): void;
}

/** How long a server may take to tell its tools, in ms. */
const ASK_TOOLS_MS = 10_000;
const NOTIFICATION: Sendable = { kind: "notification", id: undefined };

/**
 * What client and server have asked each other and not answered yet, over a link that may be replaced. Every request of
 * the client gets one outcome: its response, or an error.
 */
export class Exchange {
  readonly #parts: ExchangeParts;
  readonly #requests: Requests;
  #handshake: Handshake;
  #link: SessionLink;
  /** When the server last sent something. */
  #heardAt = -Infinity;
  #progressAt = -Infinity;
  #dropped = 0;
  #isOver = false;
  /** Requests whose fate depends on what the server says of its tools, and until when it is waited for. */
  #undecided: Unanswered[] = [];
  #decideBy = 0;

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
    this.#requests = new Requests(parts.limits.inFlight);
    this.#handshake = new Handshake(parts.told);
    this.#link = this.#createLink();
    if (this.#handshake.isKnown) this.#requests.assumeInitialized();
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#requests.inFlight + this.#undecided.length;
  }

  /** Messages of the server that were not forwarded: not JSON-RPC, or answers to nothing. */
  get dropped(): number {
    return this.#dropped;
  }

  /** When the server last sent something, in ms. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** What a fresh link must be told. */
  get told(): Told {
    return this.#handshake.told;
  }

  /** Whether the client has introduced itself, so that a fresh link can be told of it. */
  get isIntroduced(): boolean {
    return this.#handshake.isKnown;
  }

  /** Whether this request of the server waits for an answer. */
  isAsked(id: string): boolean {
    return this.#requests.isAsked(id);
  }

  pause(): void {
    this.#link.pause();
  }

  resume(): void {
    this.#link.resume();
  }

  /** Gives one message of the client to the server. As `Session.deliver`. */
  deliver(message: Buffer, envelope: Envelope, lane?: string): Promise<void> | undefined {
    const line = onOneLine(message);
    switch (envelope.kind) {
      case "response":
        return this.#requests.answer(envelope) ? this.#link.send(line) : undefined;
      case "notification":
        if (envelope.method === "notifications/cancelled") this.#cancel(message);
        return this.#link.send(line);
      case "request":
        return this.#request(line, envelope, lane);
    }
  }

  /** Answers requests that are overdue. */
  beat(now: number): void {
    if (this.#undecided.length > 0 && now >= this.#decideBy) this.#decide();
    const latest = now - this.#parts.limits.requestTimeoutMs;
    if (this.#progressAt > latest) return;
    for (const late of this.#requests.takeSentBefore(latest)) {
      this.#fail(late, "upstream_timeout");
      this.#link.tell(cancelled(late.id, "timed out at the gateway"));
    }
  }

  /** Whether this request of the client waits for its answer, in this lane. */
  isInFlight(id: string, lane: string): boolean {
    const one = this.#requests.find(id) ?? this.#undecided.find((undecided) => undecided.id === id);
    return one?.lane === lane;
  }

  /** A fresh link must be told this before the client's first message. */
  introduce(told: Told): void {
    this.#handshake = new Handshake(told);
    this.#link = this.#createLink();
    this.#requests.assumeInitialized();
  }

  /**
   * Sends again what may be, to a fresh link, and answers the rest with an error. Which calls of tools may be is known
   * from the server's own list; an instance that has not seen it asks for it first.
   */
  resolve(unanswered: readonly Unanswered[]): void {
    const { repeatable, now } = this.#parts;
    for (const one of unanswered) {
      if (one.message !== undefined && repeatable.mustLearn(one)) this.#undecided.push(one);
      else this.#resolveOne(one);
    }
    if (this.#undecided.length === 0) return;
    this.#decideBy = now() + ASK_TOOLS_MS;
    this.#link.send(ASK_TOOLS)?.catch(() => this.#decide());
  }

  /** Another conversation begins: nothing of the old one is left. */
  startClean(): void {
    const old = this.#link;
    for (const { id, lane } of this.takeUnanswered()) this.#parts.journal?.settled(id, lane);
    this.#requests.reset();
    this.#handshake = new Handshake();
    this.#link = this.#createLink();
    const { log, id } = this.#parts;
    old.close().catch((error: unknown) => log.error({ err: error, session: id }, "link did not close"));
  }

  /** Removes and hands out what the client has asked. */
  takeUnanswered(): Unanswered[] {
    const undecided = this.#undecided;
    this.#undecided = [];
    return [...undecided, ...this.#requests.takeSentBefore(Infinity)];
  }

  /** Answers all that the client has asked with a fault, if there is one. */
  failAll(reason: Reason | undefined): void {
    if (reason === undefined) return;
    for (const unanswered of this.takeUnanswered()) this.#fail(unanswered, reason);
  }

  /** Ends the link. Resolves when nothing of it is left. */
  close(): Promise<void> {
    this.#isOver = true;
    return this.#link.close();
  }

  #cancel(message: Buffer): void {
    const place = locate(message, ["params", "requestId"]);
    if (place === undefined) return;
    const id = spelled(textAt(message, place));
    const one = this.#undecided.find((undecided) => undecided.id === id) ?? this.#requests.forget(id);
    if (one === undefined) return;
    this.#undecided = this.#undecided.filter((undecided) => undecided !== one);
    this.#parts.journal?.settled(id, one.lane);
    if (one.lane !== undefined) this.#parts.leaveLane(one.lane);
  }

  #decide(): void {
    const undecided = this.#undecided;
    this.#undecided = [];
    for (const one of undecided) this.#resolveOne(one);
  }

  #resolveOne(one: Unanswered): void {
    const { repeatable, journal, now } = this.#parts;
    if (!repeatable.allows(one)) return this.#fail(one, "upstream_restarted");
    this.#requests.reenter({ ...one, sentAt: now() });
    this.#link.send(one.message as Buffer)?.catch(() => {
      if (this.#requests.forget(one.id)) this.#fail(one, "upstream_restarted");
    });
    void journal?.accepted(one.id, one.message as Buffer, one.lane);
  }

  #createLink(): SessionLink {
    const { upstream, limits, log, now, makeRoom, push, restLane, end } = this.#parts;
    const link: SessionLink = new SessionLink({
      caller: this.#parts.caller,
      upstream,
      handshake: this.#handshake,
      startMs: limits.startMs,
      restarts: limits.restarts,
      log,
      now,
      makeRoom,
      mayRestart: () => this.#requests.isInitialized,
      onMessage: (message) => link === this.#link && this.#receive(message),
      onRest: (id) => link === this.#link && restLane(this.#requests.find(id)?.lane ?? ""),
      onAnnouncement: (message) => push(message, NOTIFICATION),
      onLost: () => link === this.#link && this.#lost(),
      onEnd: (why) => link === this.#link && end(why),
    });
    return link;
  }

  #request(line: Buffer, envelope: Envelope, lane?: string): Promise<void> | undefined {
    const { journal, tell, now } = this.#parts;
    const entered = this.#requests.enter(envelope, line, now(), lane);
    const given = () => {
      if (this.#handshake.note(envelope, line)) tell(this.#handshake.told);
    };
    const failed = (error: unknown) => {
      this.#requests.leave(entered);
      journal?.settled(entered.id, lane);
      throw error;
    };
    const sent = this.#link.send(line)?.then(given, failed);
    const kept = journal?.accepted(entered.id, line, lane);
    if (sent === undefined) given();
    return sent === undefined || kept === undefined ? (sent ?? kept) : sent.then(() => kept);
  }

  #receive(message: Buffer): void {
    if (this.#isOver) return;
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return this.#drop(envelope);
    this.#heardAt = this.#parts.now();
    let lane: string | undefined;
    let isRefused = false;
    if (envelope.kind === "response") {
      const asked = this.#requests.settle(envelope);
      if (asked === undefined) return this.#receiveUnasked(message, envelope);
      if (asked.method === "tools/list" && !envelope.failed) this.#parts.repeatable.learn(message);
      this.#parts.journal?.settled(asked.id, asked.lane);
      ({ lane } = asked);
      isRefused = asked.method === "initialize" && envelope.failed;
    } else {
      if (envelope.kind === "request") this.#requests.ask(envelope);
      else if (envelope.method === "notifications/progress") this.#progressAt = this.#heardAt;
      if (this.#parts.transport === "streamable")
        lane = laneOf(message, envelope, this.#requests, this.#parts.hasStream);
    }
    this.#parts.push(onOneLine(message), envelope, lane);
    // Only a stream could be begun on anew.
    if (isRefused && this.#parts.transport === "streamable") this.#parts.end("client_gone");
  }

  /** An answer to nothing that the client has asked: perhaps the gateway has. */
  #receiveUnasked(message: Buffer, { id, failed }: Envelope): void {
    if (!isOwnId(id)) return this.#drop("unasked_answer");
    if (id !== ASK_TOOLS_ID) return;
    if (!failed) this.#parts.repeatable.learn(message);
    this.#decide();
  }

  /** The server was lost with what it was asked, and another is being started. */
  #lost(): void {
    for (const id of this.#requests.takeAsked()) {
      this.#parts.push(cancelled(id, "the server was started again"), NOTIFICATION);
    }
    this.resolve(this.takeUnanswered());
  }

  #drop(why: string): void {
    this.#dropped += 1;
    // Told at 1, 2, 4, 8, …: a mad child must not flood the log.
    if ((this.#dropped & (this.#dropped - 1)) === 0) {
      const { log, id } = this.#parts;
      log.warn({ session: id, why, dropped: this.#dropped }, "message of the server not forwarded");
    }
  }

  #fail({ id, lane }: Unanswered, reason: Reason): void {
    const { rpcCode, message } = FAULTS[reason];
    this.#parts.push(errorResponse(id, rpcCode, message, reason), { kind: "response", id }, lane);
    this.#parts.journal?.settled(id, lane);
  }
}
