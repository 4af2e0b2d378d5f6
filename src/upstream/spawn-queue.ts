import { GatewayError } from "../errors.ts";

/** The right to have one child. */
export interface Place {
  /** The child is up: another may start. Safe to call twice. */
  started: () => void;
  /** The child is gone, or was never started: another may exist. Safe to call twice. */
  release: () => void;
}

export interface SpawnQueueOptions {
  /** How many children may be starting at once. */
  maxStarting: number;
  /** How many children may exist, those that are starting included. */
  maxChildren: number;
  /** How many may wait for a place. */
  maxWaiting: number;
}

interface Waiter {
  admit(place: Place): void;
  refuse(reason: unknown): void;
}

/** Lets children start few at a time, first come first served. */
export class SpawnQueue {
  readonly #options: SpawnQueueOptions;
  readonly #waiters = new Set<Waiter>();
  #starting = 0;
  #children = 0;
  #closed = false;

  constructor(options: SpawnQueueOptions) {
    this.#options = options;
  }

  /** Children that exist, those that are starting included. */
  get children(): number {
    return this.#children;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** Whether those who come now wait until a child has ended, so many as already wait included. */
  get isFull(): boolean {
    return this.#children + this.#waiters.size >= this.#options.maxChildren;
  }

  /**
   * Waits for a place. Rejects with `upstream_queue_full` when too many wait already, with `upstream_start_failed` when
   * the queue is closed, and with the signal's reason when the signal gives up.
   */
  enter(signal: AbortSignal): Promise<Place> {
    if (this.#closed) return Promise.reject(closedFault());
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#waiters.size === 0 && this.#hasRoom()) return Promise.resolve(this.#takePlace());
    if (this.#waiters.size >= this.#options.maxWaiting) {
      return Promise.reject(new GatewayError("upstream_queue_full"));
    }
    return new Promise((resolve, reject) => {
      const giveUp = (): void => waiter.refuse(signal.reason);
      const leave = (): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener("abort", giveUp);
      };
      const waiter: Waiter = {
        admit(place) {
          leave();
          resolve(place);
        },
        refuse(reason) {
          leave();
          reject(reason);
        },
      };
      this.#waiters.add(waiter);
      signal.addEventListener("abort", giveUp);
    });
  }

  /** Sends everyone who waits away. Places that were given stay good. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.refuse(closedFault());
  }

  #hasRoom(): boolean {
    return this.#starting < this.#options.maxStarting && this.#children < this.#options.maxChildren;
  }

  #takePlace(): Place {
    let starting = true;
    let held = true;
    this.#starting += 1;
    this.#children += 1;
    const started = (): void => {
      if (!starting) return;
      starting = false;
      this.#starting -= 1;
      this.#admitNext();
    };
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#children -= 1;
      started();
      this.#admitNext();
    };
    return { started, release };
  }

  #admitNext(): void {
    for (const waiter of this.#waiters) {
      if (!this.#hasRoom()) return;
      waiter.admit(this.#takePlace());
    }
  }
}

const closedFault = (): GatewayError =>
  new GatewayError("upstream_start_failed", { cause: new Error("The gateway is closing this upstream.") });
