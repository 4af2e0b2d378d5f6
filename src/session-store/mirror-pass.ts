import { setTimeout as pause } from "node:timers/promises";

import type { Archive, Entry } from "./archive.ts";
import { isSameEntry, newerOf } from "./mirror-compare.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

export interface PassParts {
  /** Whose content counts. */
  primary: Archive;
  /** What is to become like it. */
  mirror: Archive;
  /** A key that the primary has for sure. While it is not there the primary has lost its entries: nothing is removed. */
  witness: string;
  /** Entries a page. */
  count: number;
  /** Whether a write to this key is on its way: it is left alone. */
  isPending(key: string): boolean;
  /** Throws when the pass is to end. Asked before each page. */
  check(): void;
  /** Milliseconds between the two looks at an entry that differs: what is being written differs once only. */
  lookAgainMs: number;
  /** A record in the mirror counts for older whatever its version says. */
  primaryIsNewest?: boolean;
  onPage?: (keys: number) => void;
}

export interface PassReport {
  /** Keys that were looked at. */
  keys: number;
  /** Keys that differed, and were put right. */
  differed: number;
  /** Keys that were being written while they were looked at. */
  inFlight: number;
  /** Of those that differed: written to the mirror. */
  written: number;
  /** Written to the primary, which had lost them or had an older copy. */
  restored: number;
  /** Removed from the mirror, as the primary has them no more. */
  removed: number;
}

const KINDS = ["session:", "instance:", "client:", "caller:", "journal:"];
/** Keys that a pass remembers, to ask for them once only. */
const MAX_SEEN = 200_000;

const isOurs = ({ key }: Entry): boolean => KINDS.some((kind) => key.startsWith(kind));

export const anEmptyReport = (): PassReport => ({
  keys: 0,
  differed: 0,
  inFlight: 0,
  written: 0,
  restored: 0,
  removed: 0,
});

async function* pages(archive: Archive, { count, check }: PassParts): AsyncGenerator<Entry[]> {
  let cursor: string | undefined;
  do {
    check();
    const page = await archive.read({ cursor, count });
    yield page.entries.filter(isOurs);
    ({ cursor } = page);
  } while (cursor !== undefined);
}

/** Of these keys those that both stores still have as they had them, with what the primary and the mirror have. */
async function lookAgain(parts: PassParts, entries: readonly Entry[], report: PassReport) {
  await pause(parts.lookAgainMs);
  const keys = entries.map(({ key }) => key);
  const mine = await parts.primary.readKeys(keys);
  const theirs = await parts.mirror.readKeys(keys);
  return entries.flatMap((entry, at) => {
    const [ours, their] = [mine[at], theirs[at]];
    if (ours !== undefined && isSameEntry(ours, their)) return [];
    if (ours !== undefined && isSameEntry(ours, entry) && !parts.isPending(entry.key))
      return [{ ours, their }];
    report.inFlight += 1;
    return [];
  });
}

/** Makes the mirror like these entries of the primary. A record that is newer there goes the other way. */
async function putRight(parts: PassParts, page: readonly Entry[], report: PassReport): Promise<void> {
  const { primary, mirror } = parts;
  const found = await mirror.readKeys(page.map(({ key }) => key));
  const odd = page.filter((entry, at) => !isSameEntry(entry, found[at]));
  if (odd.length === 0) return;
  const absent: Entry[] = [];
  const replaced: Entry[] = [];
  for (const { ours, their } of await lookAgain(parts, odd, report)) {
    report.differed += 1;
    if (their === undefined) absent.push(ours);
    else if (typeof ours.value !== "string" || typeof their.value !== "string") replaced.push(ours);
    else if (!parts.primaryIsNewest && newerOf(ours, their) === their) {
      const isDone = await primary.swap(ours.value, { ...their, value: their.value });
      if (isDone) report.restored += 1;
    } else if (await mirror.swap(their.value, { ...ours, value: ours.value })) report.written += 1;
  }
  for (const [entries, when] of [
    [absent, "absent"],
    [replaced, "always"],
  ] as const) {
    if (entries.length === 0) continue;
    report.written += (await mirror.write(entries, when)).filter(Boolean).length;
  }
}

/** Removes of these entries of the mirror those that the primary does not have. */
async function removeExtras(parts: PassParts, page: readonly Entry[], report: PassReport): Promise<void> {
  const { primary, mirror, isPending, witness } = parts;
  const absentOf = async (entries: readonly Entry[]): Promise<Entry[]> => {
    if (entries.length === 0) return [];
    const found = await primary.readKeys([...entries.map(({ key }) => key), witness]);
    if (found.pop() === undefined) throw unavailable(new StoreFailure("unreachable", "LOST"));
    return entries.filter((_, at) => found[at] === undefined);
  };
  const suspects = await absentOf(page.filter(({ key }) => !isPending(key)));
  if (suspects.length === 0) return;
  await pause(parts.lookAgainMs);
  const still = await mirror.readKeys(suspects.map(({ key }) => key));
  const extras = await absentOf(suspects.filter(({ key }, at) => still[at] !== undefined && !isPending(key)));
  if (extras.length === 0) return;
  await mirror.remove(extras.map(({ key }) => key));
  report.differed += extras.length;
  report.removed += extras.length;
}

/** Writes back what the mirror has and the primary lost. */
export async function restorePass(parts: PassParts): Promise<PassReport> {
  const { primary, mirror, isPending } = parts;
  const report = anEmptyReport();
  for await (const page of pages(mirror, parts)) {
    const kept = page.filter(({ key }) => !isPending(key));
    report.keys += kept.length;
    if (kept.length === 0) continue;
    const found = await primary.readKeys(kept.map(({ key }) => key));
    const lost = kept.filter((_, at) => found[at] === undefined);
    if (lost.length === 0) continue;
    const written = await primary.write(lost, "absent");
    const back = lost.filter((_, at) => written[at] === true).map(({ key }) => key);
    report.restored += back.length;
    report.differed += back.length;
    // A session that ended meanwhile was removed from the mirror, and must not come back.
    const still = await mirror.readKeys(back);
    const ended = back.filter((key, at) => still[at] === undefined && key.startsWith("session:"));
    if (ended.length > 0) await primary.remove(ended);
    parts.onPage?.(kept.length);
  }
  return report;
}

/** Makes the mirror like the primary: writes what is missing or older there, and removes what the primary has not. */
export async function copyPass(parts: PassParts, extras: "remove" | "keep" = "remove"): Promise<PassReport> {
  const report = anEmptyReport();
  const seen = new Set<string>();
  for await (const page of pages(parts.primary, parts)) {
    for (const { key } of page) if (seen.size < MAX_SEEN) seen.add(key);
    const quiet = page.filter(({ key }) => !parts.isPending(key));
    report.keys += page.length;
    report.inFlight += page.length - quiet.length;
    if (quiet.length > 0) await putRight(parts, quiet, report);
    parts.onPage?.(page.length);
  }
  if (extras === "keep") return report;
  for await (const page of pages(parts.mirror, parts)) {
    const unknown = page.filter(({ key }) => !seen.has(key));
    if (unknown.length > 0) await removeExtras(parts, unknown, report);
  }
  return report;
}

/** The same for single keys. */
export async function repairKeys(parts: PassParts, keys: readonly string[]): Promise<void> {
  const report = anEmptyReport();
  for (let at = 0; at < keys.length; at += parts.count) {
    parts.check();
    const some = keys.slice(at, at + parts.count);
    const [mine, theirs] = [await parts.primary.readKeys(some), await parts.mirror.readKeys(some)];
    const present = mine.filter((entry) => entry !== undefined);
    if (present.length > 0) await putRight(parts, present, report);
    const extra = theirs.filter((entry, index) => entry !== undefined && mine[index] === undefined);
    await removeExtras(parts, extra as Entry[], report);
  }
}
