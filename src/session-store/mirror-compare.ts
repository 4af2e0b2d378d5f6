import type { Entry } from "./archive.ts";
import { decodeRecord } from "./record-codec.ts";
import { compareVersions, sessionKey, type SessionRecord } from "./session-store.ts";

/** An expiry may be this much shorter in a copy. */
const SLACK_MS = 10_000;
const SLACK_SHARE = 0.25;

const SESSION = sessionKey("", "");

/** The record in an entry, if it is one. */
export function recordOf({ key, value }: Entry): SessionRecord | undefined {
  return key.startsWith(SESSION) ? decodeRecord(value, key.slice(SESSION.length)) : undefined;
}

/** Which of two copies of a record counts: that with the higher version, and of two like versions the first. */
export function newerOf(one: Entry, other: Entry): Entry {
  const [mine, theirs] = [recordOf(one), recordOf(other)];
  return mine !== undefined && theirs !== undefined && compareVersions(theirs, mine) > 0 ? other : one;
}

/** Whether two copies of a hash hold the same, but for times that each store notes for itself. */
export function isSameHash(
  key: string,
  one: ReadonlyMap<string, Buffer>,
  other: ReadonlyMap<string, Buffer>,
): boolean {
  if (one.size !== other.size) return false;
  for (const [name, bytes] of one) {
    const theirs = other.get(name);
    if (theirs === undefined) return false;
    // Each store notes for itself when a client's session was enlisted.
    const isTime = key.startsWith("client:") && name.startsWith("s:");
    if (!isTime && !bytes.equals(theirs)) return false;
  }
  return true;
}

/** Whether a copy has the same content, and will not vanish much sooner. */
export function isSameEntry(entry: Entry, copy: Entry | undefined): boolean {
  if (copy === undefined) return false;
  if (entry.ttlMs - copy.ttlMs > Math.max(SLACK_MS, entry.ttlMs * SLACK_SHARE)) return false;
  if (typeof entry.value === "string" || typeof copy.value === "string") return entry.value === copy.value;
  return isSameHash(entry.key, entry.value, copy.value);
}
