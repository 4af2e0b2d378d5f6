import type { Peer, RelaySlot } from "../relay/relay.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";
import type { Errand } from "./carrier.ts";
import type { Claims } from "./claims.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Whereabouts } from "./whereabouts.ts";

export interface SearchParts {
  sessions: Sessions;
  store: SessionStore;
  whereabouts: Whereabouts;
  claims: Claims;
  relay: RelaySlot;
  /** Monotonic time in ms. */
  now: () => number;
}

/** Where a returning client's session is: here, or with another instance, whose stream this one shall carry. */
export type Found = { session: Session; after?: number } | Errand;

/** What an instance has of a client. */
export type Sought = {
  delivery: "delivered";
  /** Ids of its sessions without a stream. */
  orphans: string[];
  /** Ids of those whose stream has been there for a while. */
  held: string[];
  /** How many have a stream that was attached just now. */
  fresh: number;
};

/** How many sessions of one client are looked at, the newest first. */
const MAX_LOOKED_AT = 20;
/** A stream that was attached more recently than this is not taken over on a guess: two clients would take turns. */
const SETTLED_MS = 10_000;
/** A stream that another instance carries may have died with it. */
const CARRIED_SETTLED_MS = 1000;
/** The instance that is asked may have to ask a third one. */
const SEEK_MS = 4000;

/**
 * Looks for a client's session on all instances. `claimed`: another instance was faster to claim it, so it is worth
 * another look; `fresh`: it has a stream that was attached just now; `later`: its owner is about to let go of it.
 */
export class Search {
  readonly #parts: SearchParts;

  constructor(parts: SearchParts) {
    this.#parts = parts;
  }

  /** The session of this id, if it is this caller's and of this transport. Rejects with `store_unavailable`. */
  async byId(
    id: string,
    caller: string,
    transport: SessionRecord["transport"],
  ): Promise<Found | "claimed" | "later" | undefined> {
    const { sessions, whereabouts, claims } = this.#parts;
    const relay = this.#parts.relay.current;
    await claims.settled();
    const here = sessions.find(id);
    if (here !== undefined)
      return here.caller === caller && here.transport === transport ? { session: here } : undefined;
    whereabouts.forget(id);
    const place = await whereabouts.find(id);
    if (place === undefined && claims.isUncertain(id, caller)) return "later";
    if (place === undefined || place.record.caller !== caller) return undefined;
    if (place.record.transport !== transport) return undefined;
    if (place.owner === undefined) return this.#claim(place.record);
    if (place.owner.state === "draining") return "later";
    if (relay === undefined || place.owner.relay === undefined) return undefined;
    const owner = { instanceId: place.owner.id, address: place.owner.relay };
    const outcome = await relay.send(owner, { kind: "hello", head: {}, bodies: [] }, SEEK_MS);
    if (outcome.kind === "answered") return { sessionId: id, owner };
    if (outcome.kind !== "dead") return undefined;
    return (await this.#isLeaving(owner)) ? "later" : this.#claim(place.record);
  }

  /** Orphans of living instances come first, since they have lost nothing; then what dead ones left. */
  async byClient(visitor: Visitor): Promise<Found | "claimed" | "fresh" | "later" | undefined> {
    const { sessions, store, claims } = this.#parts;
    const mark = sessions.index.fingerprintOf(visitor);
    const trace = await store.trace(mark);
    if (trace?.sessions.some((id) => claims.isUncertain(id, visitor.caller)) === true) return "later";
    // A session that is being claimed for a message is in the store already, and not yet here.
    await claims.settled();
    const mine = await this.seek(mark);
    const orphans: Found[] = mine.orphans.flatMap((id) => this.#foundHere(sessions.find(id)) ?? []);
    let { fresh } = mine;
    const held: Found[] = mine.held.flatMap((id) => this.#foundHere(sessions.find(id)) ?? []);
    const { left, owners, leaving } = await this.#readRecords(trace?.sessions ?? [], visitor.caller);
    for (const { owner, records } of owners.values()) {
      const answer = await this.#ask(owner, mark);
      if (answer === "dead" && (await this.#isLeaving(owner))) leaving.push(...records);
      else if (answer === "dead") left.push(...records);
      else if (typeof answer === "object") {
        orphans.push(...answer.orphans.map((sessionId) => ({ sessionId, owner })));
        held.push(...answer.held.map((sessionId) => ({ sessionId, owner })));
        fresh += answer.fresh;
      }
    }
    const all = orphans.length + left.length + held.length + fresh + leaving.length;
    // Of several clients behind one address another may be the one that comes back.
    if (visitor.clientId === undefined && all > 1) return undefined;
    if (orphans.length + left.length > 0) {
      const orphan = onlyOne([...orphans, ...left.filter(({ released }) => released === true)]);
      const one = orphan ?? (orphans.length === 0 ? onlyOne(left) : undefined);
      if (one === undefined) return undefined;
      return "v" in one ? await this.#claim(one) : one;
    }
    if (leaving.length > 0) return "later";
    // The old socket only looks alive. On a guess by program and address it could be somebody else's.
    if (visitor.clientId === undefined) return undefined;
    return onlyOne(held) ?? (held.length === 0 && fresh === 1 ? "fresh" : undefined);
  }

  /** Records of these sessions: those that nobody owns, those whose owners are about to let go, and others by owner. */
  async #readRecords(ids: readonly string[], caller: string) {
    const { sessions, whereabouts } = this.#parts;
    const left: SessionRecord[] = [];
    const leaving: SessionRecord[] = [];
    const owners = new Map<string, { owner: Peer; records: SessionRecord[] }>();
    const elsewhere = ids.filter((id) => sessions.find(id) === undefined).slice(0, MAX_LOOKED_AT);
    for (const id of elsewhere) whereabouts.forget(id);
    const places = await Promise.all(elsewhere.map((id) => whereabouts.find(id)));
    for (const place of places) {
      if (place === undefined || place.record.caller !== caller) continue;
      const { record, owner } = place;
      if (owner === undefined) left.push(record);
      else if (owner.state === "draining") leaving.push(record);
      else if (owner.relay !== undefined) {
        const known = owners.get(owner.id);
        if (known !== undefined) known.records.push(record);
        else
          owners.set(owner.id, { owner: { instanceId: owner.id, address: owner.relay }, records: [record] });
      }
    }
    return { left, owners, leaving };
  }

  /** Who goes down has closed its door before it lets go of its sessions, and is not dead. */
  async #isLeaving({ instanceId }: Peer): Promise<boolean> {
    return (await this.#parts.store.getLease(instanceId))?.state === "draining";
  }

  async #ask(owner: Peer, mark: string): Promise<Sought | "dead" | undefined> {
    const relay = this.#parts.relay.current;
    const outcome = await relay?.send(owner, { kind: "seek", head: { client: mark }, bodies: [] }, SEEK_MS);
    if (outcome?.kind === "dead") return "dead";
    if (outcome?.kind !== "answered" || outcome.answer["delivery"] !== "delivered") return undefined;
    return outcome.answer as unknown as Sought;
  }

  /** Answers another instance that looks for a client's session. */
  async seek(mark: string): Promise<Sought> {
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

  /** Claims what nobody owns. `claimed`: another instance was faster, so it is to be looked for again. */
  async #claim(record: SessionRecord): Promise<Found | "claimed"> {
    const session = await this.#parts.claims.claim(record);
    return session === undefined ? "claimed" : { session };
  }

  #foundHere(session: Session | undefined): { session: Session } | undefined {
    return session && { session };
  }
}

/** The one of them, if there is exactly one. */
export function onlyOne<T>(candidates: readonly T[]): T | undefined {
  return candidates.length === 1 ? candidates[0] : undefined;
}
