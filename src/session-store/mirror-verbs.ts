import type { GuardedSessionStore } from "./guard.ts";
import type { Outage } from "./mirror-outage.ts";
import type { MirrorQueue, Replay } from "./mirror-queue.ts";
import { createReplays } from "./mirror-replay.ts";
import type { SessionStore } from "./session-store.ts";

/** What a session store does to its entries. */
export type Verbs = Omit<SessionStore, "kind" | "ready" | "close">;

export interface MirroredVerbsParts {
  primary: GuardedSessionStore;
  mirror: GuardedSessionStore;
  queue: MirrorQueue;
  outage: Outage;
  /** Whether what the mirror has may be told. */
  mayRead: () => boolean;
}

/** The verbs of the primary. What they write goes to the mirror as well, later; what they read comes from it while the primary is down. */
export function mirroredVerbs({ primary, mirror, queue, outage, mayRead }: MirroredVerbsParts): Verbs {
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
    get: (id) => read((store) => store.get(id)),
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
        (isDone) => (isDone ? replays.removeIf(record) : undefined),
      ),
    putLease: (lease, ttlSeconds) =>
      write(
        () => primary.putLease(lease, ttlSeconds),
        () => replays.putLease(lease, ttlSeconds),
      ),
    getLease: (instanceId) => read((store) => store.getLease(instanceId)),
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
