import { GatewayError } from "../errors.ts";
import { type Envelope, scanMessage } from "../protocol/json-rpc.ts";
import type { CarriedRequest } from "./mux-requests.ts";
import type { Trunk } from "./mux-trunk.ts";
import type { Link, LinkEnd, LinkEvents } from "./upstream.ts";

/** A branch that is paused and for which more than this waits is ended, so that its reader slows no one else. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** What one branch may have waiting for a server that does not read; the rest of its queue is for the others. */
const MAX_SENDING_BYTES = 1024 * 1024;

/** One session's share of a link that many use. */
export class Branch implements Link {
  /** Its requests that wait for an answer, by the client's id. */
  readonly requests = new Map<string, CarriedRequest>();
  /** As `LinkEvents.owner`; itself when there is none. */
  readonly owner: unknown;
  readonly #trunk: Trunk;
  readonly #events: LinkEvents;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #sendingBytes = 0;
  #isPaused = false;
  #isOpen = true;

  constructor(trunk: Trunk, events: LinkEvents) {
    this.owner = events.owner ?? this;
    this.#trunk = trunk;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  send(message: Buffer, known?: Envelope): Promise<void> | undefined {
    if (!this.#isOpen) return Promise.reject(new GatewayError("upstream_exited"));
    const envelope = known ?? scanMessage(message);
    if (typeof envelope === "string") return Promise.reject(new GatewayError(envelope));
    const tooMuch = this.#sendingBytes > 0 && this.#sendingBytes + message.length > MAX_SENDING_BYTES;
    if (tooMuch) return Promise.reject(new GatewayError("upstream_busy"));
    const sent = this.#trunk.take(this, message, envelope);
    if (sent === undefined) return undefined;
    this.#sendingBytes += message.length;
    return sent.finally(() => (this.#sendingBytes -= message.length));
  }

  pause(): void {
    if (this.#isPaused || !this.#isOpen) return;
    this.#isPaused = true;
    this.#trunk.paused(1);
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#trunk.paused(-1);
    while (!this.#isPaused && this.#deliverHeld());
  }

  async close(): Promise<void> {
    this.end("closed");
  }

  /** Gives the client a message, now or when it is ready for it. `envelope` as in `LinkEvents.onMessage`. */
  deliver(message: Buffer, envelope?: Envelope): void {
    if (!this.#isOpen) return;
    if (!this.#isPaused && this.#held.length === 0) return this.#events.onMessage(message, envelope);
    this.#held.push(message);
    this.#heldBytes += message.length;
    if (this.#heldBytes > MAX_HELD_BYTES && this.#held.length > 1) this.end("upstream_busy");
  }

  /** As `deliver`, but never within the turn in which the client asked. */
  deliverSoon(message: Buffer): void {
    queueMicrotask(() => this.deliver(message));
  }

  /** Ends this branch and no other. Safe to call twice. */
  end(reason: LinkEnd): void {
    if (!this.#isOpen) return;
    // What the server said before it ended is not lost with it.
    if (reason !== "closed" && reason !== "upstream_busy") while (this.#deliverHeld());
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#held = [];
    if (this.#isPaused) this.#trunk.paused(-1);
    this.#trunk.release(this);
    this.#events.onEnd(reason);
  }

  #deliverHeld(): boolean {
    const message = this.#held.shift();
    if (message === undefined) return false;
    this.#heldBytes -= message.length;
    this.#events.onMessage(message);
    return true;
  }
}
