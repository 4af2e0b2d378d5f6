import type { Archive, Entry } from "../session-store/archive.ts";
import { stopIfAsked } from "./command-error.ts";
import { holdSame, KINDS } from "./kinds.ts";
import type { MigrationCounts, MigrationState } from "./migration-file.ts";
import { walk } from "./pages.ts";
import { putEntries, wouldPut } from "./put-entries.ts";

export interface CopyOptions {
  existing: "skip" | "newer";
  deleteAfter: boolean;
  dryRun: boolean;
  batch: number;
  signal: AbortSignal;
  /** Where an earlier run stopped. */
  before?: MigrationState | undefined;
  /** Called after each page, when all of it is at the destination. `cursor` is where the next one begins. */
  onPage: (cursor: string | undefined, counts: MigrationCounts) => Promise<void>;
}

/** Texts that are removed at the same time: each takes a command of its own. */
const REMOVED_AT_ONCE = 20;

/** Copies all sessions and what belongs to them, a page at a time. */
export async function copyStore(from: Archive, to: Archive, options: CopyOptions): Promise<MigrationCounts> {
  const { existing, deleteAfter, dryRun, batch, signal, before, onPage } = options;
  const counts: MigrationCounts = before
    ? { ...before.counts }
    : { seen: 0, written: 0, skipped: 0, removed: 0, bytes: 0 };
  stopIfAsked(signal, "Stopped before anything was copied.");
  for await (const page of walk(from, { kinds: KINDS, batch, cursor: before?.cursor })) {
    const { written, skipped } = await (dryRun ? wouldPut : putEntries)(to, page.entries, existing);
    counts.seen += page.entries.length;
    counts.bytes += page.bytes;
    counts.written += written;
    counts.skipped += skipped;
    if (deleteAfter && !dryRun) counts.removed += await removeCopied(from, to, page.entries);
    await onPage(page.cursor, counts);
    if (page.cursor !== undefined) stopIfAsked(signal, `Stopped after ${counts.seen} entries.`);
  }
  return counts;
}

/** Removes from the source what the destination has in the same words. What has changed since it was read stays. */
async function removeCopied(from: Archive, to: Archive, entries: readonly Entry[]): Promise<number> {
  if (entries.length === 0) return 0;
  const copies = await to.readKeys(entries.map(({ key }) => key));
  const verified = entries.filter((entry, at) => {
    const copy = copies[at];
    return copy !== undefined && holdSame(entry, copy);
  });
  const hashes = verified.filter(({ value }) => typeof value !== "string");
  let removed = await removeHashes(from, hashes);
  const texts = verified.filter((entry) => typeof entry.value === "string") as (Entry & { value: string })[];
  for (let at = 0; at < texts.length; at += REMOVED_AT_ONCE) {
    const some = texts.slice(at, at + REMOVED_AT_ONCE);
    // An archive cannot remove on a condition, but it can make a text expire on one.
    const gone = await Promise.all(some.map((entry) => from.swap(entry.value, { ...entry, ttlMs: 1 })));
    removed += gone.filter(Boolean).length;
  }
  return removed;
}

async function removeHashes(from: Archive, entries: readonly Entry[]): Promise<number> {
  if (entries.length === 0) return 0;
  const present = await from.readKeys(entries.map(({ key }) => key));
  const unchanged = entries.filter((entry, at) => {
    const now = present[at];
    return now !== undefined && holdSame(entry, now);
  });
  if (unchanged.length > 0) await from.remove(unchanged.map(({ key }) => key));
  return unchanged.length;
}
