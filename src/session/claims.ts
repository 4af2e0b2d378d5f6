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

/** A journal is asked for so often, and the store after a doubtful claim, with a pause between. */
const READ_TRIES = 12;
const FIND_OUT_TRIES = 60;
const PAUSE_MS = 500;

/** Takes over sessions whose owner is dead or has let go of them. */
export class Claims {
  readonly #parts: ClaimsParts;
  /** Callers of the sessions of doubtful claims, by id. */
  readonly #uncertain = new Map<string, string>();
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

  /**
   * Whether a claim may have been carried out of which the store could not tell: the session is nobody else's then.
   * `caller` is undefined when the session's token was shown.
   */
  isUncertain(id: string, caller: string | undefined): boolean {
    const owner = this.#uncertain.get(id);
    return owner !== undefined && (caller === undefined || caller === owner);
  }

  /** Resolves when every claim that is under way has its outcome. Never rejects. */
  async settled(): Promise<void> {
    if (this.#underWay.size > 0) await Promise.allSettled(this.#underWay.values());
  }

  /** The same for the claim of this session. Never rejects. */
  async settledOf(id: string): Promise<void> {
    await this.#underWay.get(id)?.catch(() => undefined);
  }

  async #claim(record: SessionRecord): Promise<Session | undefined> {
    const { instanceId, store, sessions, whereabouts, ttlSeconds } = this.#parts;
    if (sessions.isDraining || record.ending === true || !sessions.serves(record)) return undefined;
    // The count of an owner's changes begins again with each owner.
    const { released: _released, rev: _rev, ...rest } = record;
    const next: SessionRecord = { ...rest, owner: instanceId, epoch: record.epoch + 1 };
    const isOurs = await store.replace(record, next, ttlSeconds).catch((error: unknown) => {
      void this.#findOut(record, next);
      throw error;
    });
    whereabouts.forget(record.id);
    return isOurs ? this.#resume(record, next) : undefined;
  }

  async #resume(previous: SessionRecord, next: SessionRecord): Promise<Session> {
    const { store, sessions, log } = this.#parts;
    const { id, epoch } = previous;
    const entries = await retry(READ_TRIES, () => store.readJournal(id, epoch)).catch((error: unknown) => {
      log.warn({ err: error, session: id }, "journal not read: what was in flight is lost");
      return new Map<string, Buffer>();
    });
    const session = sessions.resume(next, decodeInheritance(entries));
    if (entries.size > 0) store.removeJournal(id, epoch).catch(() => undefined);
    return session;
  }

  /** The store did not say whether a claim was carried out; when it was, the session is ours and must not be left alone. */
  async #findOut(previous: SessionRecord, next: SessionRecord): Promise<void> {
    const { store, sessions } = this.#parts;
    this.#uncertain.set(next.id, next.caller);
    const look = () => retry(FIND_OUT_TRIES, () => store.get(next.id)).catch(() => undefined);
    let stored = await look();
    if (stored?.epoch === previous.epoch) {
      // The claim may still be on its way there.
      await pause();
      stored = await look();
    }
    const isOurs = stored?.owner === next.owner && stored.epoch === next.epoch && stored.released !== true;
    if (isOurs && sessions.find(next.id) === undefined && !sessions.isDraining)
      await this.#resume(previous, next);
    this.#uncertain.delete(next.id);
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS).unref());

async function retry<T>(tries: number, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if ((tries -= 1) <= 0) throw error;
      await pause();
    }
  }
}
