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
  readonly #cache: LRUCache<string, { place: Place | undefined }>;

  constructor(store: SessionStore, instanceId: string) {
    this.#store = store;
    this.#instanceId = instanceId;
    this.#cache = new LRUCache({
      max: 10_000,
      fetchMethod: async (id, _stale, { options }) => {
        const place = await this.#lookUp(id);
        options.ttl = place === undefined ? ABSENT_MS : FOUND_MS;
        return { place };
      },
    });
  }

  /**
   * Where the session lives, or undefined when it lives nowhere. Rejects with `store_unavailable` when that cannot be
   * known.
   */
  async find(id: string): Promise<Place | undefined> {
    return (await this.#cache.fetch(id))?.place;
  }

  /** What was believed of this session turned out to be wrong. */
  forget(id: string): void {
    this.#cache.delete(id);
  }

  async #lookUp(id: string): Promise<Place | undefined> {
    const record = await this.#store.get(id);
    // A record of ours without a session of ours is what a removal has yet to reach.
    if (record === undefined || (record.owner === this.#instanceId && record.released !== true))
      return undefined;
    return { record, owner: record.released === true ? undefined : await this.#store.getLease(record.owner) };
  }
}
