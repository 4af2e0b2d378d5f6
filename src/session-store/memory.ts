import { decodeTrace, encodeTrace, entriesOf, traceField } from "./hashes.ts";
import { decodeLease, decodeRecord, encodeLease, encodeRecord } from "./record-codec.ts";
import {
  callerKey,
  clientKey,
  journalKey,
  leaseKey,
  sessionKey,
  type SessionStore,
} from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

export interface MemorySessionStoreOptions {
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Records, leases, traces and journals held at most; past it, whatever adds one rejects. 100,000 by default. */
  maxEntries?: number;
}

const SWEEP_EVERY_MS = 60_000;

type Hash = Map<string, Buffer>;

/** Session records in this process: for one instance. They are kept as text, as elsewhere, so nothing handed out is shared. */
export function createMemorySessionStore(options: MemorySessionStoreOptions = {}): SessionStore {
  const { now = () => performance.now(), maxEntries = 100_000 } = options;
  const entries = new Map<string, { value: string | Hash; expiresAt: number }>();
  let sweepAt = now() + SWEEP_EVERY_MS;
  let closed = false;

  function readValue(key: string): string | Hash | undefined {
    const entry = entries.get(key);
    if (!entry) return undefined;
    if (now() < entry.expiresAt) return entry.value;
    entries.delete(key);
    return undefined;
  }

  function read(key: string): string | undefined {
    const value = readValue(key);
    return typeof value === "string" ? value : undefined;
  }

  function readHash(key: string): Hash | undefined {
    const value = readValue(key);
    return typeof value === "object" ? value : undefined;
  }

  /** Changes the hash at `key`, which is gone when it is empty; its expiry starts again where one is given. */
  function change(
    key: string,
    put: Iterable<[string, string | Buffer]>,
    drop: readonly string[],
    ttlSeconds?: number,
  ): void {
    const hash: Hash = readHash(key) ?? new Map();
    for (const [name, content] of put) hash.set(name, Buffer.from(content));
    for (const name of drop) hash.delete(name);
    if (hash.size === 0) entries.delete(key);
    else if (ttlSeconds !== undefined) write(key, hash, ttlSeconds);
  }

  function sweep(): void {
    const time = now();
    sweepAt = time + SWEEP_EVERY_MS;
    for (const [key, { expiresAt }] of entries) if (time >= expiresAt) entries.delete(key);
  }

  function write(key: string, value: string | Hash, ttlSeconds: number): void {
    // Sweeping while writing needs no timer, and the map grows by writing only.
    if (now() >= sweepAt || entries.size >= maxEntries) sweep();
    if (entries.size >= maxEntries && !entries.has(key))
      throw unavailable(new StoreFailure("refused", "FULL"));
    entries.set(key, { value, expiresAt: now() + ttlSeconds * 1000 });
  }

  /** Runs `work` at once; what it throws becomes a rejection. */
  async function whileOpen<T>(work: () => T): Promise<T> {
    if (closed) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    return work();
  }

  const session = (id: string): string => sessionKey("", id);
  const lease = (id: string): string => leaseKey("", id);
  const trace = (fingerprint: string): string => clientKey("", fingerprint);
  const seats = (caller: string): string => callerKey("", caller);
  const journal = (id: string, epoch: number): string => journalKey("", id, epoch);

  return {
    kind: "memory",
    create: (record, ttlSeconds) =>
      whileOpen(() => {
        if (read(session(record.id)) !== undefined) return false;
        write(session(record.id), encodeRecord(record), ttlSeconds);
        return true;
      }),
    get: (id) => whileOpen(() => decodeRecord(read(session(id)), id)),
    replace: (previous, next, ttlSeconds) =>
      whileOpen(() => {
        if (read(session(previous.id)) !== encodeRecord(previous)) return false;
        write(session(previous.id), encodeRecord(next), ttlSeconds);
        return true;
      }),
    extend: (ids, ttlSeconds) =>
      whileOpen(() =>
        ids.map((id) => {
          const text = read(session(id));
          if (text === undefined) return undefined;
          write(session(id), text, ttlSeconds);
          return decodeRecord(text, id);
        }),
      ),
    remove: (ids) =>
      whileOpen(() => {
        for (const id of ids) entries.delete(session(id));
      }),
    removeIf: (record) =>
      whileOpen(
        () => read(session(record.id)) === encodeRecord(record) && entries.delete(session(record.id)),
      ),
    putLease: (held, ttlSeconds) =>
      whileOpen(() => {
        const before = decodeLease(read(lease(held.id)), held.id);
        write(lease(held.id), encodeLease(held), ttlSeconds);
        return before;
      }),
    getLease: (instanceId) => whileOpen(() => decodeLease(read(lease(instanceId)), instanceId)),
    removeLease: (instanceId) => whileOpen(() => void entries.delete(lease(instanceId))),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      whileOpen(() => change(trace(fingerprint), encodeTrace(sessionId, initialize), [], ttlSeconds)),
    trace: (fingerprint) => whileOpen(() => decodeTrace(readHash(trace(fingerprint)) ?? [])),
    delist: (fingerprint, sessionId) =>
      whileOpen(() => change(trace(fingerprint), [], [traceField(sessionId)])),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      whileOpen(() => {
        change(seats(caller), [[sessionId, owner]], [], ttlSeconds);
        return readHash(seats(caller))?.size ?? 0;
      }),
    unseat: (caller, sessionIds) => whileOpen(() => change(seats(caller), [], sessionIds)),
    seatsOf: (caller) =>
      whileOpen(() => {
        const held = [...(readHash(seats(caller)) ?? [])];
        return new Map(held.map(([id, owner]) => [id, owner.toString()]));
      }),
    writeJournals: (changes, ttlSeconds) =>
      whileOpen(() => {
        for (const each of changes)
          change(journal(each.id, each.epoch), entriesOf(each), each.drop, ttlSeconds);
      }),
    readJournal: (id, epoch) =>
      whileOpen(() => {
        const held = [...(readHash(journal(id, epoch)) ?? [])];
        return new Map(held.map(([name, bytes]) => [name, Buffer.from(bytes)]));
      }),
    removeJournal: (id, epoch) => whileOpen(() => void entries.delete(journal(id, epoch))),
    ready: () => whileOpen(() => undefined),
    close: async () => {
      closed = true;
      entries.clear();
    },
  };
}
