import type { Redis } from "@upstash/redis";

import { decodeTrace, encodeTrace, entriesOf, traceField, type HashVerbs } from "./hashes.ts";
import { callerKey, clientKey, journalKey, type JournalChange } from "./session-store.ts";
import { StoreFailure } from "./store-failure.ts";
import { REQUEST_BYTES, sizeInJson } from "./upstash-connection.ts";

/** What of a change goes together: all of it, unless that is too large for one request. */
interface Piece {
  key: string;
  entries: Map<string, string>;
  drop: readonly string[];
  /** Its first piece sets a journal's expiry, so that what is cut short after it does not stay for ever. */
  isFirst: boolean;
  /** Bytes in the JSON of a request, about. */
  size: number;
}

function cut(change: JournalChange, key: string): Piece[] {
  const commandsSize = 3 * (sizeInJson(key) + 32);
  const dropSize = change.drop.reduce((sum, name) => sum + sizeInJson(name), 0);
  let last: Piece = {
    key,
    entries: new Map(),
    drop: change.drop,
    isFirst: true,
    size: commandsSize + dropSize,
  };
  const pieces = [last];
  for (const [name, bytes] of entriesOf(change)) {
    const text = bytes.toString();
    const size = sizeInJson(name) + sizeInJson(text);
    if (last.entries.size > 0 && last.size + size > REQUEST_BYTES) {
      last = { key, entries: new Map(), drop: [], isFirst: false, size: commandsSize };
      pieces.push(last);
    }
    last.entries.set(name, text);
    last.size += size;
  }
  return pieces;
}

function pack(pieces: readonly Piece[]): Piece[][] {
  const requests: Piece[][] = [];
  let room = 0;
  for (const piece of pieces) {
    if (piece.size > room || requests.length === 0) {
      requests.push([]);
      room = REQUEST_BYTES;
    }
    requests.at(-1)?.push(piece);
    room -= piece.size;
  }
  return requests;
}

/** A hash as REST gives it: names and values by turns. */
function pairs(reply: unknown): [string, string][] {
  const flat: unknown = reply ?? [];
  if (!Array.isArray(flat) || flat.length % 2 !== 0 || flat.some((text) => typeof text !== "string"))
    throw new StoreFailure("unreachable", "BAD_ANSWER");
  const texts = flat as string[];
  return Array.from({ length: texts.length / 2 }, (_, at) => [
    texts[2 * at] as string,
    texts[2 * at + 1] as string,
  ]);
}

/**
 * Clients' traces and sessions' journals, as hashes in Upstash. A change to a journal is billed three commands at most,
 * and one more for each further 900 KB that it writes.
 *
 * @param run carries out a verb's work within `deadlineMs`, and turns its errors into `store_unavailable`.
 */
export function upstashHashVerbs(
  redis: Redis,
  prefix: string,
  deadlineMs: number,
  run: <T>(work: () => Promise<T>) => Promise<T>,
): HashVerbs {
  async function carryOut(batch: ReturnType<Redis["pipeline"]>): Promise<unknown[]> {
    const replies = await batch.exec<unknown[]>();
    if (replies.length !== batch.length()) throw new StoreFailure("unreachable", "BAD_ANSWER");
    return replies;
  }

  async function send(pieces: readonly Piece[], ttlSeconds: number): Promise<void> {
    const batch = redis.pipeline();
    for (const { key, entries, drop, isFirst } of pieces) {
      if (entries.size > 0) batch.hset(key, Object.fromEntries(entries));
      if (drop.length > 0) batch.hdel(key, ...drop);
      if (isFirst) batch.expire(key, ttlSeconds);
    }
    await carryOut(batch);
  }

  /** One request after the other: several may be about one journal, and the later must win. */
  async function writeAll(changes: readonly JournalChange[], ttlSeconds: number): Promise<void> {
    const until = performance.now() + deadlineMs;
    const pieces = changes.flatMap((change) => cut(change, journalKey(prefix, change.id, change.epoch)));
    for (const request of pack(pieces)) {
      // Whoever asked has been told that it failed, and may have gone on from there.
      if (performance.now() >= until) throw new StoreFailure("unreachable", "TIMEOUT");
      await send(request, ttlSeconds);
    }
  }

  const seats = (caller: string): string => callerKey(prefix, caller);
  const trace = (fingerprint: string): string => clientKey(prefix, fingerprint);

  return {
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      run(async () => {
        const batch = redis.pipeline();
        batch.hset(trace(fingerprint), Object.fromEntries(encodeTrace(sessionId, initialize)));
        batch.expire(trace(fingerprint), ttlSeconds);
        await carryOut(batch);
      }),
    trace: (fingerprint) =>
      run(async () => decodeTrace(pairs(await redis.exec(["HGETALL", trace(fingerprint)])))),
    delist: (fingerprint, sessionId) =>
      run(async () => void (await redis.hdel(trace(fingerprint), traceField(sessionId)))),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      run(async () => {
        const batch = redis.pipeline();
        batch.hset(seats(caller), { [sessionId]: owner });
        batch.expire(seats(caller), ttlSeconds);
        batch.hlen(seats(caller));
        const count = (await carryOut(batch))[2];
        if (typeof count !== "number") throw new StoreFailure("unreachable", "BAD_ANSWER");
        return count;
      }),
    unseat: (caller, sessionIds) =>
      run(async () => {
        if (sessionIds.length > 0) await redis.hdel(seats(caller), ...sessionIds);
      }),
    seatsOf: (caller) => run(async () => new Map(pairs(await redis.exec(["HGETALL", seats(caller)])))),
    writeJournals: (changes, ttlSeconds) => run(() => writeAll(changes, ttlSeconds)),
    readJournal: (id, epoch) =>
      run(async () => {
        const found = pairs(await redis.exec(["HGETALL", journalKey(prefix, id, epoch)]));
        return new Map(found.map(([name, text]) => [name, Buffer.from(text)]));
      }),
    removeJournal: (id, epoch) => run(async () => void (await redis.del(journalKey(prefix, id, epoch)))),
  };
}
