import type { Entry } from "../session-store/archive.ts";
import { isSameHash } from "../session-store/mirror-compare.ts";

/** Kinds of keys that are moved. Leases are not: each instance writes its own anew. */
export const KINDS = ["session:", "client:", "journal:", "caller:"] as const;
export type Kind = (typeof KINDS)[number];

/** Longest key that is moved, in characters. */
export const MAX_KEY_LENGTH = 1024;

/** The kind of a key, or undefined when it is not one that is moved. */
export const kindOf = (key: string): Kind | undefined => KINDS.find((kind) => key.startsWith(kind));

/** Whether the key is one that a gateway could have made. */
export const isOurKey = (key: string): boolean => {
  const kind = kindOf(key);
  return (
    kind !== undefined && key.length > kind.length && key.length <= MAX_KEY_LENGTH && !/\p{Cc}/u.test(key)
  );
};

/** Whether a gateway could have made the entry: sessions are texts, all else is a hash. */
export const isOurs = ({ key, value }: Entry): boolean =>
  isOurKey(key) &&
  (kindOf(key) === "session:" ? typeof value === "string" : typeof value !== "string" && value.size > 0);

/** Bytes of an entry, roughly as a store holds it. */
export function sizeOf({ key, value }: Entry): number {
  if (typeof value === "string") return key.length + Buffer.byteLength(value);
  let size = key.length;
  for (const [field, content] of value) size += Buffer.byteLength(field) + content.length;
  return size;
}

/** Whether two entries hold the same. Their expiries are not compared. */
export function holdSame(one: Entry, other: Entry): boolean {
  if (typeof one.value === "string" || typeof other.value === "string") return one.value === other.value;
  return isSameHash(one.key, one.value, other.value);
}
