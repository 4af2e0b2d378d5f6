import { GatewayError } from "../errors.ts";
import { type Envelope, scanMessage } from "../protocol/json-rpc.ts";
import type { Link, LinkEnd, Upstream } from "./upstream.ts";

export interface RequestEvents {
  /** A notification that belongs to the request. */
  onNotice(message: Buffer, envelope: Envelope): void;
  /** The answer. Nothing is called after it. */
  onAnswer(message: Buffer, envelope: Envelope): void;
  /** The link ended before the answer came. Nothing is called after it. */
  onLost(end: LinkEnd): void;
}

/** One request to a server of the 2026-07-28 era, on a link of its own that ends with the answer. */
export class ModernRequest {
  readonly #upstream: Upstream;
  readonly #events: RequestEvents;
  readonly #gone = new AbortController();
  #link: Link | undefined;
  #isGiven = false;
  #isOver = false;
  #isPaused = false;
  #lost: LinkEnd | undefined;

  constructor(upstream: Upstream, events: RequestEvents) {
    this.#upstream = upstream;
    this.#events = events;
  }

  /** Opens the link and gives the request. Rejects when it was not given; resolves silently when it was closed meanwhile. */
  async send(message: Buffer): Promise<void> {
    try {
      const link = await this.#upstream.open(
        { onMessage: (answer) => this.#take(answer), onEnd: (end) => this.#ended(end) },
        this.#gone.signal,
      );
      this.#link = link;
      if (this.#isOver) return await link.close();
      if (this.#isPaused) link.pause();
      await link.send(message);
    } catch (error) {
      if (this.#isOver) return;
      await this.close();
      throw error;
    }
    this.#isGiven = true;
    if (this.#lost !== undefined) this.#ended(this.#lost);
  }

  pause(): void {
    this.#isPaused = true;
    this.#link?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#link?.resume();
  }

  /** Ends the link, which cancels the request when it has no answer yet. Safe to call twice. */
  async close(): Promise<void> {
    this.#isOver = true;
    this.#gone.abort(new GatewayError("upstream_exited"));
    await this.#link?.close();
  }

  #take(message: Buffer): void {
    if (this.#isOver) return;
    const envelope = scanMessage(message);
    // A server of this era has no requests of its own.
    if (typeof envelope === "string" || envelope.kind === "request") return;
    if (envelope.kind === "notification") return this.#events.onNotice(message, envelope);
    void this.close();
    this.#events.onAnswer(message, envelope);
  }

  #ended(end: LinkEnd): void {
    if (this.#isOver) return;
    this.#lost = end;
    if (!this.#isGiven) return;
    this.#isOver = true;
    this.#events.onLost(end);
  }
}
