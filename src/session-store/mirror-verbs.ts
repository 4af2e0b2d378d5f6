import type { GuardedSessionStore } from "./guard.ts";
import type { Outage } from "./mirror-outage.ts";
import type { MirrorQueue, Replay } from "./mirror-queue.ts";
import { createReplays } from "./mirror-replay.ts";
import type { SessionStore } from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

/** What a session store does to its entries. */
export type Verbs = Omit<SessionStore, "kind" | "ready" | "close">;

export interface MirroredVerbsParts {
  primary: GuardedSessionStore;
  mirror: GuardedSessionStore;
  queue: MirrorQueue;
  outage: Outage;
  /** Whether what the mirror has may be told. */
  mayRead: () => boolean;
  /** Whether the primary may lack what it had, and is about to have it again. */
  isRestoring: () => boolean;
}

/** The verbs of the primary. What they write goes to the mirror as well, later; what they read comes from it while the primary is down. */
export function mirroredVerbs({
  primary,
  mirror,
  queue,
  outage,
  mayRead,
  isRestoring,
}: MirroredVerbsParts): Verbs {
  const replays = createReplays(mirror);

  async function ask<T>(verb: () => Promise<T>): Promise<T> {
    try {
      const answer = await verb();
      outage.succeeded();
      return answer;
    } catch (error) {
      outage.failed(error);
      throw error;
    }
  }

  async function read<T>(verb: (store: SessionStore) => Promise<T>): Promise<T> {
    try {
      return await ask(() => verb(primary));
    } catch (error) {
      if (!outage.failed(error) || !mayRead()) throw error;
      return verb(mirror).catch(() => {
        throw error;
      });
    }
  }

  /**
   * Reads what decides whether a session is somebody's. That there is none is told by the primary alone, and not while it
   * lacks what it had: the mirror may lag behind, and who is told so gives the session up.
   */
  async function find<T>(verb: (store: SessionStore) => Promise<T | undefined>): Promise<T | undefined> {
    let isPrimarys = false;
    const found = await read(async (store) => {
      isPrimarys = store === primary;
      return verb(store);
    });
    if (found !== undefined || (isPrimarys && !isRestoring())) return found;
    throw unavailable(new StoreFailure("unreachable", "UNKNOWN"));
  }

  async function write<T>(verb: () => Promise<T>, replayOf: (answer: T) => Replay | undefined): Promise<T> {
    const answer = await ask(verb);
    const replay = replayOf(answer);
    if (replay !== undefined) queue.push(replay);
    return answer;
  }

  return {
    create: (record, ttlSeconds) =>
      write(
        () => primary.create(record, ttlSeconds),
        (isDone) => (isDone ? replays.put(undefined, record, ttlSeconds) : undefined),
      ),
    get: (id) => find((store) => store.get(id)),
    replace: (previous, next, ttlSeconds) =>
      write(
        () => primary.replace(previous, next, ttlSeconds),
        (isDone) => (isDone ? replays.put(previous, next, ttlSeconds) : undefined),
      ),
    extend: (ids, ttlSeconds) =>
      write(
        () => primary.extend(ids, ttlSeconds),
        (answer) => {
          const found = answer.filter((record) => record !== undefined);
          return found.length > 0 ? replays.extend(found, ttlSeconds) : undefined;
        },
      ),
    remove: (ids) =>
      write(
        () => primary.remove(ids),
        () => (ids.length > 0 ? replays.remove(ids) : undefined),
      ),
    removeIf: (record) =>
      write(
        () => primary.removeIf(record),
        // Also when the primary has it no more: one that came back empty is given what the mirror has.
        () => replays.removeIf(record),
      ),
    putLease: (lease, ttlSeconds) =>
      write(
        () => primary.putLease(lease, ttlSeconds),
        () => replays.putLease(lease, ttlSeconds),
      ),
    getLease: (instanceId) => find((store) => store.getLease(instanceId)),
    removeLease: (instanceId) =>
      write(
        () => primary.removeLease(instanceId),
        () => replays.removeLease(instanceId),
      ),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      write(
        () => primary.enlist(fingerprint, sessionId, initialize, ttlSeconds),
        () => replays.enlist(fingerprint, sessionId, initialize, ttlSeconds),
      ),
    trace: (fingerprint) => read((store) => store.trace(fingerprint)),
    delist: (fingerprint, sessionId) =>
      write(
        () => primary.delist(fingerprint, sessionId),
        () => replays.delist(fingerprint, sessionId),
      ),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      write(
        () => primary.seat(caller, sessionId, owner, ttlSeconds),
        () => replays.seat(caller, sessionId, owner, ttlSeconds),
      ),
    unseat: (caller, sessionIds) =>
      write(
        () => primary.unseat(caller, sessionIds),
        () => (sessionIds.length > 0 ? replays.unseat(caller, sessionIds) : undefined),
      ),
    seatsOf: (caller) => read((store) => store.seatsOf(caller)),
    writeJournals: (changes, ttlSeconds) =>
      write(
        () => primary.writeJournals(changes, ttlSeconds),
        () => (changes.length > 0 ? replays.writeJournals(changes, ttlSeconds) : undefined),
      ),
    readJournal: (id, epoch) => read((store) => store.readJournal(id, epoch)),
    removeJournal: (id, epoch) =>
      write(
        () => primary.removeJournal(id, epoch),
        () => replays.removeJournal(id, epoch),
      ),
  };
}
