import { GatewayError } from "../errors.ts";

/** How much may be in flight at once. A `subscriptions/listen` lasts for hours and has a count of its own. */
export interface ModernLimits {
  requestsPerCaller: number;
  listensPerCaller: number;
  /** All callers, both kinds together. */
  total: number;
}

type Kind = "requests" | "listens";

/** Counts what is in flight, by caller. */
export class InFlight {
  readonly #limits: ModernLimits;
  readonly #callers = new Map<string, Record<Kind, number>>();
  #total = 0;

  constructor(limits: ModernLimits) {
    this.#limits = limits;
  }

  /**
   * Counts one more, until the function that it answers is called. Throws `overloaded` when this instance is full, and
   * `too_many_in_flight` when the caller has as many as it may have.
   */
  enter(caller: string, kind: Kind): () => void {
    if (this.#total >= this.#limits.total) throw new GatewayError("overloaded");
    const counts = this.#callers.get(caller) ?? { requests: 0, listens: 0 };
    if (counts[kind] >= this.#limits[`${kind}PerCaller`]) throw new GatewayError("too_many_in_flight");
    this.#callers.set(caller, counts);
    counts[kind] += 1;
    this.#total += 1;
    return () => {
      this.#total -= 1;
      counts[kind] -= 1;
      if (counts.requests === 0 && counts.listens === 0) this.#callers.delete(caller);
    };
  }
}
