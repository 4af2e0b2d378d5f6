import type { ClientTrace, JournalChange, SessionStore } from "./session-store.ts";

/** The verbs whose keys hold hashes; those of all others hold texts. */
export type HashVerbs = Pick<
  SessionStore,
  | "enlist"
  | "trace"
  | "delist"
  | "seat"
  | "unseat"
  | "seatsOf"
  | "writeJournals"
  | "readJournal"
  | "removeJournal"
>;

/** A client that comes again and again under one fingerprint must not make the answer grow without end. */
const TRACED_SESSIONS = 100;

const INITIALIZE = "initialize";
const SESSION = "s:";

/** Name of the field that stands for a session in a client's trace. Its value is when the session was noted, in ISO 8601. */
export const traceField = (sessionId: string): string => SESSION + sessionId;

/** The fields that `enlist` writes; an undefined `initialize` leaves the one that is stored. */
export function encodeTrace(sessionId: string, initialize: unknown): Map<string, string> {
  const text: string | undefined = JSON.stringify(initialize);
  const fields = new Map([[traceField(sessionId), new Date().toISOString()]]);
  return text === undefined ? fields : fields.set(INITIALIZE, text);
}

/** The trace in a hash's fields, or undefined when there are none or they are damaged. Never throws. */
export function decodeTrace(fields: Iterable<[string, string | Buffer]>): ClientTrace | undefined {
  const found = new Map(fields);
  if (found.size === 0) return undefined;
  const sessions = [...found]
    .filter(([name]) => name.startsWith(SESSION))
    .map(([name, since]) => ({ id: name.slice(SESSION.length), since: String(since) }))
    .sort((one, other) => (one.since < other.since ? 1 : one.since > other.since ? -1 : 0))
    .slice(0, TRACED_SESSIONS)
    .map(({ id }) => id);
  try {
    const text = found.get(INITIALIZE);
    return { sessions, initialize: text === undefined ? undefined : (JSON.parse(String(text)) as unknown) };
  } catch {
    return undefined;
  }
}

/** What a change writes: an entry that it also drops is not there in the end, so it is not sent. */
export function entriesOf({ put, drop }: JournalChange): Map<string, Buffer> {
  const entries = new Map(put);
  for (const name of drop) entries.delete(name);
  return entries;
}
