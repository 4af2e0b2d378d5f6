/** A key, as the file has it. Times are ISO 8601 in UTC. */
export interface KeyEntry {
  id: string;
  /** `sha256:` and the digest of the key, in hex. */
  hash: string;
  createdAt: string;
  expiresAt?: string;
  note?: string;
}

export interface CallerEntry {
  name: string;
  /** What the caller may use, in the words of MCP_KEY_SCOPES. Undefined: what the settings say. */
  scope?: string;
  /** How many sessions it may have open. Undefined: what the settings say. */
  maxSessions?: number;
  /** Whether its keys open nothing for now. */
  disabled?: true;
  keys: KeyEntry[];
}

/** What is wrong with the words of a scope, without showing them. Undefined: nothing. */
export type ScopeProblem = (scope: string) => string | undefined;

export const CALLER_NAME = /^[a-z0-9][a-z0-9_-]{0,31}$/;
export const KEY_ID = /^k_[0-9a-f]{12}$/;
export const MAX_SESSIONS = 1_000_000;

const MAX_KEYS = 1000;
const MAX_PROBLEMS = 100;
const MAX_NOTE_LENGTH = 200;
const MAX_SCOPE_LENGTH = 4096;
const HASH = /^sha256:[0-9a-f]{64}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/;
/** What a terminal does not show as it is, or as more than one line. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

type Test = (value: unknown) => string | undefined;

const text =
  (words: string, isRight: (value: string) => boolean): Test =>
  (value) =>
    typeof value === "string" && isRight(value) ? undefined : words;

const time = text("must be a time like 2027-01-31T12:00:00Z", isTime);

/** Whether this can be a note: one line, not too long. */
export const isNote = (note: string): boolean => note.length <= MAX_NOTE_LENGTH && !UNPRINTABLE.test(note);

/** What each field of a key must be, and whether it must be there. */
const KEY_FIELDS: Record<keyof KeyEntry, { test: Test; isNeeded: boolean }> = {
  id: { test: text("must be k_ and 12 hex digits", (id) => KEY_ID.test(id)), isNeeded: true },
  hash: { test: text("must be sha256: and 64 hex digits", (hash) => HASH.test(hash)), isNeeded: true },
  createdAt: { test: time, isNeeded: true },
  expiresAt: { test: time, isNeeded: false },
  note: { test: text(`must be one line of at most ${MAX_NOTE_LENGTH} letters`, isNote), isNeeded: false },
};

/** Reads the callers of a keys file, with all problems: each names a caller and a field, never a value. */
export function readCallers(
  entries: Readonly<Record<string, unknown>>,
  scopeProblem: ScopeProblem,
): { callers: CallerEntry[]; problems: string[] } {
  const problems: string[] = [];
  /** Ids and hashes that were seen, and where. */
  const seen = new Map<string, string>();
  const callers: CallerEntry[] = [];
  let keyCount = 0;
  for (const [place, [name, entry]] of Object.entries(entries).entries()) {
    const isName = CALLER_NAME.test(name);
    const where = `caller ${isName ? name : place + 1}`;
    if (!isName)
      problems.push(
        `${where}: a name is 1 to 32 small letters, digits, - or _, and begins with none of these two`,
      );
    const words = isObject(entry) ? callerProblem(entry, scopeProblem) : ["must be an object with keys"];
    problems.push(...words.map((problem) => `${where}: ${problem}`));
    if (words.length > 0) continue;
    const caller = entry as Omit<CallerEntry, "name">;
    for (const [index, key] of caller.keys.entries()) {
      const at = `${where}, key ${index + 1}`;
      const wrong = keyProblem(key, at, seen);
      problems.push(...wrong.map((problem) => `${at}: ${problem}`));
    }
    keyCount += caller.keys.length;
    callers.push({ name, ...caller });
    // Each of a million wrong entries would have its line.
    if (problems.length > MAX_PROBLEMS) break;
  }
  if (keyCount > MAX_KEYS) problems.push(`keys: there are ${keyCount} of them; at most ${MAX_KEYS} may be`);
  return { callers, problems: problems.slice(0, MAX_PROBLEMS) };
}

function callerProblem(entry: Record<string, unknown>, scopeProblem: ScopeProblem): string[] {
  const { scope, maxSessions, disabled, keys, ...others } = entry;
  const problems = unknownFields(others);
  if (scope !== undefined) {
    const isLine = typeof scope === "string" && scope.length <= MAX_SCOPE_LENGTH && !UNPRINTABLE.test(scope);
    const problem = isLine ? scopeProblem(scope) : `must be one line of at most ${MAX_SCOPE_LENGTH} letters`;
    if (problem !== undefined) problems.push(`scope ${problem}`);
  }
  if (maxSessions !== undefined && !isWhole(maxSessions, 1, MAX_SESSIONS))
    problems.push(`maxSessions must be a whole number from 1 to ${MAX_SESSIONS}`);
  if (disabled !== undefined && disabled !== true) problems.push("disabled must be true, or not be there");
  if (!Array.isArray(keys)) problems.push("keys must be a list");
  return problems;
}

function keyProblem(key: unknown, at: string, seen: Map<string, string>): string[] {
  if (!isObject(key)) return ["must be an object"];
  const problems = unknownFields(
    Object.fromEntries(Object.entries(key).filter(([field]) => !Object.hasOwn(KEY_FIELDS, field))),
  );
  for (const [field, { test, isNeeded }] of Object.entries(KEY_FIELDS)) {
    const value = key[field];
    const problem = value === undefined ? (isNeeded ? "is missing" : undefined) : test(value);
    if (problem !== undefined) problems.push(`${field} ${problem}`);
  }
  if (problems.length > 0) return problems;
  for (const field of ["id", "hash"] as const) {
    const value = key[field] as string;
    const other = seen.get(value);
    if (other !== undefined) problems.push(`its ${field} is that of ${other} too`);
    seen.set(value, at);
  }
  return problems;
}

const unknownFields = (others: Record<string, unknown>): string[] =>
  Object.keys(others).map((field) => `${shown(field)} is not known here`);

const isWhole = (value: unknown, least: number, most: number): boolean =>
  typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;

/** A day that no calendar has would be read as one of the next month. */
function isTime(value: string): boolean {
  const at = TIME.test(value) ? Date.parse(value) : Number.NaN;
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(value.slice(0, 19));
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The name of a field. What is longer than fields are may be a key that was put there by mistake. */
export const shown = (field: string): string =>
  /^[A-Za-z][A-Za-z0-9_]{0,19}$/.test(field) ? field : "a field whose name is not shown";
