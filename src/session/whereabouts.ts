import { LRUCache } from "lru-cache";
import type { Lease, SessionRecord, SessionStore } from "../session-store/session-store.ts";

/** How long an answer is believed. A session that is not there may be there in a moment, so that is forgotten sooner. */
const FOUND_MS = 5000;
const ABSENT_MS = 1000;

/** Where a session lives that is not here. */
export interface Place {
  record: SessionRecord;
  /** The sign of life of the record's owner; undefined when it is dead, or has let go of the session. */
  owner: Lease | undefined;
}

/**
 * Tells where a session lives that is not here. Answers are cached for seconds, and one question is asked once however
 * many wait for it.
 */
export class Whereabouts {
  readonly #store: SessionStore;
  readonly #instanceId: string;
  readonly #known = new LRUCache<string, { place: Place | undefined }>({ max: 10_000 });
  readonly #asked = new Map<string, Promise<Place | undefined>>();

  constructor(store: SessionStore, instanceId: string) {
    this.#store = store;
    this.#instanceId = instanceId;
  }

  /**
   * Where the session lives, or undefined when it lives nowhere. Rejects with `store_unavailable` when that cannot be
   * known.
   */
  find(id: string): Promise<Place | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined) return Promise.resolve(known.place);
    const asked = this.#asked.get(id);
    if (asked !== undefined) return asked;
    const asking: Promise<Place | undefined> = this.#lookUp(id)
      .then((place) => {
        const ttl = place === undefined ? ABSENT_MS : FOUND_MS;
        // An answer to a question that was withdrawn meanwhile may be an old one.
        if (this.#asked.get(id) === asking) this.#known.set(id, { place }, { ttl });
        return place;
      })
      .finally(() => {
        if (this.#asked.get(id) === asking) this.#asked.delete(id);
      });
    this.#asked.set(id, asking);
    return asking;
  }

  /** What is believed of this session may be wrong: the next to ask asks the store. */
  forget(id: string): void {
    this.#known.delete(id);
    this.#asked.delete(id);
  }

  /** Whether an instance is there to stay, as its lease says now. While the store is away nothing says otherwise. Never rejects. */
  isServing(instanceId: string): Promise<boolean> {
    return this.#store.getLease(instanceId).then(
      (lease) => lease?.state === "serving",
      () => true,
    );
  }

  /** Whether an instance has ended and given its lease back. Never rejects. */
  hasEnded(instanceId: string): Promise<boolean> {
    return this.#store.getLease(instanceId).then(
      (lease) => lease === undefined,
      () => false,
    );
  }

  async #lookUp(id: string): Promise<Place | undefined> {
    const record = await this.#store.get(id);
    // A record of ours without a session of ours is what a removal has yet to reach; nobody goes on with one that is to end.
    if (
      record === undefined ||
      record.ending === true ||
      (record.owner === this.#instanceId && record.released !== true)
    )
      return undefined;
    return { record, owner: record.released === true ? undefined : await this.#store.getLease(record.owner) };
  }
}
