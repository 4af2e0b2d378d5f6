import { answerJson } from "./answer.ts";
import type { Route } from "./routes.ts";

/** How long an answer is believed: probes need no key, and must not become a load on the store. */
const BELIEVED_MS = 1000;

/** The session store as an operator must know it. Nothing in it is a secret, an address or a caller's. */
export interface StoreHealth {
  /** The word that `SESSION_STORE` has for it. */
  store: string;
  /** Whether it answered just now. */
  reachable: boolean;
  /** How long that took. Undefined when it did not. */
  latencyMs?: number | undefined;
  breaker: "closed" | "half-open" | "open";
  /** How long ago this instance's lease was renewed. Undefined before the first time. */
  leaseAgeSeconds?: number | undefined;
  /** Whether it should have been renewed by now: the store is away, or keeps nothing. */
  leaseOverdue?: boolean;
  /** Undefined when `SESSION_STORE_FALLBACK` is off. */
  fallback?: FallbackHealth | undefined;
  /** Undefined when there is no mirror. */
  mirror?: MirrorHealth | undefined;
}

export interface FallbackHealth {
  /** Whether memory does the work of the store. */
  inUse: boolean;
  /** For how long. Undefined while it does not. */
  seconds?: number | undefined;
  /** Records that are to be written to the store once it is back. */
  pending: number;
}

export interface MirrorHealth {
  reachable: boolean;
  /** Whether reads are answered by the mirror. */
  reading: boolean;
  /** Writes that wait. */
  queued: number;
  /** Writes that were given up since the start. */
  dropped: number;
  /** Age of the oldest write that waits. */
  lagSeconds: number;
  /** Entries that the last comparison found different. Undefined before the first. */
  divergent?: number | undefined;
}

/** `degraded`: sessions are served, and something that should stand behind them does not. */
export type StoreStatus = "ok" | "degraded" | "unavailable";

export function statusOf({ reachable, breaker, leaseOverdue, fallback, mirror }: StoreHealth): StoreStatus {
  const isReplaced = fallback?.inUse === true || mirror?.reading === true;
  if (!reachable) return isReplaced ? "degraded" : "unavailable";
  const isWhole = !isReplaced && breaker === "closed" && leaseOverdue !== true && mirror?.reachable !== false;
  return isWhole ? "ok" : "degraded";
}

/** Asks `read` once a second at most, however many ask. */
export function believe(
  read: () => Promise<StoreHealth>,
  now: () => number = () => performance.now(),
): () => Promise<StoreHealth> {
  let askedAt = -Infinity;
  let asked: Promise<StoreHealth> | undefined;
  return () => {
    if (asked === undefined || now() - askedAt >= BELIEVED_MS) {
      askedAt = now();
      asked = read();
    }
    return asked;
  };
}

/** `/health/store`: how the session store and what stands beside it are, for people and for monitors. `read` never rejects. */
export function createStoreHealth(read: () => Promise<StoreHealth>): Route {
  return async (_req, res) => {
    const health = await read();
    const status = statusOf(health);
    const { store, reachable, latencyMs, breaker, leaseAgeSeconds, leaseOverdue, fallback, mirror } = health;
    const body = {
      status,
      store,
      reachable,
      latencyMs: rounded(latencyMs),
      breaker,
      leaseAgeSeconds: rounded(leaseAgeSeconds),
      leaseOverdue,
      fallback: fallback && { ...fallback, seconds: rounded(fallback.seconds) },
      mirror: mirror && { ...mirror, lagSeconds: rounded(mirror.lagSeconds) },
    };
    const headers: Record<string, string> = status === "unavailable" ? { "Retry-After": "2" } : {};
    answerJson(res, status === "unavailable" ? 503 : 200, body, headers);
  };
}

const rounded = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : Math.round(value * 10) / 10;
