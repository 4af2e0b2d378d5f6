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
const OVERDUE_SECONDS = 40;

/** This instance's sign of life in the session store. */
export class InstanceLease {
  readonly #store: SessionStore;
  readonly #log: Log;
  readonly #onLook: () => void;
  readonly #onLost: () => void;
  #lease: Lease;
  #dueAt = 0;
  readonly #begunAt = performance.now();
  /** When the lease that the store confirmed was asked for. */
  #confirmedAt: number | undefined;
  /** For how long the store has it from then on. */
  #heldMs = 0;
  #isDistrusted = false;
  #isBusy = false;

  /**
   * @param onLook called when somebody changed records of this instance, and left word of it in the lease.
   * @param onLost called when the store has lost a lease that it had, and so perhaps everything.
   */
  constructor(
    store: SessionStore,
    instanceId: string,
    log: Log,
    { onLook, onLost }: { onLook: () => void; onLost: () => void },
  ) {
    this.#store = store;
    this.#log = log;
    this.#onLook = onLook;
    this.#onLost = onLost;
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

  /** Whether the store has not confirmed the lease for longer than a renewal may take: others may think this instance dead. */
  isOverdue(now: number): boolean {
    return now - (this.#confirmedAt ?? this.#begunAt) > OVERDUE_SECONDS * 1000;
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
      const wasThere = this.#confirmedAt !== undefined && now - this.#confirmedAt < this.#heldMs;
      if (before === undefined && wasThere) this.#onLost();
      this.#confirmedAt = now;
      this.#heldMs = ttlSeconds * 1000;
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
