import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import { errorResponse, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import { Refusal } from "./remote-post.ts";
import { requestIdIn, type Wire, type WireOwner } from "./remote-wire.ts";
import type { Link, LinkEnd, LinkEvents } from "./upstream.ts";

interface Waiting {
  readonly message: Buffer;
  readonly since: number;
  resolve(): void;
  reject(error: unknown): void;
}

export interface RemoteLinkOptions {
  /** Nothing of the link is left. */
  onGone(): void;
  warn: Warn;
}

/** Tells the operator, once in a while. */
export type Warn = (facts: object, words: string) => void;

const MAX_WAITING = 1000;
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** How long a message waits for those before it. */
const WAIT_MS = 10_000;
/** A server that has said nothing of a request for so long has it all the same: it will say so with the answer. */
const SURELY_TAKEN_MS = 1000;
/** The lead that a message gets with a server that is known to be so. Messages on two connections have no other order. */
const LEAD_MS = 20;

/** One session's connection to a remote server: keeps the order, and sees that each request has one outcome. */
export class RemoteLink implements Link, WireOwner {
  readonly #events: LinkEvents;
  readonly #onGone: () => void;
  readonly #warn: Warn;
  readonly #wire: Wire;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #isSending = false;
  /** Requests that were given to the server and have no answer yet. */
  readonly #asked = new Set<string>();
  #answersLate = false;
  #isPaused = false;
  #isOver = false;
  #closed: Promise<void> | undefined;
  #hasEnded = false;

  constructor(
    events: LinkEvents,
    createWire: (owner: WireOwner) => Wire,
    { onGone, warn }: RemoteLinkOptions,
  ) {
    this.#events = events;
    this.#onGone = onGone;
    this.#warn = warn;
    this.#wire = createWire(this);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  send(message: Buffer): Promise<void> {
    if (this.isOver) return Promise.reject(new GatewayError("upstream_exited"));
    const tooLarge = this.#waiting.length > 0 && this.#waitingBytes + message.length > MAX_WAITING_BYTES;
    if (this.#waiting.length >= MAX_WAITING || tooLarge) {
      return Promise.reject(new GatewayError("upstream_busy"));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, since: performance.now(), resolve, reject });
      this.#waitingBytes += message.length;
      if (!this.#isSending) void this.#sendWaiting();
    });
  }

  pause(): void {
    this.#isPaused = true;
    if (!this.isOver) this.#wire.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (!this.isOver) this.#wire.resume();
  }

  close(): Promise<void> {
    this.#isOver = true;
    this.#closed ??= this.#closeWire("closed");
    return this.#closed;
  }

  receive(message: Buffer): void {
    if (this.isOver) return;
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return this.#drop(envelope);
    // An answer to nothing that was asked here is not handed on: it may be meant for somebody else.
    if (envelope.kind === "response" && !this.#asked.delete(envelope.id as string)) {
      return this.#drop("unasked_answer");
    }
    this.#events.onMessage(message);
  }

  isAsked(id: string): boolean {
    return !this.isOver && this.#asked.has(id);
  }

  rest(id: string): void {
    if (!this.isOver) this.#events.onRest?.(id);
  }

  fail(id: string, reason: Reason): void {
    const { rpcCode, message } = FAULTS[reason];
    if (!this.isAsked(id)) return;
    this.#warn({ reason }, "The remote server did not answer a request");
    this.receive(errorResponse(id, rpcCode, message, reason));
  }

  gone(end: Exclude<LinkEnd, "closed">): void {
    if (this.isOver) return;
    this.#isOver = true;
    this.#refuseWaiting();
    // Who waits to send is told by its own rejection, before what was sent is told by the end.
    setImmediate(() => {
      this.#closed ??= this.#closeWire(end);
    });
  }

  #drop(why: string): void {
    this.#warn({ why }, "What the remote server sent is not handed on");
  }

  async #closeWire(end: LinkEnd): Promise<void> {
    this.#refuseWaiting();
    if (end !== "closed") this.#finish(end);
    await this.#wire.close();
    this.#finish(end);
    this.#onGone();
  }

  #finish(end: LinkEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#events.onEnd(end);
  }

  #refuseWaiting(): void {
    for (const { reject } of this.#waiting.splice(0)) reject(new GatewayError("upstream_exited"));
    this.#waitingBytes = 0;
  }

  async #sendWaiting(): Promise<void> {
    this.#isSending = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#waitingBytes -= next.message.length;
      if (performance.now() - next.since > WAIT_MS) next.reject(new GatewayError("upstream_busy"));
      else await this.#give(next);
    }
    this.#isSending = false;
  }

  /** Resolves when the next message may follow. */
  #give({ message, resolve, reject }: Waiting): Promise<void> {
    const envelope = scanMessage(message);
    if (typeof envelope === "string") {
      reject(new GatewayError(envelope));
      return Promise.resolve();
    }
    const { id, kind, method } = envelope;
    if (kind === "request") this.#asked.add(id as string);
    const forgotten = method === "notifications/cancelled" ? requestIdIn(message) : undefined;
    if (forgotten !== undefined) this.#asked.delete(forgotten);
    const opensSession = method === "initialize" || method === "notifications/initialized";
    return new Promise((next) => {
      const timers: NodeJS.Timeout[] = [];
      let isTold = false;
      const surelyTaken = (): void => {
        this.#answersLate = true;
        isTold = kind === "request";
        if (isTold) resolve();
      };
      const onWritten = (): void => {
        if (opensSession) return;
        const isLate = this.#answersLate || this.#wire.answersLate;
        timers.push(setTimeout(surelyTaken, SURELY_TAKEN_MS));
        timers.push(setTimeout(next, isLate ? LEAD_MS : SURELY_TAKEN_MS));
      };
      void this.#wire
        .post({ message, envelope, onWritten })
        .catch((error: unknown) => this.#refused(error, envelope))
        .then(resolve, (error: GatewayError) => {
          if (isTold) return this.fail(id as string, error.reason);
          this.#asked.delete(id as string);
          reject(error);
        })
        .finally(() => {
          timers.forEach(clearTimeout);
          next();
        });
    });
  }

  /** A refusal that is itself an answer is the answer. */
  #refused(error: unknown, { kind, id }: Envelope): void {
    if (this.isOver) throw new GatewayError("upstream_exited", { cause: error });
    if (!(error instanceof Refusal)) throw error;
    this.#warn({ status: error.status, err: error.cause }, "The remote server did not take a message");
    const { answer, status } = error;
    // Our credentials are no matter of the client's, and it would begin to ask for its user's.
    if (kind !== "request" || answer === undefined || status === 401 || status === 403) throw error;
    if (this.isAsked(id as string)) this.receive(answer);
  }
}
