import type { Redis } from "ioredis";
import { decodeRecord } from "../../src/session-store/record-codec.ts";
import { compareVersions, type SessionRecord } from "../../src/session-store/session-store.ts";

const PREFIX = "mcp:session:";
const AT_ONCE = 1000;

/** The records of all sessions by id, as they stand in Redis. Throws for one that cannot be read. */
export async function recordsOf(db: Redis): Promise<Map<string, SessionRecord>> {
  const found = new Map<string, SessionRecord>();
  const keys = await db.keys(`${PREFIX}*`);
  for (let at = 0; at < keys.length; at += AT_ONCE) {
    const some = keys.slice(at, at + AT_ONCE);
    for (const [index, text] of (await db.mget(some)).entries()) {
      // It may have ended between the two commands.
      if (text === null) continue;
      const id = some[index]?.slice(PREFIX.length) ?? "";
      const record = decodeRecord(text, id);
      if (record === undefined) throw new Error(`the record of ${id} is damaged`);
      found.set(id, record);
    }
  }
  return found;
}

/** Ids of sessions that `one` has in a newer state than `other`, or that only `one` has. */
export function behindOf(
  one: ReadonlyMap<string, SessionRecord>,
  other: ReadonlyMap<string, SessionRecord>,
): string[] {
  return [...one.values()].flatMap((record) => {
    const copy = other.get(record.id);
    return copy === undefined || compareVersions(record, copy) > 0 ? [record.id] : [];
  });
}

/** Those of these clients, by the id of their session, that have it no more, or another one beside it. */
export function astray(
  wanted: ReadonlyMap<string, string>,
  records: ReadonlyMap<string, SessionRecord>,
): string[] {
  const found = new Map<string, string[]>();
  for (const { id, client, initialize } of records.values()) {
    const { clientInfo } = (initialize ?? {}) as { clientInfo?: { name?: string } };
    const name = client.clientId ?? clientInfo?.name ?? "";
    // A returning client is shown an address that has no session of its own.
    if (initialize !== undefined) found.set(name, [...(found.get(name) ?? []), id]);
  }
  return [...wanted].flatMap(([name, id]) => {
    const ids = found.get(name) ?? [];
    return ids.length === 1 && ids[0] === id ? [] : [`${name}: ${ids.join(", ")} in place of ${id}`];
  });
}

/** Of these sessions, which are over, those that are still there. */
export const ghostsOf = async (db: Redis, over: ReadonlySet<string>): Promise<string[]> =>
  [...(await recordsOf(db)).keys()].filter((id) => over.has(id));

/** Keys of each kind, such as `session`. */
export async function countKinds(db: Redis): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const key of await db.keys("mcp:*")) {
    const kind = key.split(":")[1] ?? "";
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** Commands that a Redis has carried out so far; this question is one of them. */
export const processed = async (db: Redis): Promise<number> =>
  Number(/total_commands_processed:(\d+)/.exec(await db.info("stats"))?.[1]);

/** The largest difference between the expiries of the same keys in two stores, in milliseconds. */
export async function expiryGapMs(one: Redis, other: Redis): Promise<number> {
  const keys = await one.keys("mcp:*");
  const expiries = async (db: Redis): Promise<number[]> =>
    (await db.pipeline(keys.map((key) => ["pttl", key])).exec())?.map(([, ttl]) => Number(ttl)) ?? [];
  const [mine, theirs] = [await expiries(one), await expiries(other)];
  return Math.max(...mine.map((ttl, at) => Math.abs(ttl - (theirs[at] ?? Infinity))));
}
