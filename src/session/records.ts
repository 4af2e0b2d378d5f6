import type { Log } from "../log.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";

export interface RecordsParts {
  store: SessionStore;
  /** Id of this instance. */
  instanceId: string;
  /** Expiry of a record after it was last written or extended. */
  ttlSeconds: number;
  /** `late`: a record is extended once less than half of its expiry is left. `always`: at each heartbeat. */
  extend: "late" | "always";
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
  /** The store has forgotten a record. Resolves when others may see it written again. Never rejects. */
  onVanished(): Promise<void>;
  /** Another instance owns the session now. */
  onConflict(id: string): void;
  /** An operator has asked for the session's end. */
  onEnding(id: string): void;
}

/** One record of this instance, as it should be and as the store last confirmed it. */
interface Entry {
  record: SessionRecord;
  stored: SessionRecord | undefined;
  confirmedAt: number;
  isBusy: boolean;
  isForgotten: boolean;
}

/** Removals that wait for the store; beyond that the expiry removes the rest. */
const MAX_REMOVALS = 10_000;

/**
 * This instance's records in the session store. Nobody waits for the store here: what could not be written is written
 * at a later heartbeat, because an open stream is the truth and the record only tells others of it.
 */
export class Records {
  readonly #parts: RecordsParts;
  readonly #entries = new Map<string, Entry>();
  readonly #adding = new Map<string, Promise<void>>();
  #mustLook = false;
  /** Records to be removed, as the store last confirmed them. */
  #removals = new Map<string, SessionRecord | undefined>();

  constructor(parts: RecordsParts) {
    this.#parts = parts;
  }

  /** Resolves when the store has a new record, or cannot be told of it. Never rejects. */
  async settled(id: string): Promise<void> {
    await this.#adding.get(id);
  }

  /** Records a new session. */
  add(record: SessionRecord): void {
    const entry: Entry = {
      record,
      stored: undefined,
      confirmedAt: -Infinity,
      isBusy: false,
      isForgotten: false,
    };
    this.#entries.set(record.id, entry);
    const adding = this.#write(entry).finally(() => this.#adding.delete(record.id));
    this.#adding.set(record.id, adding);
  }

  /** Keeps a record that was claimed from an earlier owner, as the store has it. */
  takeOver(record: SessionRecord): void {
    const confirmedAt = this.#parts.now();
    this.#entries.set(record.id, { record, stored: record, confirmedAt, isBusy: false, isForgotten: false });
  }

  /**
   * Lets go of a session for the next owner to claim within `ttlSeconds`. Resolves with false when the store could not
   * be told; the record is then still kept here. Never rejects.
   */
  async release(id: string, ttlSeconds: number): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    await this.#write(entry);
    const { record, stored } = entry;
    if (stored !== record || entry.isBusy) return false;
    const isDone = await this.#parts.store
      .replace(record, { ...revised(record), released: true }, ttlSeconds)
      .catch(() => false);
    if (isDone) this.#entries.delete(id);
    return isDone;
  }

  /** Looks at every record: who was taken for dead finds out that its sessions have other owners. Rejects when the store is away. */
  async verify(): Promise<void> {
    const settled = [...this.#entries.values()].filter(({ stored, record }) => stored === record);
    if (settled.length > 0) await this.#extendSettled(settled);
  }

  /** The store may have lost what it had, or not have been told: writes what it lacks. Never rejects. */
  async reassert(): Promise<void> {
    const entries = [...this.#entries.values()];
    await Promise.all([
      this.verify().catch(() => undefined),
      ...entries.filter(({ stored, record }) => stored !== record).map((entry) => this.#write(entry)),
    ]);
  }

  /** Records something new about a session. */
  update(id: string, change: { [K in keyof SessionRecord]?: SessionRecord[K] | undefined }): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const members = Object.entries({ ...revised(entry.record), ...change });
    // Not by `delete`, which would make it a hash table of a kilobyte.
    const known = members.filter(([, value]) => value !== undefined);
    entry.record = Object.fromEntries(known) as unknown as SessionRecord;
    void this.#write(entry);
  }

  /** The session is over: its record goes with the next batch of removals. */
  forget(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.isForgotten = true;
    this.#entries.delete(id);
    // A write under way could land after the removal; `#write` queues it when it is done.
    if (!entry.isBusy) this.#removals.set(id, entry.stored);
  }

  /** Whether the record must be written or extended at this heartbeat. */
  isDue(id: string, now: number): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.isBusy) return false;
    if (entry.stored !== entry.record || this.#parts.extend === "always") return true;
    return now - entry.confirmedAt >= (this.#parts.ttlSeconds * 1000) / 2;
  }

  /** Extends these records in one batch; those that the store does not have are written again. Never rejects. */
  async extend(ids: readonly string[]): Promise<void> {
    const entries = ids.map((id) => this.#entries.get(id)).filter((entry) => entry !== undefined);
    const changed = entries.filter((entry) => entry.stored !== entry.record);
    const settled = entries.filter((entry) => entry.stored === entry.record);
    await Promise.all([
      ...changed.map((entry) => this.#write(entry)),
      this.#extendSettled(settled).catch(() => undefined),
    ]);
  }

  /** An operator has changed records of ours: it is looked for at each flush until it is known what. */
  look(): void {
    this.#mustLook = true;
  }

  /** Removes the records of sessions that are over, unless another instance has claimed them. Never rejects. */
  async flush(): Promise<void> {
    if (this.#mustLook)
      await this.verify().then(
        () => (this.#mustLook = false),
        () => undefined,
      );
    const removals = [...this.#removals];
    this.#removals = new Map();
    await Promise.all(
      removals.map(async ([id, stored]) => {
        try {
          if (stored === undefined) await this.#parts.store.remove([id]);
          else await this.#parts.store.removeIf(stored);
        } catch {
          if (this.#removals.size < MAX_REMOVALS) this.#removals.set(id, stored);
        }
      }),
    );
  }

  async #extendSettled(entries: Entry[]): Promise<void> {
    if (entries.length === 0) return;
    const found = await this.#parts.store.extend(
      entries.map((entry) => entry.record.id),
      this.#parts.ttlSeconds,
    );
    // The lease first: a record whose owner has none is taken for a dead instance's, and removed.
    if (found.includes(undefined)) await this.#parts.onVanished();
    const now = this.#parts.now();
    entries.forEach((entry, index) => {
      const record = found[index];
      if (record === undefined) {
        entry.stored = undefined;
        void this.#write(entry);
      } else if (this.#isAnothers(entry, record)) this.#yield(entry);
      else if (record.owner !== this.#parts.instanceId) this.#correct(entry, record);
      else if (record.ending === true) this.#obey(entry, record);
      else entry.confirmedAt = now;
    });
  }

  async #write(entry: Entry): Promise<void> {
    if (entry.isBusy) return;
    entry.isBusy = true;
    try {
      while (entry.stored !== entry.record && !entry.isForgotten) {
        const { record } = entry;
        if (await this.#put(entry, record)) {
          entry.stored = record;
          entry.confirmedAt = this.#parts.now();
        } else if (!(await this.#reread(entry))) return;
      }
    } catch {
      // The store is away, and its guard has said so; a later heartbeat writes again.
    } finally {
      entry.isBusy = false;
      if (entry.isForgotten) this.#removals.set(entry.record.id, entry.stored);
    }
  }

  #put({ stored }: Entry, record: SessionRecord): Promise<boolean> {
    const { store, ttlSeconds } = this.#parts;
    return stored === undefined
      ? store.create(record, ttlSeconds)
      : store.replace(stored, record, ttlSeconds);
  }

  /** The store has something else than we thought. False when it is another instance's. */
  async #reread(entry: Entry): Promise<boolean> {
    const found = await this.#parts.store.get(entry.record.id);
    if (found !== undefined && this.#isAnothers(entry, found)) {
      this.#yield(entry);
      return false;
    }
    if (found?.ending === true) {
      this.#obey(entry, found);
      return false;
    }
    // Ours after all: a write that was given up on had been carried out.
    entry.stored = found;
    return true;
  }

  /** Whether another instance owns the session now. An earlier owner's record is of a store that went back in time. */
  #isAnothers({ record }: Entry, found: SessionRecord): boolean {
    return found.owner !== this.#parts.instanceId && found.epoch >= record.epoch;
  }

  /** The store has an older state than it had: ours is written over it. */
  #correct(entry: Entry, found: SessionRecord): void {
    entry.stored = found;
    void this.#write(entry);
  }

  /** An operator wrote the record: what is stored is removed with the session. */
  #obey(entry: Entry, found: SessionRecord): void {
    entry.stored = found;
    entry.record = found;
    this.#parts.onEnding(found.id);
  }

  #yield(entry: Entry): void {
    if (this.#entries.get(entry.record.id) !== entry) return;
    this.#parts.log.warn(
      { session: entry.record.id },
      "another instance owns this session: letting go of it",
    );
    this.#entries.delete(entry.record.id);
    this.#parts.onConflict(entry.record.id);
  }
}

/** The record as its owner is about to change it. */
const revised = (record: SessionRecord): SessionRecord => ({ ...record, rev: (record.rev ?? 0) + 1 });
