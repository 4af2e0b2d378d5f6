import { LRUCache } from "lru-cache";
import type { SessionStore } from "../session-store/session-store.ts";
import type { Told } from "./handshake.ts";
import type { SessionIndex } from "./session-index.ts";
import type { Session } from "./session.ts";

/** How long the store remembers a client, and after how long a session that is still open is noted again. */
const TRACE_SECONDS = 24 * 3600;
const RENEW_MS = 12 * 3600 * 1000;
/** What the store could not be told is told again after this. */
const RETRY_MS = 5000;

export interface TracesParts {
  store: SessionStore;
  now: () => number;
}

/**
 * What is known of clients that may come back: which sessions they had, on any instance, and how they introduced
 * themselves last. Nobody waits for the store here, and a trace that is missing costs a client its old session at most.
 */
export class Traces {
  readonly #parts: TracesParts;
  readonly #last = new LRUCache<string, Told>({ max: 500 });
  readonly #noted = new Map<string, { initialize: unknown; at: number }>();
  readonly #flights = new Set<Promise<void>>();

  constructor(parts: TracesParts) {
    this.#parts = parts;
  }

  /** How a client introduced itself last, as far as this instance knows. */
  lastOf(mark: string): Told | undefined {
    return this.#last.get(mark);
  }

  /** Notes a session under its client, here and in the store. */
  note(session: Session, mark: string, told: Told): void {
    const { initialize } = told;
    if (initialize === undefined) return;
    this.#last.set(mark, { initialize });
    if (this.#noted.get(session.id)?.initialize === initialize) return;
    this.#noted.set(session.id, { initialize, at: this.#parts.now() });
    this.#enlist(mark, session.id, initialize);
  }

  /** The session is over. */
  forget(session: Session, mark: string): void {
    if (this.#noted.delete(session.id)) this.#fly(this.#parts.store.delist(mark, session.id));
  }

  /** Notes again what would be forgotten soon. Never rejects. */
  async beat(index: SessionIndex, now: number): Promise<void> {
    for (const [id, noted] of this.#noted) {
      if (now - noted.at < RENEW_MS) continue;
      noted.at = now;
      const session = index.find(id);
      if (session === undefined) this.#noted.delete(id);
      else this.#enlist(index.fingerprintOf(session), id, noted.initialize);
    }
  }

  /** The store may have lost what it had: all is noted again at the next beat. */
  renew(): void {
    for (const noted of this.#noted.values()) noted.at = -Infinity;
  }

  /** Resolves when nothing is under way to the store. */
  async flush(): Promise<void> {
    await Promise.all(this.#flights);
  }

  #enlist(mark: string, id: string, initialize: unknown): void {
    const { store, now } = this.#parts;
    this.#fly(
      store.enlist(mark, id, initialize, TRACE_SECONDS).catch(() => {
        const noted = this.#noted.get(id);
        if (noted !== undefined) noted.at = now() - RENEW_MS + RETRY_MS;
      }),
    );
  }

  #fly(work: Promise<void>): void {
    const flight = work.catch(() => undefined).finally(() => this.#flights.delete(flight));
    this.#flights.add(flight);
  }
}
