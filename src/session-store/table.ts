import { StoreFailure, unavailable } from "./store-failure.ts";

export type Hash = ReadonlyMap<string, Buffer>;

/** What a key holds. */
export interface Slot {
  value: string | Hash;
  /** An instant of the table's clock. */
  expiresAt: number;
  /** Grows with each key that is new. A table is walked in this order, so it is where a walk goes on. */
  place: number;
}

/** What befalls one key. Instants are of the table's clock; texts, fields and instants are what is there afterwards. */
export type Change =
  | { kind: "text"; key: string; text: string; expiresAt: number }
  | { kind: "touch"; key: string; expiresAt: number }
  | { kind: "gone"; key: string }
  | HashChange;

export interface HashChange {
  kind: "hash";
  key: string;
  put: Hash;
  /** Names to remove, after those of `put` were written. A hash that is empty then is gone. */
  drop: readonly string[];
  /** Absent: as it was. */
  expiresAt?: number | undefined;
  /** Whatever the key held before is forgotten first. */
  isFresh: boolean;
}

export interface TableOptions {
  /** A clock that never goes back, in milliseconds. */
  now: () => number;
  /** Keys held at most; past it, whatever adds one throws `store_unavailable`. */
  maxEntries: number;
  /** Is told each change after it was made, and how to unmake it: in reverse order, with all that came later. */
  onChange?: (change: Change, undo: () => void) => void;
}

/** Keys with texts or hashes that expire, in memory. Nothing that is handed in or out is shared, except `slot` and `walk`. */
export type Table = ReturnType<typeof createTable>;

const SWEEP_EVERY_MS = 60_000;

export function createTable({ now, maxEntries, onChange }: TableOptions) {
  const slots = new Map<string, Slot>();
  let sweepAt = now() + SWEEP_EVERY_MS;
  let lastPlace = 0;

  function slot(key: string): Slot | undefined {
    const found = slots.get(key);
    if (found === undefined || now() < found.expiresAt) return found;
    slots.delete(key);
    return undefined;
  }

  /** A key keeps its place while it is there, as a Map does. */
  function put(key: string, value: string | Hash, expiresAt: number): void {
    slots.set(key, { value, expiresAt, place: slots.get(key)?.place ?? (lastPlace += 1) });
  }

  function restore(key: string, before: Slot | undefined): void {
    if (before === undefined) slots.delete(key);
    else put(key, before.value, before.expiresAt);
  }

  function applyToHash({ key, put: fields, drop, expiresAt, isFresh }: HashChange): () => void {
    const before = slots.get(key);
    const isKept = !isFresh && typeof before?.value === "object";
    const hash = (isKept ? before.value : new Map()) as Map<string, Buffer>;
    const fieldsBefore = [...fields.keys(), ...drop].map((name) => [name, hash.get(name)] as const);
    for (const [name, bytes] of fields) hash.set(name, bytes);
    for (const name of drop) hash.delete(name);
    if (hash.size === 0) slots.delete(key);
    else put(key, hash, expiresAt ?? before?.expiresAt ?? 0);
    return () => {
      for (const [name, bytes] of fieldsBefore) {
        if (bytes === undefined) hash.delete(name);
        else hash.set(name, bytes);
      }
      restore(key, before);
    };
  }

  /** Makes a change without telling, and answers how to unmake it. */
  function apply(change: Change): () => void {
    if (change.kind === "hash") return applyToHash(change);
    const { key } = change;
    const before = slots.get(key);
    if (change.kind === "gone") slots.delete(key);
    else if (change.kind === "text") put(key, change.text, change.expiresAt);
    else if (before) put(key, before.value, change.expiresAt);
    return () => restore(key, before);
  }

  function sweep(): void {
    const time = now();
    sweepAt = time + SWEEP_EVERY_MS;
    for (const [key, { expiresAt }] of slots) if (time >= expiresAt) slots.delete(key);
  }

  function commit(change: Change): void {
    if (change.kind !== "gone") {
      // Sweeping while writing needs no timer, and the table grows by writing only.
      if (now() >= sweepAt || slots.size >= maxEntries) sweep();
      if (slots.size >= maxEntries && !slots.has(change.key))
        throw unavailable(new StoreFailure("refused", "FULL"));
    }
    const undo = apply(change);
    try {
      onChange?.(change, undo);
    } catch (error) {
      undo();
      throw error;
    }
  }

  function hash(key: string): Hash | undefined {
    const value = slot(key)?.value;
    return typeof value === "object" ? value : undefined;
  }

  function touch(key: string, ttlMs: number): void {
    if (slot(key)) commit({ kind: "touch", key, expiresAt: now() + ttlMs });
  }

  function writeHash(change: Omit<HashChange, "kind">): void {
    const copy = new Map([...change.put].map(([name, bytes]) => [name, Buffer.from(bytes)]));
    commit({ kind: "hash", ...change, put: copy });
  }

  return {
    slot,
    apply,
    hash,
    touch,
    text(key: string): string | undefined {
      const value = slot(key)?.value;
      return typeof value === "string" ? value : undefined;
    },
    writeText(key: string, text: string, ttlMs: number): void {
      commit({ kind: "text", key, text, expiresAt: now() + ttlMs });
    },
    /** Changes the hash at `key`, which is gone when it is empty; its expiry starts again where one is given. */
    changeHash(key: string, fields: Hash, drop: readonly string[], ttlMs?: number): void {
      const before = hash(key);
      const dropped = drop.filter((name) => before?.has(name) || fields.has(name));
      if (fields.size === 0 && (dropped.length === 0 || !before)) {
        if (before && ttlMs !== undefined) touch(key, ttlMs);
        return;
      }
      const expiresAt = ttlMs === undefined ? undefined : now() + ttlMs;
      writeHash({ key, put: fields, drop: dropped, expiresAt, isFresh: !before });
    },
    replaceHash(key: string, fields: Hash, ttlMs: number): void {
      writeHash({ key, put: fields, drop: [], expiresAt: now() + ttlMs, isFresh: true });
    },
    /** Whether there was anything to remove. */
    remove(key: string): boolean {
      if (!slot(key)) return false;
      commit({ kind: "gone", key });
      return true;
    },
    msLeft: ({ expiresAt }: Slot): number => expiresAt - now(),
    /** Live keys past a place, in the order of their places. It goes on through changes: a key that stays is met. */
    *walk(after = 0): Generator<[string, Slot]> {
      for (const [key, { place }] of slots) {
        const found = place > after ? slot(key) : undefined;
        if (found) yield [key, found];
      }
    },
    lastPlace: (): number => lastPlace,
    clear: (): void => slots.clear(),
  };
}
