import { ConfigError } from "../errors.ts";
import { NO_EVENTS, type Events } from "../events.ts";
import type { Log } from "../log.ts";
import { createBreaker, type BreakerState, type Ticket } from "./breaker.ts";
import { withinDeadline } from "./deadline.ts";
import type { SessionStore } from "./session-store.ts";
import { StoreFailure, toFailure, unavailable, type FailureKind } from "./store-failure.ts";

export interface GuardOptions {
  /** Milliseconds that a verb waits at most, whatever the driver does. Undefined for one that never waits. */
  deadlineMs: number | undefined;
  log: Log;
  events?: Events;
  /** Told of each call of a verb: how long it took, in seconds, and what failed. */
  onCall?:
    | ((verb: keyof SessionStore, seconds: number, failure: FailureKind | undefined) => void)
    | undefined;
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Draws from 0 to 1 for the breaker's jitter. */
  random?: () => number;
}

export interface GuardedSessionStore extends SessionStore {
  /** `closed` in good times; `open` while verbs reject at once; `half-open` when one probe may try. */
  state(): BreakerState;
}

const REFUSALS_TOLD_MS = 60_000;
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
  const { deadlineMs, log, onCall, events = NO_EVENTS } = options;
  const { now = () => performance.now(), random = Math.random } = options;
  const breaker = createBreaker(now, random);
  let outageSince = 0;
  let refusalToldAt = -Infinity;
  let closing: Promise<void> | undefined;

  const inTime = <T>(work: Promise<T>): Promise<T> =>
    deadlineMs === undefined ? work : withinDeadline(deadlineMs, work);

  function noteSuccess(ticket: Ticket): void {
    if (!breaker.succeeded(ticket)) return;
    log.info(
      { store: store.kind, seconds: Math.round((now() - outageSince) / 1000) },
      "session store is back",
    );
    events.emit({ type: "store_up", store: store.kind, kind: "none" });
  }

  function noteFailure(ticket: Ticket, failure: StoreFailure): void {
    const wasQuota = breaker.cause() === "quota";
    const opened = breaker.failed(ticket, failure.kind);
    if (opened) {
      outageSince = now();
      events.emit({ type: "store_down", store: store.kind, kind: failure.kind });
    }
    if (!opened && (wasQuota || breaker.cause() !== "quota")) return;
    const { kind, code } = failure;
    log[kind === "unreachable" ? "warn" : "error"]({ store: store.kind, code }, OUTAGE_WORDS[kind]);
  }

  /** A store that is full is there, and yet keeps nothing. */
  function noteRefusal({ code }: StoreFailure): void {
    if (now() - refusalToldAt < REFUSALS_TOLD_MS) return;
    refusalToldAt = now();
    log.error({ store: store.kind, code }, "session store refuses what it is told");
  }

  async function guarded<T>(name: keyof SessionStore, verb: () => Promise<T>): Promise<T> {
    if (closing) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    const ticket = breaker.admit();
    if (!ticket) throw unavailable(new StoreFailure(breaker.cause() ?? "unreachable", "BREAKER_OPEN"));
    const startedAt = now();
    try {
      const result = await inTime(verb());
      noteSuccess(ticket);
      onCall?.(name, (now() - startedAt) / 1000, undefined);
      return result;
    } catch (error) {
      const failure = toFailure(error instanceof ConfigError ? error.cause : error);
      onCall?.(name, (now() - startedAt) / 1000, failure.kind);
      // A store that answers, if only to refuse, needs no rest: it costs no waiting.
      if (failure.kind === "refused") {
        noteSuccess(ticket);
        noteRefusal(failure);
      } else noteFailure(ticket, failure);
      throw error instanceof ConfigError ? error : unavailable(failure);
    }
  }

  return {
    kind: store.kind,
    create: (record, ttlSeconds) => guarded("create", () => store.create(record, ttlSeconds)),
    get: (id) => guarded("get", () => store.get(id)),
    replace: (previous, next, ttlSeconds) =>
      guarded("replace", () => store.replace(previous, next, ttlSeconds)),
    extend: (ids, ttlSeconds) => guarded("extend", () => store.extend(ids, ttlSeconds)),
    remove: (ids) => guarded("remove", () => store.remove(ids)),
    removeIf: (record) => guarded("removeIf", () => store.removeIf(record)),
    putLease: (lease, ttlSeconds) => guarded("putLease", () => store.putLease(lease, ttlSeconds)),
    getLease: (instanceId) => guarded("getLease", () => store.getLease(instanceId)),
    removeLease: (instanceId) => guarded("removeLease", () => store.removeLease(instanceId)),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      guarded("enlist", () => store.enlist(fingerprint, sessionId, initialize, ttlSeconds)),
    trace: (fingerprint) => guarded("trace", () => store.trace(fingerprint)),
    delist: (fingerprint, sessionId) => guarded("delist", () => store.delist(fingerprint, sessionId)),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      guarded("seat", () => store.seat(caller, sessionId, owner, ttlSeconds)),
    unseat: (caller, sessionIds) => guarded("unseat", () => store.unseat(caller, sessionIds)),
    seatsOf: (caller) => guarded("seatsOf", () => store.seatsOf(caller)),
    writeJournals: (changes, ttlSeconds) =>
      guarded("writeJournals", () => store.writeJournals(changes, ttlSeconds)),
    readJournal: (id, epoch) => guarded("readJournal", () => store.readJournal(id, epoch)),
    removeJournal: (id, epoch) => guarded("removeJournal", () => store.removeJournal(id, epoch)),
    ready: async () => {
      // A ping is free and succeeds without quota, so it must not end such an outage.
      if (breaker.cause() === "quota") throw unavailable(new StoreFailure("quota", "QUOTA"));
      await guarded("ready", () => store.ready());
    },
    close: () => (closing ??= inTime(store.close()).catch(() => undefined)),
    state: () => breaker.state(),
  };
}
