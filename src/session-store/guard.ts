import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import { createBreaker, type BreakerState, type Ticket } from "./breaker.ts";
import { withinDeadline } from "./deadline.ts";
import type { SessionStore } from "./session-store.ts";
import { StoreFailure, toFailure, unavailable, type FailureKind } from "./store-failure.ts";

export interface GuardOptions {
  /** Milliseconds that a verb waits at most, whatever the driver does. */
  deadlineMs: number;
  log: Log;
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Draws from 0 to 1 for the breaker's jitter. */
  random?: () => number;
}

export interface GuardedSessionStore extends SessionStore {
  /** `closed` in good times; `open` while verbs reject at once; `half-open` when one probe may try. */
  state(): BreakerState;
}

const OUTAGE_WORDS: Record<FailureKind, string> = {
  unreachable: "session store unavailable",
  refused: "session store unavailable",
  credentials: "session store refuses our credentials",
  quota: "session store's command quota is used up; asking it once a minute",
};

/**
 * Puts a deadline and a circuit breaker round any driver, and turns whatever it throws into `store_unavailable`. Tells
 * an outage once when it begins and once when it ends.
 */
export function guardSessionStore(store: SessionStore, options: GuardOptions): GuardedSessionStore {
  const { deadlineMs, log, now = () => performance.now(), random = Math.random } = options;
  const breaker = createBreaker(now, random);
  let outageSince = 0;
  let closing: Promise<void> | undefined;

  function noteSuccess(ticket: Ticket): void {
    if (!breaker.succeeded(ticket)) return;
    log.info(
      { store: store.kind, seconds: Math.round((now() - outageSince) / 1000) },
      "session store is back",
    );
  }

  function noteFailure(ticket: Ticket, failure: StoreFailure): void {
    const wasQuota = breaker.cause() === "quota";
    const opened = breaker.failed(ticket, failure.kind);
    if (opened) outageSince = now();
    if (!opened && (wasQuota || breaker.cause() !== "quota")) return;
    const { kind, code } = failure;
    log[kind === "unreachable" ? "warn" : "error"]({ store: store.kind, code }, OUTAGE_WORDS[kind]);
  }

  async function guarded<T>(verb: () => Promise<T>): Promise<T> {
    if (closing) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    const ticket = breaker.admit();
    if (!ticket) throw unavailable(new StoreFailure(breaker.cause() ?? "unreachable", "BREAKER_OPEN"));
    try {
      const result = await withinDeadline(deadlineMs, verb());
      noteSuccess(ticket);
      return result;
    } catch (error) {
      const failure = toFailure(error instanceof ConfigError ? error.cause : error);
      // A store that answers, if only to refuse, needs no rest: it costs no waiting.
      if (failure.kind === "refused") noteSuccess(ticket);
      else noteFailure(ticket, failure);
      throw error instanceof ConfigError ? error : unavailable(failure);
    }
  }

  return {
    kind: store.kind,
    create: (record, ttlSeconds) => guarded(() => store.create(record, ttlSeconds)),
    get: (id) => guarded(() => store.get(id)),
    replace: (previous, next, ttlSeconds) => guarded(() => store.replace(previous, next, ttlSeconds)),
    extend: (ids, ttlSeconds) => guarded(() => store.extend(ids, ttlSeconds)),
    remove: (ids) => guarded(() => store.remove(ids)),
    removeIf: (record) => guarded(() => store.removeIf(record)),
    putLease: (lease, ttlSeconds) => guarded(() => store.putLease(lease, ttlSeconds)),
    getLease: (instanceId) => guarded(() => store.getLease(instanceId)),
    removeLease: (instanceId) => guarded(() => store.removeLease(instanceId)),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      guarded(() => store.enlist(fingerprint, sessionId, initialize, ttlSeconds)),
    trace: (fingerprint) => guarded(() => store.trace(fingerprint)),
    delist: (fingerprint, sessionId) => guarded(() => store.delist(fingerprint, sessionId)),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      guarded(() => store.seat(caller, sessionId, owner, ttlSeconds)),
    unseat: (caller, sessionIds) => guarded(() => store.unseat(caller, sessionIds)),
    seatsOf: (caller) => guarded(() => store.seatsOf(caller)),
    writeJournals: (changes, ttlSeconds) => guarded(() => store.writeJournals(changes, ttlSeconds)),
    readJournal: (id, epoch) => guarded(() => store.readJournal(id, epoch)),
    removeJournal: (id, epoch) => guarded(() => store.removeJournal(id, epoch)),
    ready: async () => {
      // A ping is free and succeeds without quota, so it must not end such an outage.
      if (breaker.cause() === "quota") throw unavailable(new StoreFailure("quota", "QUOTA"));
      await guarded(() => store.ready());
    },
    close: () => (closing ??= withinDeadline(deadlineMs, store.close()).catch(() => undefined)),
    state: () => breaker.state(),
  };
}
