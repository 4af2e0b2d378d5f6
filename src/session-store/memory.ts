import { decodeLease, decodeRecord, encodeLease, encodeRecord } from "./record-codec.ts";
import { leaseKey, sessionKey, type SessionStore } from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

export interface MemorySessionStoreOptions {
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Records and leases held at most; past it, `create` and `putLease` reject. 100,000 by default. */
  maxEntries?: number;
}

const SWEEP_EVERY_MS = 60_000;

/** Session records in this process: for one instance. They are kept as text, as elsewhere, so nothing handed out is shared. */
export function createMemorySessionStore(options: MemorySessionStoreOptions = {}): SessionStore {
  const { now = () => performance.now(), maxEntries = 100_000 } = options;
  const entries = new Map<string, { text: string; expiresAt: number }>();
  let sweepAt = now() + SWEEP_EVERY_MS;
  let closed = false;

  function read(key: string): string | undefined {
    const entry = entries.get(key);
    if (!entry) return undefined;
    if (now() < entry.expiresAt) return entry.text;
    entries.delete(key);
    return undefined;
  }

  function sweep(): void {
    const time = now();
    sweepAt = time + SWEEP_EVERY_MS;
    for (const [key, { expiresAt }] of entries) if (time >= expiresAt) entries.delete(key);
  }

  function write(key: string, text: string, ttlSeconds: number): void {
    // Sweeping while writing needs no timer, and the map grows by writing only.
    if (now() >= sweepAt || entries.size >= maxEntries) sweep();
    if (entries.size >= maxEntries && !entries.has(key))
      throw unavailable(new StoreFailure("refused", "FULL"));
    entries.set(key, { text, expiresAt: now() + ttlSeconds * 1000 });
  }

  /** Runs `work` at once; what it throws becomes a rejection. */
  async function whileOpen<T>(work: () => T): Promise<T> {
    if (closed) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    return work();
  }

  const session = (id: string): string => sessionKey("", id);
  const lease = (id: string): string => leaseKey("", id);

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
    putLease: (held, ttlSeconds) => whileOpen(() => write(lease(held.id), encodeLease(held), ttlSeconds)),
    getLease: (instanceId) => whileOpen(() => decodeLease(read(lease(instanceId)), instanceId)),
    removeLease: (instanceId) => whileOpen(() => void entries.delete(lease(instanceId))),
    ready: () => whileOpen(() => undefined),
    close: async () => {
      closed = true;
      entries.clear();
    },
  };
}
