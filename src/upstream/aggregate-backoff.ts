/** After so long without a fault the count begins anew. */
const FORGET_MS = 60_000;
const MAX_WAIT_MS = 30_000;

/** Says when something that fails may be tried again: each time later, to half a minute at most. */
export class Backoff {
  readonly #firstMs: number;
  #faults = 0;
  #at = Number.NEGATIVE_INFINITY;
  #until = Number.NEGATIVE_INFINITY;

  /** @param firstMs how long to wait after the first fault; 0 for not at all. */
  constructor(firstMs: number) {
    this.#firstMs = firstMs;
  }

  /** Whether it failed when it was last tried, and not long ago. */
  get isDoubtful(): boolean {
    return this.#faults > 0 && performance.now() - this.#at < FORGET_MS;
  }

  /** Whether it may be tried now. */
  get isDue(): boolean {
    return performance.now() >= this.#until;
  }

  failed(): void {
    const now = performance.now();
    this.#faults = now - this.#at > FORGET_MS ? 1 : this.#faults + 1;
    this.#at = now;
    this.#until = now + this.#wait();
  }

  /** One tries: until it knows more, others need not. */
  trying(): void {
    if (this.#faults > 0) this.#until = performance.now() + Math.max(this.#wait(), 1000);
  }

  succeeded(): void {
    this.#faults = 0;
    this.#until = Number.NEGATIVE_INFINITY;
  }

  #wait(): number {
    if (this.#firstMs === 0)
      return this.#faults < 2 ? 0 : Math.min(1000 * 2 ** (this.#faults - 2), MAX_WAIT_MS);
    return Math.min(this.#firstMs * 2 ** (this.#faults - 1), MAX_WAIT_MS);
  }
}
