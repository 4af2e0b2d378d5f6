import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Identity } from "./modern-identity.ts";
import { type Introduction, ModernSession } from "./modern-session.ts";
import type { Upstream } from "./upstream.ts";

export interface PoolOptions {
  direct: Upstream;
  /** How many links there may be, idle ones included. */
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

  /** A link that is this caller's until it is given back or dropped. Rejects with `upstream_queue_full` when all are in use. */
  async take(identity: Identity, signal: AbortSignal): Promise<ModernSession> {
    if (this.#isClosed) throw new GatewayError("upstream_start_failed");
    const idle = [...this.#idle.keys()].findLast(({ key }) => key === identity.key);
    if (idle !== undefined) {
      clearTimeout(this.#idle.get(idle));
      this.#idle.delete(idle);
      return idle;
    }
    if (this.#sessions.size >= this.#options.maxLinks) {
      const [oldest] = this.#idle.keys();
      if (oldest === undefined) throw new GatewayError("upstream_queue_full");
      return this.#open(identity, signal, this.drop(oldest));
    }
    return this.#open(identity, signal);
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

  /** @param room resolves when there is room for another link. */
  async #open(identity: Identity, signal: AbortSignal, room?: Promise<void>): Promise<ModernSession> {
    const { direct, startMs, log } = this.#options;
    const session: ModernSession = new ModernSession(identity.key, () => this.#forget(session));
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
