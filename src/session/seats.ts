import { randomUUID } from "node:crypto";
import { LRUCache } from "lru-cache";
import { GatewayError } from "../errors.ts";
import type { SessionStore } from "../session-store/session-store.ts";
import type { SessionIndex } from "./session-index.ts";

/** How long the store remembers a caller's index, and after how long a session that is still open is noted again. */
const INDEX_SECONDS = 24 * 3600;
const RENEW_MS = 12 * 3600 * 1000;
/** What the store could not be told is told again after this. */
const RETRY_MS = 5000;
/** A caller's index is put right at most so often: each time costs a command, and one more for each owner in it. */
const HEAL_MS = 5000;
/** Callers, and sessions of each, whose ends are remembered for the store. */
const MAX_UNTOLD = 1000;
/** Owners that are asked after at most when an index is put right. */
const MAX_OWNERS = 100;

export interface SeatsParts {
  instanceId: string;
  store: SessionStore;
  index: SessionIndex;
  /** Sessions that this instance holds at most. */
  maxSessions: number;
  /** Sessions that a caller has at most, on all instances together. */
  maxSessionsOf: (caller: string) => number;
  /** Monotonic time in ms. */
  now: () => number;
}

/** Who may still come in: the bounds of this instance, and each caller's on all instances together. */
export class Seats {
  readonly #parts: SeatsParts;
  /** Sessions of this instance that the store has under their callers, and since when, or was to have. */
  readonly #noted = new Map<string, { caller: string; at: number }>();
  /** Ends that the store was not told of, by caller. */
  #untold = new Map<string, readonly string[]>();
  #tellAt = Infinity;
  readonly #recounts = new Map<string, Promise<number | undefined>>();
  readonly #healed = new LRUCache<string, true>({ max: 1000, ttl: HEAL_MS });
  readonly #flights = new Set<Promise<unknown>>();

  constructor(parts: SeatsParts) {
    this.#parts = parts;
  }

  /**
   * Sees to it that this instance can hold one more session of the caller; a session that waits for its client is given
   * up for it. Throws `overloaded` or `too_many_sessions`. A client that comes back may go beyond the limits by `factor`.
   */
  makeRoom(caller: string, factor: number): void {
    const { index, maxSessions } = this.#parts;
    const most = this.#parts.maxSessionsOf(caller);
    if (index.countOf(caller) >= most) index.oldestOrphan({ caller })?.close("made_room");
    if (index.size >= maxSessions) index.oldestOrphan()?.close("made_room");
    if (index.size >= maxSessions * factor) throw new GatewayError("overloaded");
    if (index.countOf(caller) >= most * factor) throw new GatewayError("too_many_sessions");
  }

  /**
   * A seat for one more session of the caller among those of all instances, and the session's id. Rejects with
   * `too_many_sessions`. While the store is away this instance counts its own alone.
   */
  async take(caller: string, factor: number): Promise<string> {
    const { store, instanceId, maxSessionsOf, now } = this.#parts;
    const id = randomUUID();
    this.#noted.set(id, { caller, at: now() });
    if (store.kind === "memory" || store.kind === "file") {
      this.#seat(caller, id);
      return id;
    }
    const most = maxSessionsOf(caller) * factor;
    const count = await store.seat(caller, id, instanceId, INDEX_SECONDS).catch(() => this.#postpone(id));
    if (count === undefined || count <= most || this.#giveUpOne(caller)) return id;
    if ((await this.#recount(caller, count)) <= most) return id;
    this.leave(caller, [id]);
    throw new GatewayError("too_many_sessions");
  }

  /** Notes a session that is open here, however many there are. */
  note(caller: string, id: string): void {
    if (this.#noted.has(id)) return;
    this.#noted.set(id, { caller, at: this.#parts.now() });
    this.#seat(caller, id);
  }

  /** These sessions are over, or never came to be. */
  leave(caller: string, ids: readonly string[]): void {
    const known = ids.filter((id) => this.#noted.delete(id));
    if (known.length > 0) this.#unseat(caller, known);
  }

  /** These sessions go on elsewhere, and are noted there. */
  forget(ids: readonly string[]): void {
    for (const id of ids) this.#noted.delete(id);
  }

  /** Notes again what would be forgotten soon, and tells the store of ends that it was not told of. Never rejects. */
  beat(now: number): void {
    if (now >= this.#tellAt) {
      const untold = this.#untold;
      this.#untold = new Map();
      this.#tellAt = Infinity;
      for (const [caller, ids] of untold) this.#unseat(caller, ids);
    }
    for (const [id, noted] of this.#noted) {
      if (now - noted.at < RENEW_MS) continue;
      noted.at = now;
      this.#seat(noted.caller, id);
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

  /** Ends a session that waits for its client, if there is one: whoever is one too many takes its seat. */
  #giveUpOne(caller: string): boolean {
    const orphan = this.#parts.index.oldestOrphan({ caller });
    orphan?.close("made_room");
    return orphan !== undefined;
  }

  /** How many sessions a caller has once those are forgotten that are gone: of dead instances, and of this one. */
  async #recount(caller: string, count: number): Promise<number> {
    const running = this.#recounts.get(caller);
    if (running !== undefined) {
      await running;
      return this.#parts.store.seatsOf(caller).then(
        ({ size }) => size,
        () => count,
      );
    }
    if (this.#healed.has(caller)) return count;
    this.#healed.set(caller, true);
    const recount = this.#heal(caller).finally(() => this.#recounts.delete(caller));
    this.#recounts.set(caller, recount);
    return (await recount) ?? count;
  }

  async #heal(caller: string): Promise<number | undefined> {
    const { store, index, instanceId } = this.#parts;
    try {
      const seats = await store.seatsOf(caller);
      const others = [...new Set(seats.values())]
        .filter((owner) => owner !== instanceId)
        .slice(0, MAX_OWNERS);
      const leases = await Promise.all(others.map((owner) => store.getLease(owner)));
      const dead = new Set(others.filter((_, at) => leases[at] === undefined));
      const isGone = ([id, owner]: [string, string]) =>
        dead.has(owner) || (owner === instanceId && index.find(id) === undefined && !this.#noted.has(id));
      const gone = [...seats].filter(isGone).map(([id]) => id);
      if (gone.length > 0) await store.unseat(caller, gone);
      return seats.size - gone.length;
    } catch {
      return undefined;
    }
  }

  #seat(caller: string, id: string): void {
    const { store, instanceId } = this.#parts;
    // Nobody else can see into this process.
    if (store.kind === "memory") return;
    this.#fly(store.seat(caller, id, instanceId, INDEX_SECONDS).catch(() => this.#postpone(id)));
  }

  /** What could not be told is told again: a seat that nobody holds would keep the caller out. */
  #unseat(caller: string, ids: readonly string[]): void {
    const untold = (): void => {
      const all = [...(this.#untold.get(caller) ?? []), ...ids].slice(-MAX_UNTOLD);
      if (this.#untold.size < MAX_UNTOLD || this.#untold.has(caller)) this.#untold.set(caller, all);
      this.#tellAt = Math.min(this.#tellAt, this.#parts.now() + RETRY_MS);
    };
    const { store } = this.#parts;
    if (store.kind !== "memory") this.#fly(store.unseat(caller, ids).catch(untold));
  }

  #postpone(id: string): undefined {
    const noted = this.#noted.get(id);
    if (noted !== undefined) noted.at = this.#parts.now() - RENEW_MS + RETRY_MS;
  }

  #fly(work: Promise<unknown>): void {
    const flight: Promise<unknown> = work.catch(() => undefined).finally(() => this.#flights.delete(flight));
    this.#flights.add(flight);
  }
}
