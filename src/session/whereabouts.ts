import { LRUCache } from "lru-cache";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";

/** How long an answer is believed. A session that is not there may be there in a moment, so that is forgotten sooner. */
const FOUND_MS = 5000;
const ABSENT_MS = 1000;

/**
 * Tells where a session lives that is not here. Answers are cached for seconds, and one question is asked once however
 * many wait for it.
 */
export class Whereabouts {
  readonly #store: SessionStore;
  readonly #instanceId: string;
  readonly #cache: LRUCache<string, { record: SessionRecord | undefined }>;

  constructor(store: SessionStore, instanceId: string) {
    this.#store = store;
    this.#instanceId = instanceId;
    this.#cache = new LRUCache({
      max: 10_000,
      fetchMethod: async (id, _stale, { options }) => {
        const record = await this.#lookUp(id);
        options.ttl = record === undefined ? ABSENT_MS : FOUND_MS;
        return { record };
      },
    });
  }

  /**
   * The record of a session that lives on another instance, or undefined when it lives nowhere. Rejects with
   * `store_unavailable` when that cannot be known.
   */
  async find(id: string): Promise<SessionRecord | undefined> {
    return (await this.#cache.fetch(id))?.record;
  }

  async #lookUp(id: string): Promise<SessionRecord | undefined> {
    const record = await this.#store.get(id);
    // A record of ours without a session of ours is what a removal has yet to reach.
    if (record === undefined || record.owner === this.#instanceId) return undefined;
    if ((await this.#store.getLease(record.owner)) !== undefined) return record;
    await this.#store.removeIf(record);
    return undefined;
  }
}
