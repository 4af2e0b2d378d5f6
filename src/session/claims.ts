import type { Log } from "../log.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";
import { decodeInheritance } from "./journal.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Whereabouts } from "./whereabouts.ts";

export interface ClaimsParts {
  instanceId: string;
  store: SessionStore;
  sessions: Sessions;
  whereabouts: Whereabouts;
  ttlSeconds: number;
  log: Log;
}

/** Takes over sessions whose owner is dead or has let go of them. */
export class Claims {
  readonly #parts: ClaimsParts;
  readonly #underWay = new Map<string, Promise<Session | undefined>>();

  constructor(parts: ClaimsParts) {
    this.#parts = parts;
  }

  /**
   * Claims the session of this record: exactly one instance can, and from then on the earlier owner's writes find
   * another owner. Undefined when another was faster, or the record has changed. Rejects with `store_unavailable`.
   */
  claim(record: SessionRecord): Promise<Session | undefined> {
    const underWay = this.#underWay.get(record.id);
    if (underWay !== undefined) return underWay;
    const claim = this.#claim(record).finally(() => this.#underWay.delete(record.id));
    this.#underWay.set(record.id, claim);
    return claim;
  }

  /** Resolves when every claim that is under way has its outcome. Never rejects. */
  async settled(): Promise<void> {
    if (this.#underWay.size > 0) await Promise.allSettled(this.#underWay.values());
  }

  async #claim(record: SessionRecord): Promise<Session | undefined> {
    const { instanceId, store, sessions, whereabouts, ttlSeconds } = this.#parts;
    if (sessions.isDraining) return undefined;
    const { released: _released, ...rest } = record;
    const next: SessionRecord = { ...rest, owner: instanceId, epoch: record.epoch + 1 };
    const isOurs = await store.replace(record, next, ttlSeconds);
    whereabouts.forget(record.id);
    if (!isOurs) return undefined;
    const entries = await store.readJournal(record.id, record.epoch).catch(() => new Map<string, Buffer>());
    const session = sessions.resume(next, decodeInheritance(entries));
    if (entries.size > 0) store.removeJournal(record.id, record.epoch).catch(() => undefined);
    return session;
  }
}
