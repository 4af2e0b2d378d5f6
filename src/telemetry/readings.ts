/**
 * What stands somewhere in the gateway and is looked at when metrics are asked for, and only then. Each must answer at
 * once, from memory.
 */
export interface Readings {
  /** This instance's sessions: `open` have a stream or are in use, `orphan` wait for their clients; together they are all. */
  sessions(): { open: number; orphan: number; limit: number };
  /** Streams to clients that are open. */
  streams(): number;
  /** The servers that are configured, with the requests that they have not answered. */
  servers(): Iterable<{ name: string; inFlight: number }>;
  store(): StoreReading;
  /** Every alert that there is, whether or not it has begun. */
  alerts(): Iterable<{ name: string; isActive: boolean }>;
  /** Undefined when there is no audit log. */
  audit(): { records: number; lost: number } | undefined;
}

/** The session store as its guard and its wrappers see it. */
export interface StoreReading {
  /** As `SessionStore.kind`. */
  kind: string;
  breaker: "closed" | "half-open" | "open";
  /** How long ago this instance's lease was renewed. Undefined before the first time. */
  leaseAgeSeconds?: number | undefined;
  /** Whether memory does the work of the store. Undefined when `SESSION_STORE_FALLBACK` is off. */
  isFallback?: boolean | undefined;
  /** Undefined when there is no mirror. */
  mirror?: MirrorReading | undefined;
}

/** The second store, to which every write goes as well. */
export interface MirrorReading {
  /** Writes that wait. */
  queued: number;
  /** Writes that were given up since the start. */
  dropped: number;
  /** Age of the oldest write that waits; 0 when none does. */
  lagSeconds: number;
  /** Entries that the last comparison found different. Undefined before the first. */
  divergent?: number | undefined;
  /** Whether reads are answered by the mirror. */
  isReading: boolean;
}
