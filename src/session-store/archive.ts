/** One key of a store with what it holds: what a backup has of it, and what is moved to another store. */
export interface Entry {
  /** Without the store's prefix, as the functions of `session-store.ts` make it from an empty one: `session:<id>`, … */
  key: string;
  /** A text, or a hash by field. */
  value: string | ReadonlyMap<string, Buffer>;
  /** Milliseconds until it expires. Always above 0; an entry of ours that never expires is not a gateway's. */
  ttlMs: number;
}

export interface EntryPage {
  entries: Entry[];
  /** Where the next page begins. Undefined after the last one. */
  cursor: string | undefined;
}

/**
 * A store as keys and values, for those who move sessions: backup, restore, migration, mirror. Every store has one. It
 * works while gateways serve: nothing is locked, and nothing waits for it. Verbs reject as a session store's do, and
 * none is repeated by itself after it may have been carried out. Batches are split by the driver as its backend needs.
 *
 * The drivers pass `test/session-store/conformance-archive.ts`.
 */
export interface Archive {
  /** Commands sent to the backend so far, as it would bill them. 0 for a store in this process. */
  readonly commands: number;
  /**
   * A page of about `count` entries whose keys begin with `under` (a kind such as `session:`, or `""` for all). An entry
   * that lives through the whole walk is met at least once, and may be met twice. A page may be empty and not the last.
   */
  read(options: { cursor?: string | undefined; count: number; under?: string }): Promise<EntryPage>;
  /** These entries, in the order asked; undefined for each that is absent. One batch. */
  readKeys(keys: readonly string[]): Promise<(Entry | undefined)[]>;
  /**
   * Writes whole entries, with their expiries to the millisecond where the backend has them. `absent`: only where the
   * key is free. Answers for each whether it was written. One batch. A hash is replaced, not merged.
   */
  write(entries: readonly Entry[], when: "always" | "absent"): Promise<boolean[]>;
  /** Writes a text entry if exactly `previous` is stored under its key. False, and nothing written, otherwise. */
  swap(previous: string, entry: Entry & { value: string }): Promise<boolean>;
  /** Removes keys, whether or not they exist. One batch. */
  remove(keys: readonly string[]): Promise<void>;
  /** Resolves when the store can serve. Rejects as `SessionStore.ready`. */
  ready(): Promise<void>;
  /** Lets go of connections. Safe to call twice. */
  close(): Promise<void>;
}
