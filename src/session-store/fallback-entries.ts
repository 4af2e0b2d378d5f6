import type { Entry } from "./archive.ts";
import { decodeRecord } from "./record-codec.ts";
import { callerKey, clientKey, compareVersions, sessionKey, type SessionRecord } from "./session-store.ts";

const SESSION_KIND = sessionKey("", "");

/** Whether the store has a newer version of a record than we do, or than we removed. */
export function isNewer(key: string, stored: Entry | undefined, ours: Entry | undefined): boolean {
  const theirs = recordIn(key, stored);
  const mine = recordIn(key, ours);
  return theirs !== undefined && mine !== undefined && compareVersions(theirs, mine) > 0;
}

function recordIn(key: string, entry: Entry | undefined): SessionRecord | undefined {
  const id = key.slice(SESSION_KIND.length);
  return key.startsWith(SESSION_KIND) && typeof entry?.value === "string"
    ? decodeRecord(entry.value, id)
    : undefined;
}

/** Of clients and callers, which other processes may have written as well. */
export const isCommon = (key: string): boolean =>
  key.startsWith(clientKey("", "")) || key.startsWith(callerKey("", ""));

/** A journal is ours alone. Of clients and callers the store may know more, from before this process. */
export function merged(key: string, mine: Entry, stored: Entry | undefined): Entry {
  if (!isCommon(key) || typeof mine.value === "string") return mine;
  if (stored === undefined || typeof stored.value === "string") return mine;
  return { ...mine, value: new Map([...stored.value, ...mine.value]) };
}
