import type { Replay } from "./mirror-queue.ts";
import {
  callerKey,
  clientKey,
  compareVersions,
  journalKey,
  leaseKey,
  sessionKey,
  type JournalChange,
  type Lease,
  type SessionRecord,
  type SessionStore,
} from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

const TRIES = 3;

const recordKey = (id: string): string => sessionKey("", id);

/** What is left of an expiry after the wait; 0 when nothing is. */
const left = (ttlSeconds: number, waitedMs: number): number =>
  Math.max(0, Math.ceil(ttlSeconds - waitedMs / 1000));

/** Writes a record over an older one or none. One command when the mirror has what it should have. */
async function putRecord(
  mirror: SessionStore,
  previous: SessionRecord | undefined,
  next: SessionRecord,
  ttlSeconds: number,
): Promise<void> {
  if (ttlSeconds === 0) return;
  let expected = previous;
  for (let tried = 0; tried < TRIES; tried += 1) {
    const isDone =
      expected === undefined
        ? await mirror.create(next, ttlSeconds)
        : await mirror.replace(expected, next, ttlSeconds);
    if (isDone) return;
    expected = await mirror.get(next.id);
    // A late write must not undo what came after it.
    if (expected !== undefined && compareVersions(next, expected) <= 0) return;
  }
  throw unavailable(new StoreFailure("refused", "CONTENDED"));
}

/** The writes of a session store, as they are carried out on its mirror. */
export const createReplays = (mirror: SessionStore) => ({
  put: (previous: SessionRecord | undefined, next: SessionRecord, ttlSeconds: number): Replay => ({
    groups: [next.id],
    keys: [recordKey(next.id)],
    run: (waitedMs) => putRecord(mirror, previous, next, left(ttlSeconds, waitedMs)),
  }),
  /** @param found what the first store has of those that were extended. */
  extend: (found: readonly SessionRecord[], ttlSeconds: number): Replay => ({
    groups: found.map(({ id }) => id),
    keys: found.map(({ id }) => recordKey(id)),
    run: async (waitedMs) => {
      const seconds = left(ttlSeconds, waitedMs);
      if (seconds === 0) return;
      const theirs = await mirror.extend(
        found.map(({ id }) => id),
        seconds,
      );
      const behind = found.filter((record, at) => {
        const their = theirs[at];
        return their === undefined || compareVersions(record, their) > 0;
      });
      for (const record of behind) await putRecord(mirror, undefined, record, seconds);
    },
  }),
  remove: (ids: readonly string[]): Replay => ({
    groups: ids,
    keys: ids.map(recordKey),
    removes: true,
    run: () => mirror.remove(ids),
  }),
  removeIf: (record: SessionRecord): Replay => ({
    groups: [record.id],
    keys: [recordKey(record.id)],
    removes: true,
    run: async () => {
      if (await mirror.removeIf(record)) return;
      const found = await mirror.get(record.id);
      if (found !== undefined && compareVersions(found, record) <= 0) await mirror.removeIf(found);
    },
  }),
  // A lease goes alone: a record whose owner has none is taken for a dead instance's.
  putLease: (lease: Lease, ttlSeconds: number): Replay => ({
    groups: [],
    keys: [leaseKey("", lease.id)],
    run: async (waitedMs) => {
      const seconds = left(ttlSeconds, waitedMs);
      if (seconds > 0) await mirror.putLease(lease, seconds);
    },
  }),
  removeLease: (instanceId: string): Replay => ({
    groups: [],
    keys: [leaseKey("", instanceId)],
    removes: true,
    run: () => mirror.removeLease(instanceId),
  }),
  enlist: (fingerprint: string, sessionId: string, initialize: unknown, ttlSeconds: number): Replay => ({
    groups: [clientKey("", fingerprint)],
    keys: [clientKey("", fingerprint)],
    run: () => mirror.enlist(fingerprint, sessionId, initialize, ttlSeconds),
  }),
  delist: (fingerprint: string, sessionId: string): Replay => ({
    groups: [clientKey("", fingerprint)],
    keys: [clientKey("", fingerprint)],
    run: () => mirror.delist(fingerprint, sessionId),
  }),
  seat: (caller: string, sessionId: string, owner: string, ttlSeconds: number): Replay => ({
    groups: [callerKey("", caller)],
    keys: [callerKey("", caller)],
    run: async () => void (await mirror.seat(caller, sessionId, owner, ttlSeconds)),
  }),
  unseat: (caller: string, sessionIds: readonly string[]): Replay => ({
    groups: [callerKey("", caller)],
    keys: [callerKey("", caller)],
    run: () => mirror.unseat(caller, sessionIds),
  }),
  writeJournals: (changes: readonly JournalChange[], ttlSeconds: number): Replay => ({
    // The same name as the record's: who reads of a release in the mirror finds the journal that was written before it.
    groups: changes.map(({ id }) => id),
    keys: changes.map(({ id, epoch }) => journalKey("", id, epoch)),
    bytes: changes.flatMap(({ put }) => [...put.values()]).reduce((sum, { length }) => sum + length, 0),
    run: (waitedMs) => {
      const seconds = left(ttlSeconds, waitedMs);
      return seconds > 0 ? mirror.writeJournals(changes, seconds) : Promise.resolve();
    },
  }),
  removeJournal: (id: string, epoch: number): Replay => ({
    groups: [id],
    keys: [journalKey("", id, epoch)],
    removes: true,
    run: () => mirror.removeJournal(id, epoch),
  }),
});
