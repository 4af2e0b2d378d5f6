import type { Entry } from "./archive.ts";

/** What of an entry is in Redis, and how; for the archives of Redis and Upstash alike. */

/** Whether a key holds a hash. Its kind says so, which saves a TYPE for each. */
export const holdsHash = (key: string): boolean => /^(client|journal|caller):/.test(key);

/** What SCAN matches for keys that begin with `start`, whatever signs are in it. */
export const patternOf = (start: string): string => `${start.replaceAll(/[\\*?[\]]/g, "\\$&")}*`;

/** A whole number of milliseconds, as PX and PEXPIRE want it. */
export const pxOf = ({ ttlMs }: Entry): string => `${Math.max(1, Math.round(ttlMs))}`;

/**
 * Fields of one HSET in a script: Lua's stack takes 8,000 values at most. A script is billed 1 on Upstash, and 1 for each
 * call in it.
 */
export const FIELDS_PER_HSET = 2000;

/** KEYS: the hash. ARGV: milliseconds, then names and values by turns. 1 when it was written, 0 when the key is taken. */
export const WRITE_ABSENT_HASH = `if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
for at = 2, #ARGV, ${2 * FIELDS_PER_HSET} do
  redis.call("HSET", KEYS[1], unpack(ARGV, at, math.min(at + ${2 * FIELDS_PER_HSET - 1}, #ARGV)))
end
return redis.call("PEXPIRE", KEYS[1], ARGV[1])`;

/** As `WRITE_ABSENT_HASH`, in place of whatever the key holds. */
export const WRITE_HASH = WRITE_ABSENT_HASH.replace(/^.*\n/, 'redis.call("DEL", KEYS[1])\n');

/** KEYS: the text. ARGV: what must be there, what replaces it, milliseconds. 1 when it was replaced, else 0. */
export const SWAP_TEXT = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1`;

/** Names and values by turns. */
export const flatten = (fields: ReadonlyMap<string, Buffer>): (string | Buffer)[] => [...fields].flat();

/** Parts of `items`, in order, each of at most `count` and about `size`; one that is larger stands alone. */
export function cutUp<T>(
  items: readonly T[],
  count: number,
  size: number,
  sizeOf: (item: T) => number,
): T[][] {
  const parts: T[][] = [];
  let room = 0;
  for (const item of items) {
    const needed = sizeOf(item);
    const last = parts.at(-1);
    if (last === undefined || last.length >= count || needed > room) {
      parts.push([item]);
      room = size - needed;
    } else {
      last.push(item);
      room -= needed;
    }
  }
  return parts;
}
