import { isDown } from "./mirror-outage.ts";
import type { MirrorQueue } from "./mirror-queue.ts";
import { createReplays } from "./mirror-replay.ts";
import type { Verbs } from "./mirror-verbs.ts";
import { encodeRecord } from "./record-codec.ts";
import { compareVersions, type SessionRecord, type SessionStore } from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

export interface PivotParts {
  source: SessionStore;
  destination: SessionStore;
  /** What need not be there at once goes this way to the destination. */
  queue: MirrorQueue;
  instanceId: string;
}

const TRIES = 5;
const MAX_BEGUN = 10_000;
/** Expiry of a record that is completed before this instance has written any. */
const SOME_SECONDS = 300;

const isSame = (one: SessionRecord, other: SessionRecord): boolean =>
  encodeRecord(one) === encodeRecord(other);

/** Whether somebody has changed the record since it was `base`. Less than that is a copy that lags behind. */
const isAhead = (found: SessionRecord, base: SessionRecord): boolean =>
  compareVersions(found, base) > 0 || (compareVersions(found, base) === 0 && !isSame(found, base));

const undecided = (code: string) => unavailable(new StoreFailure("refused", code));

/**
 * The verbs of a switch's middle phase. Others may still ask the source alone, or already the destination alone: so
 * whoever changes a record must win on the source, and then on the destination. What has won on the source only is
 * nobody's yet: nothing is undone, for an undoing that comes late would undo what came after it. It is completed when
 * its owner reads it, or falls to whoever wins on the destination.
 */
export function pivotVerbs({ source, destination, queue, instanceId }: PivotParts): Verbs {
  const replays = createReplays(destination);
  /** Changes that may have won on the source and not on the destination, with what they replaced. */
  const begun = new Map<string, { base: SessionRecord; next: SessionRecord }>();
  let lastSeconds = SOME_SECONDS;

  function begin(base: SessionRecord, next: SessionRecord): void {
    begun.set(next.id, { base, next });
    const [oldest] = begun.keys();
    if (begun.size > MAX_BEGUN && oldest !== undefined) begun.delete(oldest);
  }

  /** Lets the source have what the destination has decided. The next comparison does it otherwise. */
  const follow = (there: SessionRecord, decided: SessionRecord): Promise<unknown> =>
    source.replace(there, decided, lastSeconds).catch(() => undefined);

  /**
   * Brings what won on the source to the destination. What it replaced is `base`: who has gone on from there on the
   * destination has won. Answers what stands on the destination then.
   */
  async function complete(
    base: SessionRecord,
    next: SessionRecord,
    seen: SessionRecord | undefined,
  ): Promise<SessionRecord> {
    let found = seen;
    for (let tried = 0; tried < TRIES; tried += 1) {
      if (found !== undefined && isSame(found, next)) break;
      if (found !== undefined && isAhead(found, base)) {
        await follow(next, found);
        begun.delete(next.id);
        return found;
      }
      // Nobody may claim what has ended there; an owner's own session has not.
      if (found === undefined && base.owner !== instanceId) throw undecided("ABSENT");
      const isDone =
        found === undefined
          ? await destination.create(next, lastSeconds)
          : await destination.replace(found, next, lastSeconds);
      if (isDone) break;
      if (tried + 1 === TRIES) throw undecided("CONTENDED");
      found = await destination.get(next.id);
    }
    begun.delete(next.id);
    return next;
  }

  async function replace(previous: SessionRecord, next: SessionRecord, ttlSeconds: number): Promise<boolean> {
    lastSeconds = ttlSeconds;
    const seen = await destination.get(previous.id);
    if (seen !== undefined && isAhead(seen, previous)) {
      await follow(previous, seen);
      return false;
    }
    if (seen === undefined && previous.owner !== instanceId) {
      const stored = await source.get(previous.id);
      if (stored === undefined || !isSame(stored, previous)) return false;
      throw undecided("ABSENT");
    }
    begin(previous, next);
    if (!(await source.replace(previous, next, ttlSeconds))) {
      begun.delete(next.id);
      return false;
    }
    return isSame(await complete(previous, next, seen), next);
  }

  /** A record of ours counts when the destination has it. */
  async function settle(stored: SessionRecord): Promise<SessionRecord> {
    const change = begun.get(stored.id);
    const base = change !== undefined && isSame(change.next, stored) ? change.base : stored;
    return complete(base, stored, await destination.get(stored.id));
  }

  async function get(id: string): Promise<SessionRecord | undefined> {
    let stored: SessionRecord | undefined;
    try {
      stored = await source.get(id);
    } catch (error) {
      if (!isDown(error)) throw error;
      return destination.get(id).catch(() => {
        throw error;
      });
    }
    if (stored === undefined) return destination.get(id);
    return stored.owner === instanceId ? settle(stored) : stored;
  }

  async function create(record: SessionRecord, ttlSeconds: number): Promise<boolean> {
    lastSeconds = ttlSeconds;
    if (!(await source.create(record, ttlSeconds))) return false;
    if (await destination.create(record, ttlSeconds)) return true;
    const found = await destination.get(record.id);
    if (found === undefined) throw undecided("CONTENDED");
    return isSame(await complete(record, record, found), record);
  }

  /** The destination first: what is gone there only is removed by the next try as well. */
  async function removeIf(record: SessionRecord): Promise<boolean> {
    let isRemoved = await destination.removeIf(record);
    if (!isRemoved) {
      const found = await destination.get(record.id);
      if (found !== undefined && isAhead(found, record)) {
        await follow(record, found);
        return false;
      }
      const stored = await source.get(record.id);
      if (stored === undefined || !isSame(stored, record)) return false;
      if (found !== undefined) isRemoved = await destination.removeIf(found);
    }
    if (await source.removeIf(record)) return true;
    const left = await source.get(record.id);
    if (left === undefined) return isRemoved;
    return compareVersions(left, record) < 0 && source.removeIf(left);
  }

  /** Both, one after the other; the answer of the source. */
  async function inBoth<T>(verb: (store: SessionStore) => Promise<T>): Promise<T> {
    const answer = await verb(source);
    await verb(destination);
    return answer;
  }

  /** Who is a phase further writes to the source a moment later: what is not there may be on the destination. */
  async function read<T>(
    verb: (store: SessionStore) => Promise<T>,
    isNothing: (answer: T) => boolean,
  ): Promise<T> {
    try {
      const answer = await verb(source);
      if (!isNothing(answer)) return answer;
    } catch (error) {
      if (!isDown(error)) throw error;
      return verb(destination).catch(() => {
        throw error;
      });
    }
    return verb(destination);
  }

  const isUndefined = (answer: unknown): boolean => answer === undefined;
  const isEmpty = ({ size }: { size: number }): boolean => size === 0;

  return {
    create,
    get,
    replace,
    removeIf,
    async extend(ids, ttlSeconds) {
      const answer = await source.extend(ids, ttlSeconds);
      const found = answer.filter((record) => record !== undefined);
      if (found.length > 0) queue.push(replays.extend(found, ttlSeconds));
      return answer;
    },
    remove: (ids) => inBoth((store) => store.remove(ids)),
    putLease: (lease, ttlSeconds) => inBoth((store) => store.putLease(lease, ttlSeconds)),
    getLease: (id) => read((store) => store.getLease(id), isUndefined),
    removeLease: (id) => inBoth((store) => store.removeLease(id)),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      inBoth((store) => store.enlist(fingerprint, sessionId, initialize, ttlSeconds)),
    trace: (fingerprint) => read((store) => store.trace(fingerprint), isUndefined),
    delist: (fingerprint, sessionId) => inBoth((store) => store.delist(fingerprint, sessionId)),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      inBoth((store) => store.seat(caller, sessionId, owner, ttlSeconds)),
    unseat: (caller, sessionIds) => inBoth((store) => store.unseat(caller, sessionIds)),
    seatsOf: (caller) => read((store) => store.seatsOf(caller), isEmpty),
    writeJournals: (changes, ttlSeconds) => inBoth((store) => store.writeJournals(changes, ttlSeconds)),
    readJournal: (id, epoch) => read((store) => store.readJournal(id, epoch), isEmpty),
    removeJournal: (id, epoch) => inBoth((store) => store.removeJournal(id, epoch)),
  };
}
