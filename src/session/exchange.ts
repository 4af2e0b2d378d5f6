import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { CallInFlight } from "../events.ts";
import { cancelled, errorResponse, onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { locate, spelled, textAt } from "../protocol/splice.ts";
import { ASK_TOOLS, ASK_TOOLS_ID, Handshake, isOwnId, type Told } from "./handshake.ts";
import type { ExchangeEvents } from "./exchange-events.ts";
import { laneOf } from "./lane-of.ts";
import type { Sendable } from "./outbox.ts";
import { Requests, type Unanswered } from "./requests.ts";
import type { SessionParts } from "./session-parts.ts";
import { SessionLink } from "./session-link.ts";
import { Undecided } from "./undecided.ts";

const NOTIFICATION: Sendable = { kind: "notification", id: undefined };

/**
 * What client and server have asked each other and not answered yet, over a link that may be replaced. Every request of
 * the client gets one outcome: its response, or an error.
 */
export class Exchange {
  /** When the server last sent something, in ms. */
  heardAt = -Infinity;
  readonly #parts: SessionParts;
  readonly #events: ExchangeEvents;
  readonly #requests: Requests;
  #handshake: Handshake;
  #link: SessionLink;
  #progressAt = -Infinity;
  #dropped = 0;
  #isOver = false;
  readonly #undecided: Undecided;

  constructor(parts: SessionParts, events: ExchangeEvents) {
    this.#parts = parts;
    this.#events = events;
    this.#requests = new Requests(parts.limits.inFlight);
    this.#handshake = new Handshake(parts.told);
    this.#link = this.#createLink();
    this.#undecided = new Undecided({
      repeatable: parts.repeatable,
      now: parts.now,
      ask: () => this.#link.send(ASK_TOOLS),
      decide: (one) => this.#resolveOne(one),
    });
    if (this.#handshake.isKnown) this.#requests.assumeInitialized();
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#requests.inFlight + this.#undecided.count;
  }

  /** Messages of the server that were not forwarded: not JSON-RPC, or answers to nothing. */
  get dropped(): number {
    return this.#dropped;
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
    this.#undecided.beat(now);
    const latest = now - this.#parts.limits.requestTimeoutMs;
    if (this.#requests.inFlight === 0 || this.#progressAt > latest) return;
    for (const late of this.#requests.takeSentBefore(latest)) {
      this.#fail(late, "upstream_timeout");
      this.#link.tell(cancelled(late.id, "timed out at the gateway"));
    }
  }

  /** Whether this request of the client waits for its answer, in this lane. */
  isInFlight(id: string, lane: string): boolean {
    const one = this.#requests.find(id) ?? this.#undecided.find(id);
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
    this.#undecided.add(unanswered);
  }

  /** Another conversation begins: nothing of the old one is left. */
  startClean(): void {
    const old = this.#link;
    for (const { id, lane, call } of this.takeUnanswered()) {
      this.#parts.journal?.settled(id, lane);
      call?.end({ failed: true, reason: "session_over" });
    }
    this.#requests.reset();
    this.#handshake = new Handshake();
    this.#link = this.#createLink();
    const { log, id } = this.#parts;
    old.close().catch((error: unknown) => log.error({ err: error, session: id }, "link did not close"));
  }

  /** Removes and hands out what the client has asked. */
  takeUnanswered(): Unanswered[] {
    return [...this.#undecided.take(), ...this.#requests.takeSentBefore(Infinity)];
  }

  /** The same, for the next owner to answer. */
  bequeath(): Unanswered[] {
    const unanswered = this.takeUnanswered();
    for (const { call } of unanswered) call?.end({ failed: true, reason: "handed_over" });
    return unanswered;
  }

  /** Answers all that the client has asked with a fault, if there is one. */
  failAll(reason: Reason | undefined): void {
    if (reason !== undefined) for (const one of this.takeUnanswered()) this.#fail(one, reason);
  }

  /** Ends the link. Resolves when nothing of it is left. */
  close(): Promise<void> {
    this.#isOver = true;
    for (const { call } of this.takeUnanswered()) call?.end({ failed: true, reason: "session_over" });
    return this.#link.close();
  }

  #cancel(message: Buffer): void {
    const place = locate(message, ["params", "requestId"]);
    if (place === undefined) return;
    const id = spelled(textAt(message, place));
    const one = this.#undecided.forget(id) ?? this.#requests.forget(id);
    if (one === undefined) return;
    this.#parts.journal?.settled(id, one.lane);
    one.call?.end({ failed: true, reason: "cancelled" });
    if (one.lane !== undefined) this.#events.leaveLane(one.lane);
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
    const { upstream, limits, log, now, makeRoom } = this.#parts;
    const { push, restLane, end } = this.#events;
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
      onMessage: (message, envelope) => link === this.#link && this.#receive(message, envelope),
      onRest: (id) => link === this.#link && restLane(this.#requests.find(id)?.lane ?? ""),
      onAnnouncement: (message) => push(message, NOTIFICATION),
      onLost: () => link === this.#link && this.#lost(),
      onEnd: (why) => link === this.#link && end(why),
    });
    return link;
  }

  #request(message: Buffer, envelope: Envelope, lane?: string): Promise<void> | undefined {
    const { journal, now } = this.#parts;
    this.#requests.check(envelope);
    const call = this.#watch(message, envelope);
    const line = call?.message ?? message;
    const entered = this.#requests.enter(envelope, line, now(), lane, call);
    // Who watches may have changed the message, and its places with it.
    const giving = this.#link.send(line, line === message ? envelope : undefined);
    const sent = giving?.then(
      () => this.#note(envelope, message),
      (error: unknown) => this.#takeBack(entered, error),
    );
    const kept = journal?.accepted(entered.id, line, lane);
    if (sent === undefined) this.#note(envelope, message);
    return sent === undefined || kept === undefined ? (sent ?? kept) : sent.then(() => kept);
  }

  #note(envelope: Envelope, message: Buffer): void {
    if (this.#handshake.note(envelope, message)) this.#events.tell(this.#handshake.told);
  }

  #takeBack(entered: Unanswered, error: unknown): never {
    this.#requests.leave(entered);
    this.#parts.journal?.settled(entered.id, entered.lane);
    entered.call?.end({ failed: true, reason: error instanceof GatewayError ? error.reason : "internal" });
    throw error;
  }

  #watch(message: Buffer, { id, method }: Envelope): CallInFlight | undefined {
    const { calls, server, id: session, transport } = this.#parts;
    const asked = { id: id as string, method: method as string };
    return calls?.begin({ server, session, transport, message, ...asked });
  }

  #receive(message: Buffer, known: Envelope | undefined): void {
    if (this.#isOver) return;
    const envelope = known ?? scanMessage(message);
    if (typeof envelope === "string") return this.#drop(envelope);
    this.heardAt = this.#parts.now();
    let lane: string | undefined;
    let isRefused = false;
    if (envelope.kind === "response") {
      const asked = this.#requests.settle(envelope);
      if (asked === undefined) return this.#receiveUnasked(message, envelope);
      if (asked.method === "tools/list" && !envelope.failed) this.#parts.repeatable.learn(message);
      this.#parts.journal?.settled(asked.id, asked.lane);
      asked.call?.end({ answer: message, failed: envelope.failed });
      ({ lane } = asked);
      isRefused = asked.method === "initialize" && envelope.failed;
    } else {
      if (envelope.kind === "request") this.#requests.ask(envelope);
      else if (envelope.method === "notifications/progress") this.#progressAt = this.heardAt;
      if (this.#parts.transport === "streamable")
        lane = laneOf(message, envelope, this.#requests, this.#events.hasStream);
    }
    this.#events.push(onOneLine(message), envelope, lane);
    // Only a stream could be begun on anew.
    if (isRefused && this.#parts.transport === "streamable") this.#events.end("client_gone");
  }

  /** An answer to nothing that the client has asked: perhaps the gateway has. */
  #receiveUnasked(message: Buffer, { id, failed }: Envelope): void {
    if (!isOwnId(id)) return this.#drop("unasked_answer");
    if (id !== ASK_TOOLS_ID) return;
    if (!failed) this.#parts.repeatable.learn(message);
    this.#undecided.decide();
  }

  /** The server was lost with what it was asked, and another is being started. */
  #lost(): void {
    for (const id of this.#requests.takeAsked()) {
      this.#events.push(cancelled(id, "the server was started again"), NOTIFICATION);
    }
    this.resolve(this.takeUnanswered());
  }

  #drop(why: string): void {
    this.#dropped += 1;
    // Told at 1, 2, 4, 8, …: a mad child must not flood the log.
    if ((this.#dropped & (this.#dropped - 1)) !== 0) return;
    const { log, id } = this.#parts;
    log.warn({ session: id, why, dropped: this.#dropped }, "message of the server not forwarded");
  }

  #fail({ id, lane, call }: Unanswered, reason: Reason): void {
    const { rpcCode, message } = FAULTS[reason];
    call?.end({ failed: true, reason });
    this.#events.push(errorResponse(id, rpcCode, message, reason), { kind: "response", id }, lane);
    this.#parts.journal?.settled(id, lane);
  }
}
