import type { InstanceLease } from "./instance-lease.ts";
import type { Records } from "./records.ts";

/** How often this instance looks, at most, whether it was taken for dead, in ms. */
const VERIFY_MS = 1000;
/** A process that missed its beat for so long was asleep, and others may have thought it dead. */
const STALLED_MS = 2500;

export interface TrustParts {
  lease: InstanceLease;
  records: Records;
  /** Monotonic time in ms. */
  now: () => number;
}

/**
 * Whether this instance may trust that its sessions are still its own. Others claim them when they take it for dead, and
 * who slept through that learns of it here before it does anything for a session.
 */
export class Trust {
  readonly #parts: TrustParts;
  #beatAt: number;
  #verifiedAt = -Infinity;
  #verifying: Promise<void> | undefined;

  constructor(parts: TrustParts) {
    this.#parts = parts;
    this.#beatAt = parts.now();
  }

  /** Whether `verify` must be asked before a session is used. */
  get isDoubtful(): boolean {
    const now = this.#parts.now();
    return now - this.#beatAt > STALLED_MS || this.#parts.lease.isLapsed(now);
  }

  /** The process is awake. */
  beat(now: number): void {
    this.#beatAt = now;
  }

  /** Others could not reach this instance for a while. */
  lose(): void {
    this.#parts.lease.distrust();
    this.#verifiedAt = -Infinity;
    void this.verify();
  }

  /** Lets go of sessions that others have claimed, in case of doubt. One look serves all who wait. Never rejects. */
  verify(): Promise<void> {
    if (this.#verifying !== undefined) return this.#verifying;
    if (!this.isDoubtful || this.#parts.now() - this.#verifiedAt < VERIFY_MS) return Promise.resolve();
    return (this.#verifying = this.#verify());
  }

  async #verify(): Promise<void> {
    const { lease, records, now } = this.#parts;
    try {
      await records.verify();
      await lease.rewrite(now());
    } catch {
      // Who cannot reach the store cannot be told; the open streams are the truth until then.
    }
    this.#verifiedAt = now();
    this.#verifying = undefined;
  }
}
