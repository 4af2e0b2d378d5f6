import { randomBytes } from "node:crypto";

/** A call that waits for its client to come back with input. */
export interface Waiting {
  /** The client did not come back in time, or its link is needed. Resolves when the link is closed. */
  expire(): Promise<void>;
}

/** More than there can be links, in any sensible setting: a call whose link has ended waits on without one. */
const MAX_PARKED = 10_000;

/** Calls that wait for input, each under a state that only the client which was given it can know. */
export class Parked<T extends Waiting> {
  readonly #parkMs: number;
  readonly #calls = new Map<string, { call: T; timer: NodeJS.Timeout }>();

  /** @param parkMs how long a client may take to come back, in ms. */
  constructor(parkMs: number) {
    this.#parkMs = parkMs;
  }

  /** The state under which the call will be found again, once. */
  add(call: T): string {
    if (this.#calls.size >= MAX_PARKED) void this.#expire(this.#calls.keys().next().value as string);
    const state = randomBytes(32).toString("base64url");
    const timer = setTimeout(() => void this.#expire(state), this.#parkMs).unref();
    this.#calls.set(state, { call, timer });
    return state;
  }

  /** The call of a state, which is parked no more if `fits` agrees. */
  take(state: string, fits: (call: T) => boolean): T | undefined {
    const parked = this.#calls.get(state);
    if (parked === undefined || !fits(parked.call)) return undefined;
    clearTimeout(parked.timer);
    this.#calls.delete(state);
    return parked.call;
  }

  /**
   * Gives up the oldest of the heaviest calls, unless each weighs 0. Resolves when its link is closed, undefined when
   * there was none.
   */
  giveUp(weigh: (call: T) => number): Promise<void> | undefined {
    let heaviest: string | undefined;
    let most = 0;
    for (const [state, { call }] of this.#calls) {
      const weight = weigh(call);
      if (weight <= most) continue;
      heaviest = state;
      most = weight;
    }
    return heaviest === undefined ? undefined : this.#expire(heaviest);
  }

  close(): void {
    for (const { timer } of this.#calls.values()) clearTimeout(timer);
    this.#calls.clear();
  }

  async #expire(state: string): Promise<void> {
    const parked = this.#calls.get(state);
    clearTimeout(parked?.timer);
    this.#calls.delete(state);
    await parked?.call.expire();
  }
}
