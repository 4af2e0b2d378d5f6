import { setTimeout as sleep } from "node:timers/promises";

import type { Archive, Entry } from "../session-store/archive.ts";
import { decodeLease, decodeRecord, encodeLease, encodeRecord } from "../session-store/record-codec.ts";
import { journalKey, leaseKey, sessionKey, type SessionRecord } from "../session-store/session-store.ts";

/** What became of one session. */
export interface Closing {
  id: string;
  /** `removed`: its owner was dead. `absent`: it was not there. `open`: the time was over, or Ctrl-C. */
  outcome: "closed" | "removed" | "absent" | "open";
  owner?: string;
}

export interface CloseOptions {
  /** Only sessions of this caller; an index may name others. */
  caller?: string;
  /** How long owners have. */
  waitMs: number;
  /** Time between two looks at the store. 1000 by default, and three times that after ten looks. */
  pollMs?: number;
  now: () => number;
  signal: AbortSignal;
  onClosed: (closing: Closing) => void;
}

const BATCH = 200;
const AT_ONCE = 20;
const TRIES = 5;
const SOON = 10;

/**
 * Marks sessions as ending, tells their owners to look, and waits until the records are gone. What a dead instance left
 * is removed. Each session is told of once.
 */
export async function closeSessions(
  archive: Archive,
  ids: readonly string[],
  options: CloseOptions,
): Promise<void> {
  const { waitMs, pollMs = 1000, now, signal, onClosed } = options;
  const deadline = now() + waitMs;
  // The instance that was last seen to own it; undefined before the first look.
  let waiting = new Map<string, string | undefined>(ids.map((id) => [id, undefined]));
  const told = new Set<string>();
  for (let look = 0; ; look++) {
    waiting = await lookOnce(archive, waiting, { ...options, told });
    if (waiting.size === 0) return;
    if (now() >= deadline || signal.aborted) break;
    const pause = Math.min(look < SOON ? pollMs : pollMs * 3, Math.max(1, deadline - now()));
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
  for (const [id, owner] of waiting)
    onClosed({ id, outcome: "open", ...(owner === undefined ? {} : { owner }) });
}

type LookOptions = CloseOptions & {
  /** Instances that have been told to look. */
  told: Set<string>;
};

/** Looks at all once. Answers those that are still there, with their owners. */
async function lookOnce(
  archive: Archive,
  waiting: ReadonlyMap<string, string | undefined>,
  { caller, told, onClosed }: LookOptions,
): Promise<Map<string, string | undefined>> {
  const rest = new Map<string, string | undefined>();
  const ids = [...waiting.keys()];
  for (let at = 0; at < ids.length; at += BATCH) {
    const some = ids.slice(at, at + BATCH);
    const found = await archive.readKeys(some.map((id) => sessionKey("", id)));
    const marked = await inTurns(some, (id, index) => markIfOf(archive, id, found[index], caller));
    some.forEach((id, index) => {
      const before = waiting.get(id);
      const record = marked[index];
      if (record) {
        rest.set(id, record.record.owner);
        if (record.isNew) told.delete(record.record.owner);
      } else
        onClosed(before === undefined ? { id, outcome: "absent" } : { id, outcome: "closed", owner: before });
    });
  }
  const dead = await tellOwners(archive, new Set(rest.values()), told);
  for (const [id, owner] of rest) {
    if (owner === undefined || !dead.has(owner)) continue;
    await removeLeft(archive, id, owner);
    onClosed({ id, outcome: "removed", owner });
    rest.delete(id);
  }
  return rest;
}

/** Does some at the same time, each of which takes a command of its own, and answers in their order. */
async function inTurns<T>(
  ids: readonly string[],
  work: (id: string, index: number) => Promise<T>,
): Promise<T[]> {
  const done: T[] = [];
  for (let at = 0; at < ids.length; at += AT_ONCE)
    done.push(...(await Promise.all(ids.slice(at, at + AT_ONCE).map((id, index) => work(id, at + index)))));
  return done;
}

interface Marked {
  record: SessionRecord;
  /** Whether it had not been marked before. */
  isNew: boolean;
}

async function markIfOf(
  archive: Archive,
  id: string,
  seen: Entry | undefined,
  caller: string | undefined,
): Promise<Marked | undefined> {
  const record = decodeRecord(seen?.value, id);
  if (!record || (caller !== undefined && record.caller !== caller)) return undefined;
  return await mark(archive, id, seen);
}

/** Marks a record as ending. Undefined when it is gone. A change by its owner meanwhile is kept, and marked too. */
async function mark(archive: Archive, id: string, seen: Entry | undefined): Promise<Marked | undefined> {
  const key = sessionKey("", id);
  let entry = seen;
  let last: SessionRecord | undefined;
  for (let tries = 0; tries < TRIES; tries++) {
    const record = decodeRecord(entry?.value, id);
    if (!entry || !record || typeof entry.value !== "string") return undefined;
    last = record;
    if (record.ending) return { record, isNew: false };
    const ending: SessionRecord = { ...record, rev: (record.rev ?? 0) + 1, ending: true };
    if (await archive.swap(entry.value, { key, value: encodeRecord(ending), ttlMs: entry.ttlMs }))
      return { record: ending, isNew: true };
    [entry] = await archive.readKeys([key]);
  }
  // Its owner changes it all the time; the next look tries again.
  return last && { record: last, isNew: false };
}

/** Leaves word in the leases of those who have not been told. Answers the owners that have no lease. */
async function tellOwners(
  archive: Archive,
  owners: ReadonlySet<string | undefined>,
  told: Set<string>,
): Promise<Set<string>> {
  const dead = new Set<string>();
  const all = [...owners].filter((owner) => owner !== undefined);
  if (all.length === 0) return dead;
  const leases = await archive.readKeys(all.map((owner) => leaseKey("", owner)));
  for (const [at, owner] of all.entries()) {
    if (!decodeLease(leases[at]?.value, owner)) dead.add(owner);
    else if (!told.has(owner) && (await leaveWord(archive, owner))) told.add(owner);
  }
  return dead;
}

/** Sets `look` in a lease. Its expiry stays, or a dead instance would seem to live. False when it was renewed meanwhile too often. */
async function leaveWord(archive: Archive, owner: string): Promise<boolean> {
  const key = leaseKey("", owner);
  for (let tries = 0; tries < TRIES; tries++) {
    const [entry] = await archive.readKeys([key]);
    const lease = decodeLease(entry?.value, owner);
    if (!entry || !lease || typeof entry.value !== "string") return false;
    const value = encodeLease({ ...lease, look: true });
    if (lease.look || (await archive.swap(entry.value, { key, value, ttlMs: entry.ttlMs }))) return true;
  }
  return false;
}

/** Removes what a dead instance left of a session. Nobody takes up a session that is ending. */
async function removeLeft(archive: Archive, id: string, owner: string): Promise<void> {
  const [entry] = await archive.readKeys([sessionKey("", id)]);
  const record = decodeRecord(entry?.value, id);
  if (record?.owner !== owner || !record.ending) return;
  await archive.remove([sessionKey("", id), journalKey("", id, record.epoch)]);
}
