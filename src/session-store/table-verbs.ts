import { decodeTrace, encodeTrace, entriesOf, traceField } from "./hashes.ts";
import { decodeLease, decodeRecord, encodeLease, encodeRecord } from "./record-codec.ts";
import {
  callerKey,
  clientKey,
  journalKey,
  leaseKey,
  sessionKey,
  type SessionStore,
} from "./session-store.ts";
import type { Hash, Table } from "./table.ts";

export type TableVerbs = Omit<SessionStore, "kind" | "ready" | "close">;

/** Runs `work` at once, to the end; what it throws becomes a rejection. It may resolve later than `work` was done. */
export type Run = <T>(work: () => T) => Promise<T>;

const session = (id: string): string => sessionKey("", id);
const lease = (id: string): string => leaseKey("", id);
const trace = (fingerprint: string): string => clientKey("", fingerprint);
const seats = (caller: string): string => callerKey("", caller);
const journal = (id: string, epoch: number): string => journalKey("", id, epoch);

const asFields = (texts: Iterable<[string, string]>): Hash =>
  new Map([...texts].map(([name, text]) => [name, Buffer.from(text)]));
const NO_FIELDS: Hash = new Map();

/** The verbs of a session store over a table. Records are kept as text, as elsewhere, so nothing handed out is shared. */
export function tableVerbs(table: Table, run: Run): TableVerbs {
  const writeText = (key: string, text: string, ttlSeconds: number): void =>
    table.writeText(key, text, ttlSeconds * 1000);
  const changeHash = (key: string, put: Hash, drop: readonly string[], ttlSeconds?: number): void =>
    table.changeHash(key, put, drop, ttlSeconds === undefined ? undefined : ttlSeconds * 1000);

  return {
    create: (record, ttlSeconds) =>
      run(() => {
        if (table.slot(session(record.id))) return false;
        writeText(session(record.id), encodeRecord(record), ttlSeconds);
        return true;
      }),
    get: (id) => run(() => decodeRecord(table.text(session(id)), id)),
    replace: (previous, next, ttlSeconds) =>
      run(() => {
        if (table.text(session(previous.id)) !== encodeRecord(previous)) return false;
        writeText(session(previous.id), encodeRecord(next), ttlSeconds);
        return true;
      }),
    extend: (ids, ttlSeconds) =>
      run(() =>
        ids.map((id) => {
          table.touch(session(id), ttlSeconds * 1000);
          return decodeRecord(table.text(session(id)), id);
        }),
      ),
    remove: (ids) =>
      run(() => {
        for (const id of ids) table.remove(session(id));
      }),
    removeIf: (record) =>
      run(() => table.text(session(record.id)) === encodeRecord(record) && table.remove(session(record.id))),
    putLease: (held, ttlSeconds) =>
      run(() => {
        const before = decodeLease(table.text(lease(held.id)), held.id);
        writeText(lease(held.id), encodeLease(held), ttlSeconds);
        return before;
      }),
    getLease: (instanceId) => run(() => decodeLease(table.text(lease(instanceId)), instanceId)),
    removeLease: (instanceId) => run(() => void table.remove(lease(instanceId))),
    enlist: (fingerprint, sessionId, initialize, ttlSeconds) =>
      run(() => changeHash(trace(fingerprint), asFields(encodeTrace(sessionId, initialize)), [], ttlSeconds)),
    trace: (fingerprint) => run(() => decodeTrace(table.hash(trace(fingerprint)) ?? [])),
    delist: (fingerprint, sessionId) =>
      run(() => changeHash(trace(fingerprint), NO_FIELDS, [traceField(sessionId)])),
    seat: (caller, sessionId, owner, ttlSeconds) =>
      run(() => {
        changeHash(seats(caller), asFields([[sessionId, owner]]), [], ttlSeconds);
        return table.hash(seats(caller))?.size ?? 0;
      }),
    unseat: (caller, sessionIds) => run(() => changeHash(seats(caller), NO_FIELDS, sessionIds)),
    seatsOf: (caller) =>
      run(() => {
        const held = [...(table.hash(seats(caller)) ?? [])];
        return new Map(held.map(([id, owner]) => [id, owner.toString()]));
      }),
    writeJournals: (changes, ttlSeconds) =>
      run(() => {
        for (const each of changes)
          changeHash(journal(each.id, each.epoch), entriesOf(each), each.drop, ttlSeconds);
      }),
    readJournal: (id, epoch) =>
      run(() => {
        const held = [...(table.hash(journal(id, epoch)) ?? [])];
        return new Map(held.map(([name, bytes]) => [name, Buffer.from(bytes)]));
      }),
    removeJournal: (id, epoch) => run(() => void table.remove(journal(id, epoch))),
  };
}
