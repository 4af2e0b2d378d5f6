import type { Archive, Entry } from "../session-store/archive.ts";
import { decodeRecord } from "../session-store/record-codec.ts";
import { compareVersions } from "../session-store/session-store.ts";
import { holdSame } from "./kinds.ts";

/** What is done with an entry that the destination has already. */
export type Existing = "skip" | "newer" | "overwrite";

export interface PutCounts {
  written: number;
  /** Left as they were at the destination. */
  skipped: number;
}

/** Expiries that are read one after the other differ by what lies between. */
const SAME_EXPIRY_MS = 1000;
const SESSION = "session:";

/**
 * Whether `entry` is newer than what stands in its place: by the record's own count, never by a clock. What else there is
 * has no count; each write restarts its expiry, so of two the one that expires later is the newer.
 */
export function isNewer(entry: Entry, standing: Entry): boolean {
  if (typeof entry.value !== "string" || typeof standing.value !== "string")
    return entry.ttlMs > standing.ttlMs + SAME_EXPIRY_MS && !holdSame(entry, standing);
  const id = entry.key.slice(SESSION.length);
  const one = decodeRecord(entry.value, id);
  const other = decodeRecord(standing.value, id);
  return one !== undefined && other !== undefined && compareVersions(one, other) > 0;
}

/** Writes entries to a store. Two batches, and one more command for each record that replaces an older one. */
export async function putEntries(
  to: Archive,
  entries: readonly Entry[],
  existing: Existing,
): Promise<PutCounts> {
  if (entries.length === 0) return { written: 0, skipped: 0 };
  const answers = await to.write(entries, existing === "overwrite" ? "always" : "absent");
  let written = answers.filter(Boolean).length;
  if (existing === "newer") {
    const there = entries.filter((_, at) => answers[at] !== true);
    const newer = await newerThanStanding(to, there);
    written += await replace(to, newer);
  }
  return { written, skipped: entries.length - written };
}

/** What `putEntries` would do. Writes nothing. */
export async function wouldPut(
  to: Archive,
  entries: readonly Entry[],
  existing: Existing,
): Promise<PutCounts> {
  if (entries.length === 0) return { written: 0, skipped: 0 };
  const standing = await to.readKeys(entries.map(({ key }) => key));
  const wouldWrite = entries.filter((entry, at) => {
    const other = standing[at];
    return other === undefined || existing === "overwrite" || (existing === "newer" && isNewer(entry, other));
  });
  return { written: wouldWrite.length, skipped: entries.length - wouldWrite.length };
}

type Pair = [entry: Entry, standing: Entry];

async function newerThanStanding(to: Archive, entries: readonly Entry[]): Promise<Pair[]> {
  if (entries.length === 0) return [];
  const standing = await to.readKeys(entries.map(({ key }) => key));
  return entries.flatMap((entry, at): Pair[] => {
    const other = standing[at];
    return other !== undefined && isNewer(entry, other) ? [[entry, other]] : [];
  });
}

async function replace(to: Archive, pairs: readonly Pair[]): Promise<number> {
  const hashes = pairs.filter(([{ value }]) => typeof value !== "string").map(([entry]) => entry);
  let written = hashes.length === 0 ? 0 : (await to.write(hashes, "always")).filter(Boolean).length;
  for (const [entry, standing] of pairs) {
    const { key, value, ttlMs } = entry;
    if (typeof value !== "string" || typeof standing.value !== "string") continue;
    // Somebody may write a yet newer one between reading and here; then theirs stays.
    if (await to.swap(standing.value, { key, value, ttlMs })) written++;
  }
  return written;
}
