import type { Log } from "../log.ts";
import type { Lease, SessionStore } from "../session-store/session-store.ts";

/** A dead instance is known after this long. */
export const LEASE_SECONDS = 90;
/** Three renewals may fail before the lease is lost. */
export const LEASE_RENEWAL_SECONDS = 30;
/** One that is killed while it drains must not keep its clients waiting. */
const DRAINING_LEASE_SECONDS = 15;
const DRAINING_RENEWAL_SECONDS = 5;
/** After a failure the next try comes sooner. */
const RETRY_SECONDS = 5;

/** This instance's sign of life in the session store. */
export class InstanceLease {
  readonly #store: SessionStore;
  readonly #log: Log;
  readonly #onLook: () => void;
  #lease: Lease;
  #dueAt = 0;
  /** When the lease that the store confirmed was asked for. */
  #confirmedAt: number | undefined;
  #isDistrusted = false;
  #isBusy = false;

  /** @param onLook called when somebody changed records of this instance, and left word of it in the lease. */
  constructor(store: SessionStore, instanceId: string, log: Log, onLook: () => void) {
    this.#store = store;
    this.#log = log;
    this.#onLook = onLook;
    this.#lease = { v: 1, id: instanceId, startedAt: new Date().toISOString(), state: "serving" };
  }

  /** Whether the others may see no lease of this instance, and take it for dead. */
  isLapsed(now: number): boolean {
    if (this.#isDistrusted) return true;
    return this.#confirmedAt !== undefined && now - this.#confirmedAt >= LEASE_SECONDS * 1000;
  }

  /** The others may have taken this instance for dead: until the next renewal it does not trust its own lease. */
  distrust(): void {
    this.#isDistrusted = true;
    this.#dueAt = 0;
  }

  /** Milliseconds since the store last confirmed the lease; undefined before it first did. */
  ageMs(now: number): number | undefined {
    return this.#confirmedAt === undefined ? undefined : now - this.#confirmedAt;
  }

  /** Tells the others how to reach this instance. */
  advertise(relay: string): void {
    this.#lease = { ...this.#lease, relay };
    this.#dueAt = 0;
  }

  /** Renews the lease when it is due. Never rejects. */
  async beat(now: number): Promise<void> {
    if (this.#isBusy || now < this.#dueAt) return;
    this.#isBusy = true;
    const isDraining = this.#lease.state === "draining";
    const [ttlSeconds, renewalSeconds] = isDraining
      ? [DRAINING_LEASE_SECONDS, DRAINING_RENEWAL_SECONDS]
      : [LEASE_SECONDS, LEASE_RENEWAL_SECONDS];
    this.#dueAt = now + renewalSeconds * 1000;
    try {
      const before = await this.#store.putLease(this.#lease, ttlSeconds);
      this.#confirmedAt = now;
      this.#isDistrusted = false;
      if (before?.look === true) this.#onLook();
    } catch {
      this.#dueAt = now + RETRY_SECONDS * 1000;
    } finally {
      this.#isBusy = false;
    }
  }

  /** The store has forgotten things, and the lease may be among them: writes it now. Never rejects. */
  async rewrite(now: number): Promise<void> {
    this.#dueAt = Math.min(this.#dueAt, now);
    await this.beat(now);
  }

  /** Tells the others that this instance takes nothing new. Never rejects. */
  async drain(): Promise<void> {
    this.#lease = { ...this.#lease, state: "draining" };
    this.#dueAt = 0;
    await this.beat(0);
  }

  /** Gives the lease back. Never rejects. */
  async release(): Promise<void> {
    this.#dueAt = Infinity;
    try {
      await this.#store.removeLease(this.#lease.id);
    } catch {
      this.#log.warn("instance lease not removed; it expires by itself");
    }
  }
}
