import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import type { Peer, RelaySlot, RelayAnswer } from "../relay/relay.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";
import type { Errand } from "./carrier.ts";
import type { Claims } from "./claims.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Told } from "./handshake.ts";
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

/** Where a returning client's session is: here, or with another instance, whose stream this one shall carry. */
export type Found = { session: Session; after?: number } | Errand;

/** What an instance has of a client. */
interface Sought {
  /** Ids of its sessions without a stream. */
  orphans: string[];
  /** Ids of those whose stream has been there for a while. */
  held: string[];
  /** How many have a stream that was attached just now. */
  fresh: number;
}

/** How often a session that another instance has just claimed is looked for. */
const MAX_LOOKS = 4;
/** How many sessions of one client are looked at, the newest first. */
const MAX_LOOKED_AT = 20;
/** A stream that was attached more recently than this is not taken over on a guess: two clients would take turns. */
const SETTLED_MS = 10_000;
/** A stream that another instance carries may have died with it. */
const CARRIED_SETTLED_MS = 1000;
/** But its end may be on its way: so long, in steps, it is waited for. */
const NEWS_MS = 2000;
const NEWS_STEP_MS = 100;
/** The instance that is asked may have to ask a third one. */
const SEEK_MS = 4000;

/** Methods that a client may send before it is initialized. */
const FIRST_METHODS = new Set(["initialize", "ping", "server/discover"]);
/** Where a client of the 2026-07-28 era, which knows no `initialize`, names its version. */
const MODERN_MARK = '"io.modelcontextprotocol/protocolVersion"';

/** Tells returning clients from new ones, and finds the sessions that they had. */
export class Reception {
  readonly #parts: ReceptionParts;

  constructor(parts: ReceptionParts) {
    this.#parts = parts;
  }

  /** The session of a client that comes back, when it is certain and here. */
  findHere(visitor: Visitor, { last, protocolVersion }: Return): Found | undefined {
    const { sessions } = this.#parts;
    const relay = this.#parts.relay.current;
    if (last !== undefined) {
      const session = sessions.find(last.sessionId);
      if (session?.caller === visitor.caller && !session.isLeaving) return { session, after: last.sequence };
      if (session === undefined) return undefined;
    }
    const isReturning = last !== undefined || protocolVersion !== undefined;
    if (!isReturning && visitor.clientId === undefined) return undefined;
    // Without a name of its own the client may be one of several, and another's orphan may wait on another instance.
    if (visitor.clientId === undefined && relay !== undefined) return undefined;
    const session = only(this.#orphansHere(visitor));
    // Of several clients behind one address another may be the one that comes back.
    const isAlone = visitor.clientId !== undefined || this.#countHere(visitor) === 1;
    return session && isAlone ? { session } : undefined;
  }

  /**
   * The session of a client that comes back, wherever it is; one whose owner is dead is claimed. Undefined when there
   * is none, or when it cannot be told which. Never rejects.
   */
  async findAnywhere(visitor: Visitor, { last }: Return): Promise<Found | undefined> {
    try {
      const giveUpAt = this.#parts.now() + NEWS_MS;
      for (let look = 0; look < MAX_LOOKS; look += 1) {
        const byId = last && (await this.#findById(last.sessionId, visitor.caller));
        if (typeof byId === "object") return { ...byId, after: (last as { sequence: number }).sequence };
        const found = byId ?? (await this.#findByClient(visitor));
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
      (isAlone ? only(this.#orphansHere(visitor)) : undefined) ?? (await this.#claimOnly(visitor));
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

  /** Answers another instance that looks for a client's session. */
  async seek(mark: string): Promise<RelayAnswer> {
    const { sessions, claims, now } = this.#parts;
    await claims.settled();
    // A stream that another instance carries may have died with it.
    await Promise.all([...sessions.index.ofClient(mark)].map((session) => session.confirmStream()));
    const ofClient = [...sessions.index.ofClient(mark)].filter(
      (session) => session.isDurable && !session.isLeaving,
    );
    const isSettled = ({ streamSince, endsUnheard }: Session) =>
      now() - streamSince > (endsUnheard ? CARRIED_SETTLED_MS : SETTLED_MS);
    const held = ofClient.filter((session) => session.orphanedAt === undefined);
    return {
      delivery: "delivered",
      orphans: ofClient.filter((session) => session.orphanedAt !== undefined).map(({ id }) => id),
      held: held.filter(isSettled).map(({ id }) => id),
      fresh: held.filter((session) => !isSettled(session)).length,
    };
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

  async #findById(id: string, caller: string): Promise<Found | "claimed" | undefined> {
    const { sessions, whereabouts, claims } = this.#parts;
    const relay = this.#parts.relay.current;
    await claims.settled();
    const here = sessions.find(id);
    if (here !== undefined) return here.caller === caller ? { session: here } : undefined;
    whereabouts.forget(id);
    const place = await whereabouts.find(id);
    if (place === undefined || place.record.caller !== caller) return undefined;
    if (place.owner === undefined) return this.#claim(place.record);
    if (relay === undefined || place.owner.relay === undefined) return undefined;
    const owner = { instanceId: place.owner.id, address: place.owner.relay };
    const outcome = await relay.send(owner, { kind: "hello", head: {}, bodies: [] }, SEEK_MS);
    if (outcome.kind === "answered") return { sessionId: id, owner };
    return outcome.kind === "dead" ? this.#claim(place.record) : undefined;
  }

  /** Orphans of living instances come first, since they have lost nothing; then what dead ones left. */
  async #findByClient(visitor: Visitor): Promise<Found | "claimed" | "fresh" | undefined> {
    const { sessions, store, claims } = this.#parts;
    const mark = sessions.index.fingerprintOf(visitor);
    const trace = await store.trace(mark);
    // A session that is being claimed for a message is in the store already, and not yet here.
    await claims.settled();
    const mine = (await this.seek(mark)) as unknown as Sought;
    const orphans: Found[] = mine.orphans.flatMap((id) => this.#foundHere(sessions.find(id)) ?? []);
    let { fresh } = mine;
    const held: Found[] = mine.held.flatMap((id) => this.#foundHere(sessions.find(id)) ?? []);
    const { left, owners } = await this.#readRecords(trace?.sessions ?? [], visitor.caller);
    for (const { owner, records } of owners.values()) {
      const answer = await this.#ask(owner, mark);
      if (answer === "dead") left.push(...records);
      else if (answer !== undefined) {
        orphans.push(...answer.orphans.map((sessionId) => ({ sessionId, owner })));
        held.push(...answer.held.map((sessionId) => ({ sessionId, owner })));
        fresh += answer.fresh;
      }
    }
    const all = orphans.length + left.length + held.length + fresh;
    // Of several clients behind one address another may be the one that comes back.
    if (visitor.clientId === undefined && all > 1) return undefined;
    if (orphans.length + left.length > 0) {
      const orphan = only([...orphans, ...left.filter(({ released }) => released === true)]);
      const one = orphan ?? (orphans.length === 0 ? only(left) : undefined);
      if (one === undefined) return undefined;
      return "v" in one ? await this.#claim(one) : one;
    }
    // The old socket only looks alive. On a guess by program and address it could be somebody else's.
    if (visitor.clientId === undefined) return undefined;
    return only(held) ?? (held.length === 0 && fresh === 1 ? "fresh" : undefined);
  }

  /** Records of these sessions: those that nobody owns, and those of others by owner. */
  async #readRecords(ids: readonly string[], caller: string) {
    const { sessions, whereabouts } = this.#parts;
    const left: SessionRecord[] = [];
    const owners = new Map<string, { owner: Peer; records: SessionRecord[] }>();
    const elsewhere = ids.filter((id) => sessions.find(id) === undefined).slice(0, MAX_LOOKED_AT);
    for (const id of elsewhere) whereabouts.forget(id);
    const places = await Promise.all(elsewhere.map((id) => whereabouts.find(id)));
    for (const place of places) {
      if (place === undefined || place.record.caller !== caller) continue;
      const { record, owner } = place;
      if (owner === undefined) left.push(record);
      else if (owner.relay !== undefined) {
        const known = owners.get(owner.id);
        if (known !== undefined) known.records.push(record);
        else
          owners.set(owner.id, { owner: { instanceId: owner.id, address: owner.relay }, records: [record] });
      }
    }
    return { left, owners };
  }

  async #ask(owner: Peer, mark: string): Promise<Sought | "dead" | undefined> {
    const relay = this.#parts.relay.current;
    const outcome = await relay?.send(owner, { kind: "seek", head: { client: mark }, bodies: [] }, SEEK_MS);
    if (outcome?.kind === "dead") return "dead";
    if (outcome?.kind !== "answered" || outcome.answer["delivery"] !== "delivered") return undefined;
    return outcome.answer as unknown as Sought;
  }

  async #claimOnly(visitor: Visitor): Promise<Session | undefined> {
    const found = await this.findAnywhere(visitor, { last: undefined, protocolVersion: undefined });
    return found !== undefined && "session" in found && found.session.orphanedAt !== undefined
      ? found.session
      : undefined;
  }

  /** Claims what nobody owns. `claimed`: another instance was faster, so it is to be looked for again. */
  async #claim(record: SessionRecord): Promise<Found | "claimed"> {
    const session = await this.#parts.claims.claim(record);
    return session === undefined ? "claimed" : { session };
  }

  #foundHere(session: Session | undefined): { session: Session } | undefined {
    return session && { session };
  }
}

function only<T>(candidates: readonly T[]): T | undefined {
  return candidates.length === 1 ? candidates[0] : undefined;
}

function isBeginning(message: Buffer, { method }: Envelope): boolean {
  return (method !== undefined && FIRST_METHODS.has(method)) || message.includes(MODERN_MARK);
}
