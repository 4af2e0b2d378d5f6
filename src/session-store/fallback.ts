import type { Log } from "../log.ts";
import type { Archive, Entry } from "./archive.ts";
import { isCommon, isNewer, merged } from "./fallback-entries.ts";
import type { GuardedSessionStore } from "./guard.ts";
import { createMemorySessionStore } from "./memory.ts";
import { encodeRecord } from "./record-codec.ts";
import {
  callerKey,
  clientKey,
  journalKey,
  leaseKey,
  sessionKey,
  type SessionRecord,
  type SessionStore,
} from "./session-store.ts";
import { StoreFailure, toFailure, unavailable } from "./store-failure.ts";

export interface FallbackOptions {
  primary: GuardedSessionStore;
  /** The same store, for writing what was done while it was away. */
  archive: Archive;
  log: Log;
  /** Monotonic time in ms. */
  now?: () => number;
}

/** What an operator may know of a store that is bridged. */
export interface FallbackState {
  /** The store is away, or not all is written to it yet. */
  isBridging: boolean;
  /** For how long. Undefined while it is not. */
  seconds: number | undefined;
  /** Keys that are to be written or removed when it is back. */
  waiting: number;
}

export interface FallbackSessionStore extends GuardedSessionStore {
  fallback(): FallbackState;
  /** As `ready` of the store itself: memory takes over at once when it is away, though nobody has asked for a session. */
  reach(): Promise<void>;
  /** Looks whether the store is back, while it is away. To be called about once a second. Never rejects. */
  beat(now: number): Promise<void>;
}

const KEYS_AT_ONCE = 500;
const LOOK_MS = 1000;

const isAway = (error: unknown): boolean => {
  const { kind } = toFailure(error);
  return kind === "unreachable" || kind === "quota";
};

/**
 * Does a store's work in memory while the store is away. Memory has all that this process has written, and what is
 * asked of anything else is not known: such verbs reject as they would without a fallback. When the store is back, what
 * changed is written to it, the newer version of a record winning, and all else that it has lost; only then it is used
 * again. For one instance: others would not see what memory has.
 */
export function bridgeSessionStore({
  primary,
  archive,
  log,
  ...rest
}: FallbackOptions): FallbackSessionStore {
  const { now = () => performance.now() } = rest;
  const memory = createMemorySessionStore({ now });
  const changed = new Set<string>();
  let isBridging = false;
  let isReturning = false;
  let since = 0;
  let lookAt = 0;

  function begin(): void {
    if (isBridging) return;
    isBridging = true;
    since = now();
    lookAt = since + LOOK_MS;
    log.warn({ store: primary.kind }, "session store away: working in memory until it is back");
  }

  async function reach(): Promise<void> {
    try {
      await primary.ready();
    } catch (error) {
      if (isAway(error)) begin();
      throw error;
    }
  }

  /** @param follow does the same in memory, when the store did it. */
  async function write<T>(
    keys: readonly string[],
    work: (store: SessionStore) => Promise<T>,
    follow: (result: T) => unknown = () => work(memory),
  ): Promise<T> {
    if (!isBridging) {
      try {
        const result = await work(primary);
        await follow(result);
        return result;
      } catch (error) {
        if (!isAway(error)) throw error;
        begin();
      }
    }
    for (const key of keys) changed.add(key);
    return work(memory);
  }

  /** Only what memory has can have been extended there. */
  async function extend(ids: readonly string[], ttlSeconds: number): Promise<(SessionRecord | undefined)[]> {
    const found = await write(
      [],
      (store) => store.extend(ids, ttlSeconds),
      (records) =>
        Promise.all(
          records.map((record, at) => (record ? keep(record, ttlSeconds) : forget([ids[at] as string]))),
        ),
    );
    if (isBridging) found.forEach((record) => record && changed.add(session(record.id)));
    return found;
  }

  /** What memory does not have may well be in the store, unless this process removed it. */
  async function read<T>(key: string, work: (store: SessionStore) => Promise<T>): Promise<T> {
    if (!isBridging) {
      try {
        return await work(primary);
      } catch (error) {
        if (!isAway(error)) throw error;
        begin();
      }
    }
    const [known] = await memory.archive.readKeys([key]);
    if (known === undefined && !changed.has(key)) throw unavailable(new StoreFailure("unreachable", "AWAY"));
    return work(memory);
  }

  const session = (id: string): string => sessionKey("", id);
  const keep = (record: SessionRecord, ttlSeconds: number): Promise<unknown> =>
    memory.archive.write(
      [{ key: session(record.id), value: encodeRecord(record), ttlMs: ttlSeconds * 1000 }],
      "always",
    );
  const forget = (ids: readonly string[]): Promise<unknown> => memory.remove(ids);

  /** Of records that memory does not have nothing is known. */
  async function isKnown(id: string): Promise<void> {
    if (isBridging) await read(session(id), (store) => store.get(id));
  }

  /** A store may come back with less than it had: whatever it lacks of what memory has is written. Resolves with how much. */
  async function refill(): Promise<number> {
    let count = 0;
    let cursor: string | undefined;
    do {
      const page = await memory.archive.read({ cursor, count: KEYS_AT_ONCE });
      const unchanged = page.entries.filter(({ key }) => !changed.has(key));
      if (unchanged.length > 0)
        count += (await archive.write(unchanged, "absent")).filter((isWritten) => isWritten).length;
      ({ cursor } = page);
    } while (cursor !== undefined);
    return count;
  }

  /** Writes what the store lacks, and uses it again. Resolves with how much that was; rejects when it is away again. */
  async function catchUp(): Promise<number> {
    let count = await refill();
    while (changed.size > 0) {
      const keys = [...changed].slice(0, KEYS_AT_ONCE);
      for (const key of keys) changed.delete(key);
      try {
        await settle(keys);
      } catch (error) {
        for (const key of keys) changed.add(key);
        throw error;
      }
      count += keys.length;
    }
    // In the same turn in which nothing was left: what comes next goes to the store.
    isBridging = false;
    return count;
  }

  async function settle(keys: readonly string[]): Promise<void> {
    const [ours, theirs] = await Promise.all([memory.archive.readKeys(keys), archive.readKeys(keys)]);
    const entries: Entry[] = [];
    const gone: string[] = [];
    keys.forEach((key, at) => {
      const [mine, stored] = [ours[at], theirs[at]];
      if (isNewer(key, stored, mine)) return;
      // Of a client or a caller that memory knows nothing of, the store may know what an earlier process wrote.
      if (mine === undefined) gone.push(...(isCommon(key) ? [] : [key]));
      else entries.push(merged(key, mine, stored));
    });
    if (entries.length > 0) await archive.write(entries, "always");
    if (gone.length > 0) await archive.remove(gone);
  }

  return {
    kind: primary.kind,
    create: (record, ttl) =>
      write(
        [session(record.id)],
        (store) => store.create(record, ttl),
        (isOurs) => isOurs && keep(record, ttl),
      ),
    get: (id) => read(session(id), (store) => store.get(id)),
    replace: async (previous, next, ttl) => {
      await isKnown(previous.id);
      return write(
        [session(previous.id)],
        (store) => store.replace(previous, next, ttl),
        (isOurs) => isOurs && keep(next, ttl),
      );
    },
    extend,
    remove: (ids) => write(ids.map(session), (store) => store.remove(ids)),
    removeIf: async (record) => {
      await isKnown(record.id);
      return write(
        [session(record.id)],
        (store) => store.removeIf(record),
        (isGone) => isGone && forget([record.id]),
      );
    },
    putLease: (lease, ttl) => write([leaseKey("", lease.id)], (store) => store.putLease(lease, ttl)),
    getLease: (id) => read(leaseKey("", id), (store) => store.getLease(id)),
    removeLease: (id) => write([leaseKey("", id)], (store) => store.removeLease(id)),
    enlist: (mark, id, initialize, ttl) =>
      write([clientKey("", mark)], (store) => store.enlist(mark, id, initialize, ttl)),
    trace: (mark) => read(clientKey("", mark), (store) => store.trace(mark)),
    delist: (mark, id) => write([clientKey("", mark)], (store) => store.delist(mark, id)),
    seat: (caller, id, owner, ttl) =>
      write([callerKey("", caller)], (store) => store.seat(caller, id, owner, ttl)),
    unseat: (caller, ids) => write([callerKey("", caller)], (store) => store.unseat(caller, ids)),
    seatsOf: (caller) => read(callerKey("", caller), (store) => store.seatsOf(caller)),
    writeJournals: (changes, ttl) =>
      write(
        changes.map(({ id, epoch }) => journalKey("", id, epoch)),
        (store) => store.writeJournals(changes, ttl),
      ),
    readJournal: (id, epoch) => read(journalKey("", id, epoch), (store) => store.readJournal(id, epoch)),
    removeJournal: (id, epoch) =>
      write([journalKey("", id, epoch)], (store) => store.removeJournal(id, epoch)),
    ready: () => (isBridging ? Promise.resolve() : reach()),
    reach,
    state: () => primary.state(),
    fallback: () => {
      const seconds = isBridging ? Math.round((now() - since) / 1000) : undefined;
      return { isBridging, seconds, waiting: changed.size };
    },
    async beat(time) {
      if (!isBridging || isReturning || time < lookAt) return;
      lookAt = time + LOOK_MS;
      isReturning = true;
      try {
        await primary.ready();
        const written = await catchUp();
        log.info(
          { store: primary.kind, written },
          "session store is back, and has all that was done without it",
        );
      } catch {
        // Still away; its guard has said so.
      } finally {
        isReturning = false;
      }
    },
    close: async () => {
      if (isBridging)
        await catchUp().catch(() =>
          log.warn(
            { waiting: changed.size },
            "session store away to the end: what was done without it is lost",
          ),
        );
      await Promise.all([primary.close(), memory.close(), archive.close()]);
    },
  };
}
