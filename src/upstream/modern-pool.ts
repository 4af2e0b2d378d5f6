import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Identity } from "./modern-identity.ts";
import type { Parked, Waiting } from "./modern-parked.ts";
import { type Introduction, ModernSession } from "./modern-session.ts";
import type { Upstream } from "./upstream.ts";

export interface PoolOptions {
  direct: Upstream;
  /** Calls that wait for their clients, each on its link. */
  parked: Pick<Parked<Waiting & { readonly session: ModernSession }>, "giveUp">;
  /** How many links there may be, idle ones included. One caller may hold half of them, at least one. */
  maxLinks: number;
  /** A link that was idle for so long is closed, in ms. 0 means never. */
  idleMs: number;
  /** How long a server may take to be started and initialised, in ms. */
  startMs: number;
  log: Log;
}

/** Initialised links for requests that know no `initialize`. Each is used by one request at a time. */
export class ModernPool {
  readonly #options: PoolOptions;
  readonly #sessions = new Set<ModernSession>();
  /** The one used last comes last, and is used next: what a server keeps for a session is then most likely there. */
  readonly #idle = new Map<ModernSession, NodeJS.Timeout | undefined>();
  #isClosed = false;

  /** What the server last said of itself. */
  introduction: Introduction | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /**
   * A link that is this caller's until it is given back or dropped. Rejects with `upstream_queue_full` when all are in
   * use, or all that one caller may have.
   */
  async take(identity: Identity, signal: AbortSignal): Promise<ModernSession> {
    if (this.#isClosed) throw new GatewayError("upstream_start_failed");
    const idle = [...this.#idle.keys()].findLast(({ key }) => key === identity.key);
    if (idle !== undefined) {
      clearTimeout(this.#idle.get(idle));
      this.#idle.delete(idle);
      return idle;
    }
    return this.#open(identity, signal, this.#makeRoom(identity.caller));
  }

  /** The link is free for the next. */
  give(session: ModernSession): void {
    session.listener = undefined;
    if (!this.#sessions.has(session) || !session.isLive) return;
    session.resume();
    const { idleMs } = this.#options;
    const timer = idleMs > 0 ? setTimeout(() => void this.drop(session), idleMs).unref() : undefined;
    this.#idle.set(session, timer);
  }

  /** The link must not be used again: what was asked on it may still be at work. */
  async drop(session: ModernSession): Promise<void> {
    this.#forget(session);
    await session.close().catch((err: unknown) => this.#options.log.warn({ err }, "a link failed to close"));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#sessions].map((session) => this.drop(session)));
  }

  /** Undefined when there is room for another link of a caller. Else it resolves when a link was closed for it. */
  #makeRoom(caller: string): Promise<void> | undefined {
    const { maxLinks, parked } = this.#options;
    const held = new Map<string, number>();
    for (const session of this.#sessions) held.set(session.caller, (held.get(session.caller) ?? 0) + 1);
    const heldBy = (one: string): number => held.get(one) ?? 0;
    const isShareFull = heldBy(caller) >= Math.max(1, Math.floor(maxLinks / 2));
    if (!isShareFull && this.#sessions.size < maxLinks) return undefined;
    const idle = [...this.#idle.keys()].find((session) => !isShareFull || session.caller === caller);
    if (idle !== undefined) return this.drop(idle);
    const room = parked.giveUp(({ session }) => {
      if (!this.#sessions.has(session)) return 0;
      if (session.caller === caller) return Infinity;
      // Who has more than this caller makes room, lest a few that leave their calls waiting shut out all others.
      return isShareFull ? 0 : heldBy(session.caller) - heldBy(caller);
    });
    if (room === undefined) throw new GatewayError("upstream_queue_full");
    return room;
  }

  /** @param room resolves when there is room for another link. */
  async #open(identity: Identity, signal: AbortSignal, room?: Promise<void>): Promise<ModernSession> {
    const { direct, startMs, log } = this.#options;
    const session: ModernSession = new ModernSession(identity, () => this.#forget(session));
    this.#sessions.add(session);
    try {
      await room;
      await session.begin(direct, identity, AbortSignal.any([signal, AbortSignal.timeout(startMs)]));
    } catch (error) {
      this.#forget(session);
      signal.throwIfAborted();
      if (error instanceof GatewayError && error.reason !== "upstream_exited") throw error;
      log.warn({ err: error }, "The server could not be initialised");
      throw new GatewayError("upstream_start_failed", { cause: error });
    }
    if (!this.#sessions.has(session)) {
      await session.close();
      throw new GatewayError("upstream_start_failed");
    }
    this.introduction = session.introduction;
    return session;
  }

  #forget(session: ModernSession): void {
    clearTimeout(this.#idle.get(session));
    this.#idle.delete(session);
    this.#sessions.delete(session);
  }
}
