import { setTimeout as delay } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import type { Link, LinkEnd, Upstream } from "../upstream/upstream.ts";
import { answersReplay, type Handshake } from "./handshake.ts";

export interface SessionLinkParts {
  /** Name of the caller whose session it is. */
  caller: string;
  upstream: Upstream;
  /** What a fresh link is told; changes as the client speaks. */
  handshake: Handshake;
  /** How long the server may take to be started and to answer the replayed `initialize`, in ms. */
  startMs: number;
  /** How often within a minute a server that ended by itself is started again. */
  restarts: number;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
  /** The upstream is full: a session that waits for its client should make room. */
  makeRoom(): void;
  /** Whether the client is far enough for a server that ended by itself to be replaced. */
  mayRestart(): boolean;
  /** As `LinkEvents.onMessage`. */
  onMessage(message: Buffer, envelope?: Envelope): void;
  /** As `LinkEvents.onRest`. */
  onRest(id: string): void;
  /** A server that was told the handshake anew has this for the client. */
  onAnnouncement(message: Buffer): void;
  /** The server ended by itself and is being started again: what it was asked is lost. */
  onLost(): void;
  /** The link has ended for good. */
  onEnd(end: Exclude<LinkEnd, "closed">): void;
}

const RESTART_WINDOW_MS = 60_000;
const MAX_BACKOFF_MS = 30_000;

/**
 * A session's way to its server: opened with the first message, told the handshake when the client has given it to an
 * earlier link, and opened again when the server ends by itself.
 */
export class SessionLink {
  readonly #parts: SessionLinkParts;
  #isGone = false;
  /** Ends what is being opened. Only meanwhile: a signal of each session's own would be a kilobyte of it. */
  #giveUp: AbortController | undefined;
  #link: Link | undefined;
  #opening: Promise<Link> | undefined;
  #isPaused = false;
  #restartedAt: number[] = [];

  constructor(parts: SessionLinkParts) {
    this.#parts = parts;
  }

  /** Gives one message, on one line, to the server; opens the link when there is none. As `Link.send`. */
  send(line: Buffer, envelope?: Envelope): Promise<void> | undefined {
    if (this.#link !== undefined) return this.#link.send(line, envelope);
    // The order of these continuations is the order of the messages.
    return (this.#opening ?? this.#open()).then((link) => link.send(line, envelope));
  }

  /** Tells the server if there is one; it is not started for this. */
  tell(line: Buffer): void {
    // A server that is stuck cannot be told.
    this.#link?.send(line)?.catch(() => undefined);
  }

  pause(): void {
    this.#isPaused = true;
    this.#link?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#link?.resume();
  }

  /** Ends the link. Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#isGone = true;
    this.#giveUp?.abort();
    const link = await this.#opening?.catch(() => undefined);
    await link?.close();
  }

  #open(): Promise<Link> {
    const { log, onEnd } = this.#parts;
    const giveUp = this.#newEnd();
    return this.#use(
      this.#inTime(giveUp, (signal) => this.#start(signal)).catch((error: unknown) => {
        this.#opening = undefined;
        if (this.#isGone) throw new GatewayError("session_not_found", { cause: error });
        if (giveUp.signal.aborted) throw new GatewayError("upstream_queue_full", { cause: error });
        if (error instanceof GatewayError && error.reason !== "upstream_start_failed") throw error;
        if (!(error instanceof GatewayError)) log.warn({ err: error }, "fresh link not usable");
        onEnd("upstream_start_failed");
        throw new GatewayError("upstream_start_failed", { cause: error });
      }),
    );
  }

  #use(opening: Promise<Link>): Promise<Link> {
    this.#opening = opening.then((link) => {
      this.#giveUp = undefined;
      if (this.#isPaused) link.pause();
      // Not set before this turn is over, lest a message overtake those that wait for the promise.
      queueMicrotask(() => {
        if (this.#opening === used) this.#link = link;
      });
      return link;
    });
    const used = this.#opening;
    return used;
  }

  /** What ends with the session. */
  #newEnd(): AbortController {
    const giveUp = new AbortController();
    if (this.#isGone) giveUp.abort();
    return (this.#giveUp = giveUp);
  }

  /** One start, which is given up in time. */
  async #inTime(giveUp: AbortController, start: (signal: AbortSignal) => Promise<Link>): Promise<Link> {
    const timer = setTimeout(() => giveUp.abort(), this.#parts.startMs);
    try {
      return await start(giveUp.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  #start(signal: AbortSignal): Promise<Link> {
    const { upstream, handshake, makeRoom, onMessage, onRest } = this.#parts;
    if (upstream.isFull) makeRoom();
    if (handshake.isKnown) return this.#startAnew(signal);
    const onEnd = (end: LinkEnd) => this.#ended(end);
    return upstream.open({ owner: this.#parts.caller, onMessage, onRest, onEnd }, signal);
  }

  /** Starts the server and tells it the handshake. Rejects when it ends, or refuses, before that is done. */
  async #startAnew(signal: AbortSignal): Promise<Link> {
    const { upstream, handshake, onMessage, onRest, onAnnouncement } = this.#parts;
    let isTold = false;
    let answered: (message: Buffer) => void;
    let failed: (error: unknown) => void;
    const answer = new Promise<Buffer>((resolve, reject) => ([answered, failed] = [resolve, reject]));
    answer.catch(() => undefined);
    signal.addEventListener("abort", () => failed(signal.reason), { once: true });
    const link = await upstream.open(
      {
        owner: this.#parts.caller,
        onMessage: (message, envelope) => {
          if (!isTold && answersReplay(message)) answered(message);
          else onMessage(message, envelope);
        },
        onRest,
        onEnd: (end) => {
          failed(new GatewayError("upstream_exited"));
          if (isTold) this.#ended(end);
        },
      },
      signal,
    );
    try {
      const announcements = await handshake.replay((message) => link.send(message), answer);
      isTold = true;
      announcements.forEach(onAnnouncement);
      return link;
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  #ended(end: LinkEnd): void {
    if (end === "closed" || this.#isGone) return;
    this.#link = undefined;
    const { mayRestart, onLost, onEnd } = this.#parts;
    if (end !== "upstream_exited" || !mayRestart() || this.#backoff() === undefined) return onEnd(end);
    this.#use(this.#startAgain()).catch(() => undefined);
    onLost();
  }

  async #startAgain(): Promise<Link> {
    const { log, now, onEnd } = this.#parts;
    for (;;) {
      const backoff = this.#backoff();
      if (backoff === undefined) {
        // Who waits to send is told by its own rejection, before what was sent is told by errors.
        setImmediate(onEnd, "upstream_exited");
        throw new GatewayError("upstream_exited");
      }
      this.#restartedAt.push(now());
      await delay(backoff, undefined, { signal: this.#newEnd().signal }).catch((error: unknown) => {
        throw new GatewayError("session_not_found", { cause: error });
      });
      log.warn({ event: "upstream_restarted" }, "the server ended by itself: starting it again");
      try {
        return await this.#inTime(this.#newEnd(), (signal) => this.#startAnew(signal));
      } catch (error) {
        if (this.#isGone) throw new GatewayError("session_not_found", { cause: error });
      }
    }
  }

  /** How long to wait before the next start, in ms: none at first, then a second, doubling. Undefined when there were too many. */
  #backoff(): number | undefined {
    const { now, restarts } = this.#parts;
    this.#restartedAt = this.#restartedAt.filter((at) => at > now() - RESTART_WINDOW_MS);
    const count = this.#restartedAt.length;
    if (count >= restarts) return undefined;
    return count === 0 ? 0 : Math.min(1000 * 2 ** (count - 1), MAX_BACKOFF_MS);
  }
}
