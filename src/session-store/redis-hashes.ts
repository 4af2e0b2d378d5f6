import { Cluster, type ChainableCommander, type Redis } from "ioredis";

import { decodeTrace, encodeTrace, entriesOf, traceField, type HashVerbs } from "./hashes.ts";
import { callerKey, clientKey, journalKey, type JournalChange } from "./session-store.ts";

/**
 * Clients' traces and sessions' journals, as hashes in Redis.
 *
 * @param run carries out a verb's work by the deadline, and turns its errors into `store_unavailable`.
 */
export function redisHashVerbs(
  client: Redis | Cluster,
  prefix: string,
  run: <T>(work: () => Promise<T>) => Promise<T>,
): HashVerbs {
  async function carryOut(batch: ChainableCommander): Promise<unknown[]> {
    const replies = (await batch.exec()) ?? [];
    for (const [error] of replies) if (error) throw error;
    return replies.map(([, reply]) => reply);
  }

  /** One batch for a single Redis. In a cluster one for each journal, all of whose commands go to one node, in order. */
  async function writeAll(changes: readonly JournalChange[], ttlSeconds: number): Promise<void> {
    const batches = new Map<string, ChainableCommander>();
    for (const change of changes) {
      const key = journalKey(prefix, change.id, change.epoch);
      const node = client instanceof Cluster ? key : "";
      const batch = batches.get(node) ?? client.pipeline();
      batches.set(node, batch);
      const entries = entriesOf(change);
      if (entries.size > 0) batch.hset(key, entries);
      if (change.drop.length > 0) batch.hdel(key, ...change.drop);
      batch.expire(key, ttlSeconds);
    }
    await Promise.all([...batches.values()].map(carryOut));
  }

  const seats = (caller: string): string => callerKey(prefix, caller);
  const trace = (fingerprint: string): string => clientKey(prefix, fingerprint);

  return {
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      run(async () => {
        const batch = client.pipeline();
        batch.hset(trace(fingerprint), encodeTrace(sessionId, initialize));
        batch.expire(trace(fingerprint), ttlSeconds);
        await carryOut(batch);
      }),
    trace: (fingerprint) =>
      run(async () => decodeTrace(Object.entries(await client.hgetall(trace(fingerprint))))),
    delist: (fingerprint, sessionId) =>
      run(async () => void (await client.hdel(trace(fingerprint), traceField(sessionId)))),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      run(async () => {
        const batch = client.pipeline();
        batch.hset(seats(caller), sessionId, owner);
        batch.expire(seats(caller), ttlSeconds);
        batch.hlen(seats(caller));
        return Number((await carryOut(batch))[2]);
      }),
    unseat: (caller, sessionIds) =>
      run(async () => {
        if (sessionIds.length > 0) await client.hdel(seats(caller), ...sessionIds);
      }),
    seatsOf: (caller) => run(async () => new Map(Object.entries(await client.hgetall(seats(caller))))),
    writeJournals: (changes, ttlSeconds) => run(() => writeAll(changes, ttlSeconds)),
    readJournal: (id, epoch) =>
      run(async () => new Map(Object.entries(await client.hgetallBuffer(journalKey(prefix, id, epoch))))),
    removeJournal: (id, epoch) => run(async () => void (await client.del(journalKey(prefix, id, epoch)))),
  };
}
