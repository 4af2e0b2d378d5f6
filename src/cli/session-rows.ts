import type { Archive, Entry } from "../session-store/archive.ts";
import { decodeLease, decodeRecord } from "../session-store/record-codec.ts";
import { callerKey, leaseKey, sessionKey, type SessionRecord } from "../session-store/session-store.ts";
import { walk } from "./pages.ts";

/** A session as an operator sees it. */
export interface SessionRow {
  record: SessionRecord;
  /** What the instance that owns it is doing; `dead` when it has no lease. */
  instance: "serving" | "draining" | "dead";
  /** Milliseconds until the record expires. */
  ttlMs: number;
}

const BATCH = 200;
/** Instances whose state is remembered while sessions are listed. */
const MAX_INSTANCES = 10_000;

const SESSION = sessionKey("", "");

/** Every session once, a batch at a time, up to `limit`; those of one caller by its index, or all by a walk. */
export async function* sessionRows(
  archive: Archive,
  { caller, limit }: { caller: string | undefined; limit: number },
): AsyncGenerator<SessionRow[], void, void> {
  const seen = new Set<string>();
  const stateOf = new Map<string, SessionRow["instance"]>();
  for await (const entries of caller === undefined ? allOf(archive) : ofCaller(archive, caller)) {
    const found = entries.flatMap((entry): Omit<SessionRow, "instance">[] => {
      const id = entry.key.slice(SESSION.length);
      const record = decodeRecord(entry.value, id);
      if (!record || seen.has(id) || seen.size >= limit) return [];
      if (caller !== undefined && record.caller !== caller) return [];
      seen.add(id);
      return [{ record, ttlMs: entry.ttlMs }];
    });
    if (stateOf.size > MAX_INSTANCES) stateOf.clear();
    await learnStates(
      archive,
      found.map(({ record }) => record.owner),
      stateOf,
    );
    yield found.map((row) => ({ ...row, instance: stateOf.get(row.record.owner) ?? "dead" }));
    if (seen.size >= limit) return;
  }
}

async function* allOf(archive: Archive): AsyncGenerator<Entry[], void, void> {
  for await (const { entries } of walk(archive, { kinds: ["session:"], batch: BATCH })) yield entries;
}

async function* ofCaller(archive: Archive, caller: string): AsyncGenerator<Entry[], void, void> {
  const ids = await seatedIds(archive, caller);
  for (let at = 0; at < ids.length; at += BATCH) {
    const found = await archive.readKeys(ids.slice(at, at + BATCH).map((id) => sessionKey("", id)));
    yield found.filter((entry) => entry !== undefined);
  }
}

/** Ids of the sessions in a caller's index; some may be gone. One command. */
export async function seatedIds(archive: Archive, caller: string): Promise<string[]> {
  const [index] = await archive.readKeys([callerKey("", caller)]);
  return typeof index?.value === "object" ? [...index.value.keys()] : [];
}

async function learnStates(
  archive: Archive,
  owners: readonly string[],
  stateOf: Map<string, SessionRow["instance"]>,
): Promise<void> {
  const unknown = [...new Set(owners)].filter((owner) => !stateOf.has(owner));
  if (unknown.length === 0) return;
  const leases = await archive.readKeys(unknown.map((owner) => leaseKey("", owner)));
  unknown.forEach((owner, at) => stateOf.set(owner, decodeLease(leases[at]?.value, owner)?.state ?? "dead"));
}

/** One session, or undefined. */
export async function sessionRow(archive: Archive, id: string): Promise<SessionRow | undefined> {
  const [entry] = await archive.readKeys([sessionKey("", id)]);
  const record = decodeRecord(entry?.value, id);
  if (!entry || !record) return undefined;
  const stateOf = new Map<string, SessionRow["instance"]>();
  await learnStates(archive, [record.owner], stateOf);
  return { record, instance: stateOf.get(record.owner) ?? "dead", ttlMs: entry.ttlMs };
}
