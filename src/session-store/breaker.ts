import type { FailureKind } from "./store-failure.ts";

export type BreakerState = "closed" | "open" | "half-open";

/** Leave to make one call, to be given back with its outcome. */
export interface Ticket {
  /** True when this call decides whether the breaker closes again. */
  readonly probe: boolean;
}

export interface Breaker {
  state(): BreakerState;
  /** What opened it; undefined while it is closed. */
  cause(): FailureKind | undefined;
  /** A ticket for one call, or undefined when none may be made now. */
  admit(): Ticket | undefined;
  /** The store answered. True when this closed the breaker. */
  succeeded(ticket: Ticket): boolean;
  /** The store did not serve. True when this opened a closed breaker. */
  failed(ticket: Ticket, kind: FailureKind): boolean;
}

const FAILURES_TO_OPEN = 5;
const OPEN_MS = 2000;
const QUOTA_OPEN_MS = 60_000;

/**
 * Stops calls to a store that does not serve: open after five failures in a row for about 2 s, or 60 s when the
 * quota is used up; then one probe decides.
 */
export function createBreaker(now: () => number, random: () => number = Math.random): Breaker {
  let failures = 0;
  let open: { cause: FailureKind; until: number; probing: boolean } | undefined;

  function trip(cause: FailureKind): void {
    const pauseMs = cause === "quota" ? QUOTA_OPEN_MS : OPEN_MS;
    // The jitter keeps instances from probing in step.
    open = { cause, until: now() + pauseMs * (1 + random() * 0.25), probing: false };
  }

  return {
    state: () => (open ? (now() < open.until ? "open" : "half-open") : "closed"),
    cause: () => open?.cause,
    admit() {
      if (!open) return { probe: false };
      if (now() < open.until || open.probing) return undefined;
      open.probing = true;
      return { probe: true };
    },
    succeeded({ probe }) {
      // The answer to a call from before the breaker opened says nothing about now.
      if (open && !probe) return false;
      const closes = open !== undefined;
      open = undefined;
      failures = 0;
      return closes;
    },
    failed({ probe }, kind) {
      if (open) {
        if (probe) trip(kind);
        return false;
      }
      failures += 1;
      if (kind !== "quota" && failures < FAILURES_TO_OPEN) return false;
      trip(kind);
      return true;
    },
  };
}
