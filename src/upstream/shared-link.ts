import { GatewayError } from "../errors.ts";
import { type Envelope, scanMessage } from "../protocol/json-rpc.ts";
import { mayHave } from "./mux-marks.ts";
import type { Link, LinkEnd, LinkEvents, Upstream } from "./upstream.ts";

/** Finds the place for a session that initializes with these `params`. Throws when there is none. */
export type FindPlace = (params: Buffer, current: Upstream) => Upstream;

/** A session's link to a shared server, which moves to another server when its `initialize` is of another kind. */
export class SharedLink implements Link {
  readonly #events: LinkEvents;
  readonly #findPlace: FindPlace;
  #isClosed = false;
  /** Ends a move. */
  #giveUp: AbortController | undefined;
  #place: Upstream;
  #link: Link | undefined;
  #moving: Promise<void> | undefined;
  /** The events of earlier links are not the session's. */
  #moves = 0;
  #isInitialized = false;
  #isPaused = false;
  #isEnded = false;

  private constructor(place: Upstream, events: LinkEvents, findPlace: FindPlace) {
    this.#place = place;
    this.#events = events;
    this.#findPlace = findPlace;
  }

  static async open(
    place: Upstream,
    events: LinkEvents,
    findPlace: FindPlace,
    signal: AbortSignal,
  ): Promise<Link> {
    const shared = new SharedLink(place, events, findPlace);
    shared.#link = await place.open(shared.#eventsOf(0), signal);
    return shared;
  }

  send(message: Buffer, known?: Envelope): Promise<void> | undefined {
    if (this.#isClosed) return Promise.reject(new GatewayError("upstream_exited"));
    if (this.#moving) return this.#moving.then(() => this.#link?.send(message, known));
    if (!this.#isInitialized && mayHave(message, "initialize")) {
      const envelope = known ?? scanMessage(message);
      if (typeof envelope !== "string" && envelope.kind === "request" && envelope.method === "initialize") {
        return this.#initialize(message, message.subarray(envelope.paramsStart, envelope.paramsEnd));
      }
    }
    return this.#link?.send(message, known);
  }

  pause(): void {
    this.#isPaused = true;
    this.#link?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#link?.resume();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#giveUp?.abort(new GatewayError("upstream_exited"));
    await this.#moving?.catch(() => undefined);
    await this.#link?.close();
  }

  #initialize(message: Buffer, params: Buffer): Promise<void> | undefined {
    let place: Upstream;
    try {
      place = this.#findPlace(params, this.#place);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#isInitialized = true;
    if (place === this.#place) return this.#link?.send(message);
    this.#moving = this.#move(place);
    const sent = this.#moving.then(
      () => this.#link?.send(message),
      (error: unknown) => {
        this.#isInitialized = false;
        throw error;
      },
    );
    // Not before this turn is over, lest a message overtake those that wait for the promise.
    const moved = () => queueMicrotask(() => (this.#moving = undefined));
    this.#moving.then(moved, moved);
    return sent;
  }

  async #move(place: Upstream): Promise<void> {
    this.#giveUp = new AbortController();
    const next = await place.open(this.#eventsOf(this.#moves + 1), this.#giveUp.signal);
    if (this.#isEnded || this.#isClosed) {
      await next.close();
      throw new GatewayError("upstream_exited");
    }
    const last = this.#link;
    this.#moves += 1;
    this.#place = place;
    this.#link = next;
    if (this.#isPaused) next.pause();
    await last?.close();
  }

  #eventsOf(move: number): LinkEvents {
    return {
      owner: this.#events.owner,
      onMessage: (message, envelope) => {
        if (move === this.#moves) this.#events.onMessage(message, envelope);
      },
      onEnd: (end: LinkEnd) => {
        if (move !== this.#moves || this.#isEnded) return;
        this.#isEnded = true;
        this.#events.onEnd(end);
      },
    };
  }
}
