import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { META } from "../protocol/modern-terms.ts";
import type { RelaySlot, RelayAnswer } from "../relay/relay.ts";
import type { SessionStore } from "../session-store/session-store.ts";
import type { Claims } from "./claims.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Told } from "./handshake.ts";
import { onlyOne, Search, type Found } from "./search.ts";
import type { Reply } from "./session-parts.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Whereabouts } from "./whereabouts.ts";

export interface ReceptionParts {
  sessions: Sessions;
  store: SessionStore;
  whereabouts: Whereabouts;
  claims: Claims;
  relay: RelaySlot;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
}

/** What a request for a stream says of an earlier one. */
export interface Return {
  /** The event that the client had last, when it says so. */
  last: { sessionId: string; sequence: number } | undefined;
  /** The version that the client has negotiated, when it says so: only a client that was initialized can. */
  protocolVersion: string | undefined;
}

/** How often a session that another instance has just claimed is looked for. */
const MAX_LOOKS = 4;
/** But its end may be on its way: so long, in steps, it is waited for. */
const NEWS_MS = 2000;
const NEWS_STEP_MS = 100;
/** Methods that a client may send before it is initialized. */
const FIRST_METHODS = new Set(["initialize", "ping", "server/discover"]);
/** Where a client of the 2026-07-28 era, which knows no `initialize`, names its version. */
const MODERN_MARK = `"${META.version}"`;

/** Tells returning clients from new ones, and finds the sessions that they had. */
export class Reception {
  readonly #parts: ReceptionParts;
  readonly #search: Search;

  constructor(parts: ReceptionParts) {
    this.#parts = parts;
    this.#search = new Search(parts);
  }

  /** Answers another instance that looks for a client's session. */
  seek(mark: string): Promise<RelayAnswer> {
    return this.#search.seek(mark);
  }

  /** The session of a client that comes back, when it is certain and here. */
  findHere(visitor: Visitor, { last, protocolVersion }: Return): Found | undefined {
    const { sessions } = this.#parts;
    const relay = this.#parts.relay.current;
    if (last !== undefined) {
      const session = sessions.find(last.sessionId);
      const isTheirs = session?.caller === visitor.caller && session.transport === "sse";
      if (isTheirs && !session.isLeaving) return { session, after: last.sequence };
      if (session === undefined) return undefined;
    }
    const isReturning = last !== undefined || protocolVersion !== undefined;
    if (!isReturning && visitor.clientId === undefined) return undefined;
    // Without a name of its own the client may be one of several, and another's orphan may wait on another instance.
    if (visitor.clientId === undefined && relay !== undefined) return undefined;
    const session = onlyOne(this.#orphansHere(visitor));
    // Of several clients behind one address another may be the one that comes back.
    const isAlone = visitor.clientId !== undefined || this.#countHere(visitor) === 1;
    return session && isAlone ? { session } : undefined;
  }

  /**
   * The session of a client that comes back, wherever it is; one whose owner is dead is claimed. Undefined when there
   * is none, or when it cannot be told which; `later` when its owner is about to let go of it. Never rejects.
   */
  async findAnywhere(visitor: Visitor, { last }: Return): Promise<Found | "later" | undefined> {
    try {
      const giveUpAt = this.#parts.now() + NEWS_MS;
      for (let look = 0; look < MAX_LOOKS; look += 1) {
        const byId = last && (await this.#search.byId(last.sessionId, visitor.caller, "sse"));
        if (typeof byId === "object") return { ...byId, after: (last as { sequence: number }).sequence };
        const found = byId ?? (await this.#search.byClient(visitor));
        if (found !== "claimed" && found !== "fresh") return found;
        if (found === "fresh") {
          if (this.#parts.now() > giveUpAt) return undefined;
          look = 0;
          await new Promise((resolve) => setTimeout(resolve, NEWS_STEP_MS));
        }
      }
      return undefined;
    } catch (error) {
      if (!(error instanceof GatewayError))
        this.#parts.log.error({ err: error }, "looking for a session failed");
      return undefined;
    }
  }

  /**
   * The Streamable session of this id, wherever it is; one whose owner is dead is claimed. Undefined when it cannot be
   * had now. Never rejects.
   */
  async findById(id: string, caller: string): Promise<Found | undefined> {
    try {
      for (let look = 0; look < MAX_LOOKS; look += 1) {
        const found = await this.#search.byId(id, caller, "streamable");
        if (found !== "claimed") return found === "later" ? undefined : found;
      }
    } catch (error) {
      if (!(error instanceof GatewayError))
        this.#parts.log.error({ err: error }, "looking for a session failed");
    }
    return undefined;
  }

  /** What a fresh link must be told for a client that was initialized before, as far as anybody knows. Never rejects. */
  async recall(visitor: Visitor, protocolVersion: string | undefined): Promise<Told | undefined> {
    const { sessions, store } = this.#parts;
    const mark = sessions.index.fingerprintOf(visitor);
    const here = sessions.traces.lastOf(mark);
    if (here !== undefined) return here;
    const trace = await store.trace(mark).catch(() => undefined);
    if (trace?.initialize !== undefined) return { initialize: trace.initialize };
    if (protocolVersion === undefined) return undefined;
    const clientInfo = { name: "unknown", version: "0" };
    return { initialize: { protocolVersion, capabilities: {}, clientInfo } };
  }

  /**
   * The session that a message is for, when it is the first on its session. A client that begins in the middle has
   * lost a session without saying so: its stream is given to that session, or its server is introduced to it anew.
   */
  async judgeFirst(session: Session, message: Buffer, envelope: Envelope): Promise<Session> {
    if (session.hasBegun || isBeginning(message, envelope)) return session;
    const { sessions } = this.#parts;
    const visitor = sessions.index.visitorOf(session);
    if (visitor === undefined) return session;
    const isAlone = visitor.clientId !== undefined || this.#countHere(visitor) === 2;
    const orphan =
      (isAlone ? onlyOne(this.#orphansHere(visitor)) : undefined) ?? (await this.#claimOnly(visitor));
    // Another message may have been first meanwhile.
    if (session.hasBegun || !session.isOpen) return sessions.find(session.id) ?? session;
    if (orphan?.isOpen === true) {
      sessions.merge(session, orphan);
      return orphan;
    }
    const told = await this.recall(visitor, undefined);
    if (told !== undefined && !session.hasBegun) session.introduce(told);
    return session;
  }

  /**
   * Gives a message to the session that it is for, which may turn out to be another. `caller` is undefined when the
   * session's token was shown. Rejects as `Session.deliver` does, and with `session_not_found` for another caller's.
   */
  async give(
    session: Session,
    caller: string | undefined,
    message: Buffer,
    envelope: Envelope,
    reply?: Reply,
  ): Promise<void> {
    if (caller !== undefined && caller !== session.caller) throw new GatewayError("session_not_found");
    const right = await this.judgeFirst(session, message, envelope);
    await right.deliver(message, envelope, reply);
  }

  #countHere(visitor: Visitor): number {
    const { index } = this.#parts.sessions;
    return [...index.ofClient(index.fingerprintOf(visitor))].length;
  }

  #orphansHere(visitor: Visitor): Session[] {
    const { index } = this.#parts.sessions;
    const ofClient = [...index.ofClient(index.fingerprintOf(visitor))];
    return ofClient.filter(
      (session) => session.orphanedAt !== undefined && session.isOpen && !session.isLeaving,
    );
  }

  async #claimOnly(visitor: Visitor): Promise<Session | undefined> {
    const found = await this.findAnywhere(visitor, { last: undefined, protocolVersion: undefined });
    return typeof found === "object" && "session" in found && found.session.orphanedAt !== undefined
      ? found.session
      : undefined;
  }
}

function isBeginning(message: Buffer, { method }: Envelope): boolean {
  return (method !== undefined && FIRST_METHODS.has(method)) || message.includes(MODERN_MARK);
}
