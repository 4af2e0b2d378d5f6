import { randomUUID } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { SessionRecord } from "../session-store/session-store.ts";
import type { Visitor } from "./fingerprint.ts";
import { closeAll } from "./close-sessions.ts";
import { handOverAll, untilQuiet } from "./hand-over.ts";
import { InstanceLease } from "./instance-lease.ts";
import { Journals } from "./journal.ts";
import { newRecord, toldOf, visitorOf } from "./new-record.ts";
import { Records } from "./records.ts";
import { Repeatables } from "./repeatable.ts";
import type { Creation, OpenOptions, SessionsParts } from "./sessions-parts.ts";
import { Seats } from "./seats.ts";
import { SessionIndex } from "./session-index.ts";
import { limitsByServer } from "./server-limits.ts";
import type { Inheritance, SessionEnd, SessionLimits } from "./session-parts.ts";
import { SessionNews } from "./session-news.ts";
import { Session } from "./session.ts";
import { Traces } from "./traces.ts";
import { Trust } from "./trust.ts";

/** This instance's sessions: opens and finds them, keeps their records and streams alive, ends them or hands them over. */
export class Sessions {
  readonly index: SessionIndex;
  /** Clients that may come back. */
  readonly traces: Traces;
  /** This instance's sign of life. */
  readonly lease: InstanceLease;
  readonly #parts: SessionsParts;
  readonly #now: () => number;
  readonly #leaving = new Set<Promise<void>>();
  readonly #news: SessionNews;
  readonly #seats: Seats;
  readonly #records: Records;
  readonly #trust: Trust;
  readonly #journals: Journals;
  readonly #repeatables = new Repeatables();
  readonly #limitsOf: (server: string) => SessionLimits;
  #isDraining = false;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
    const timed = { ...parts, now: this.#now };
    this.#limitsOf = limitsByServer(parts.limits, parts.servers);
    this.index = new SessionIndex();
    this.traces = new Traces(timed);
    this.#news = new SessionNews(parts);
    this.#seats = new Seats({ ...timed, index: this.index });
    this.lease = new InstanceLease(parts.store, parts.instanceId, parts.log, {
      onLook: () => this.#records.look(),
      onLost: () => void this.reassert(),
    });
    this.#journals = new Journals(parts);
    this.#records = new Records({
      ...timed,
      onVanished: () => this.lease.rewrite(this.#now()),
      onConflict: (id) => this.index.find(id)?.close("owner_conflict"),
      onEnding: (id) => this.index.find(id)?.close("operator"),
    });
    this.#trust = new Trust({ lease: this.lease, records: this.#records, now: this.#now });
  }

  /** How many sessions are open here. */
  get count(): number {
    return this.index.size;
  }

  /** Requests in flight, of all sessions. */
  get inFlight(): number {
    return [...this.index].reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Whether another instance can take up what this one leaves, while it goes down. */
  get handsOver(): boolean {
    return /^(redis|upstash)$/.test(this.#parts.store.kind);
  }

  /** The open session with this id, if it is here. */
  find(id: string): Session | undefined {
    return this.index.find(id);
  }

  /** Whether a session of this caller with this server can be here. */
  serves({ server, caller, key }: Pick<SessionRecord, "server" | "caller" | "key">): boolean {
    const { servers, mayUse } = this.#parts;
    return servers.upstreamFor(server, caller) !== undefined && (key === undefined || mayUse(key));
  }

  /** As `open`, for a caller whose sessions on all instances are within its limit. Rejects as `open` throws. */
  async admit(visitor: Visitor, options: OpenOptions = {}): Promise<Session> {
    if (this.#isDraining) throw new GatewayError("draining");
    const { caller } = visitor;
    const factor = options.isReturning === true ? 2 : 1;
    let id: string | undefined;
    try {
      this.#seats.makeRoom(caller, factor);
      id = await this.#seats.take(caller, factor);
      // Meanwhile the key may have been revoked, and what it had opened closed.
      if (visitor.key !== undefined && !this.#parts.mayUse(visitor.key))
        throw new GatewayError("api_key_invalid");
      const session = this.open(visitor, { ...options, id });
      // Its client may speak to another instance next, which must find it.
      if (this.handsOver) await this.#records.settled(id);
      return session;
    } catch (error) {
      if (id !== undefined) this.#seats.leave(caller, [id]);
      if (error instanceof GatewayError) this.#news.refused(visitor, error.reason);
      throw error;
    }
  }

  /**
   * Opens a session. Throws `draining`, `overloaded`, `too_many_sessions`, or `not_found` for a server that the caller
   * may not use. A client that comes back may go beyond the limits, since a refusal would end it for good, but not twice
   * as far; `told` is what its server must be told then.
   */
  open(
    visitor: Visitor,
    { isReturning = false, transport = "sse", told, id = randomUUID() }: OpenOptions = {},
  ) {
    if (this.#isDraining) throw new GatewayError("draining");
    this.#seats.makeRoom(visitor.caller, isReturning ? 2 : 1);
    const session = this.#create({ id, epoch: 1, visitor, transport, told });
    this.#seats.note(visitor.caller, id);
    this.#records.add(newRecord({ id, owner: this.#parts.instanceId, visitor, transport, told }));
    if (told !== undefined) this.#trace(session, told);
    this.#news.opened(id, visitor, transport);
    return session;
  }

  /** Goes on with a session that this instance has claimed: `record` is what the store holds now. */
  resume(record: SessionRecord, inheritance: Inheritance): Session {
    const told = toldOf(record);
    this.#records.takeOver(record);
    const { id, epoch, caller, transport } = record;
    const ageMs = Math.max(0, Date.now() - Date.parse(record.createdAt));
    const session = this.#create({ id, epoch, visitor: visitorOf(record), transport, told, ageMs });
    this.#seats.note(caller, id);
    this.#trace(session, told);
    session.inherit(inheritance);
    this.#news.claimed(record, inheritance);
    return session;
  }

  /** Ends the sessions with servers that are configured otherwise now, or not any more. */
  closeServers(names: readonly string[]): void {
    this.#repeatables.forget(names);
    closeAll(this.index, "server_changed", ({ server }) => names.includes(server), this.#parts.retryMs);
  }

  /** Its client came back with another key of the same caller: it ends with that one from now on. */
  showKey(session: Session, key: string | undefined): void {
    if (key === undefined || key === session.key) return;
    session.key = key;
    for (const id of [session.id, ...this.index.aliasesOf(session)]) this.#records.update(id, { key });
  }

  /** The store may have lost what it had: writes it again. Never rejects. */
  reassert(): Promise<void> {
    for (const part of [this.#seats, this.traces]) part.renew();
    return this.lease.rewrite(this.#now()).then(() => this.#records.reassert());
  }

  /**
   * Gives the stream of a fresh session, which turned out to be a returning client's, to the session that it means.
   * Both ids name that session from now on.
   */
  merge(fresh: Session, into: Session): void {
    const stream = fresh.retire();
    this.index.remove(fresh);
    this.index.alias(into, fresh.id);
    this.showKey(into, fresh.key);
    this.#seats.leave(fresh.caller, [fresh.id]);
    this.#news.merged(fresh);
    // Whoever claims it by this id must be able to introduce the client as well.
    this.#records.update(fresh.id, into.told);
    if (stream !== undefined) into.attach(stream);
  }

  /** Does what is due on every session, then on the records and the lease. To be called about once a second. Never rejects. */
  async beat(now = this.#now()): Promise<void> {
    // Before the clock of the beat goes on: a process that slept learns what became of its sessions first.
    if (this.mustVerify) await this.verify();
    this.#trust.beat(now);
    this.#seats.beat(now);
    const due: string[] = [];
    for (const session of this.index) {
      if (!session.beat(now)) continue;
      for (const id of [session.id, ...this.index.aliasesOf(session)])
        if (this.#records.isDue(id, now)) due.push(id);
    }
    await Promise.all([
      this.#records.extend(due),
      this.#records.flush(),
      this.lease.beat(now),
      this.traces.beat(this.index, now),
    ]);
  }

  /** Whether another instance may have claimed sessions of this one, so that `verify` must be asked before they are used. */
  get mustVerify(): boolean {
    return this.#trust.isDoubtful;
  }

  /** Lets go of sessions that others have claimed, when this instance may have been taken for dead. Never rejects. */
  verify(): Promise<void> {
    return this.#trust.verify();
  }

  /** Others could not reach this instance for a while. */
  distrustLease(): void {
    this.#trust.lose();
  }

  /**
   * From now on nothing new is taken. Sessions that can outlive this instance are handed over, each at its first quiet
   * moment. Resolves when that is done and no request is in flight, or `signal` says that time is up and it is done.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { store, log, limits } = this.#parts;
    const parts = { store, records: this.#records, journals: this.#journals, index: this.index, log, signal };
    // What is in a file the next process takes up.
    if (store.kind !== "memory") await handOverAll({ ...parts, ttlMs: limits.orphanMs });
    await untilQuiet(this, signal);
  }

  /** Ends every session, removes its record, and gives the lease back. Resolves when nothing of them is left. */
  async close(retryMs: () => number): Promise<void> {
    this.#isDraining = true;
    for (const session of this.index) session.close("draining", retryMs());
    await Promise.all(this.#leaving);
    for (const part of [this.#records, this.#journals, this.traces, this.#seats]) await part.flush();
    await this.lease.release();
  }

  #create({ id, epoch, visitor, transport, told, ageMs = 0 }: Creation): Session {
    const { servers, log, retryMs, durability, calls, events } = this.#parts;
    const upstream = servers.upstreamFor(visitor.server, visitor.caller);
    if (upstream === undefined) throw new GatewayError("not_found");
    const session = new Session({
      id,
      epoch,
      caller: visitor.caller,
      key: visitor.key,
      ageMs,
      server: visitor.server,
      transport,
      upstream,
      limits: this.#limitsOf(visitor.server),
      ...(told === undefined ? {} : { told }),
      repeatable: this.#repeatables.of(visitor.server),
      journal: durability === "store" ? this.#journals.open(id, epoch) : undefined,
      calls,
      events,
      log,
      now: this.#now,
      retryMs,
      makeRoom: () => this.index.oldestOrphan({ except: id })?.close("made_room"),
      onTold: (one, news) => {
        // What an earlier conversation told is not in the news, and must not stay in the record.
        this.#records.update(id, { logLevel: undefined, subscriptions: undefined, ...news });
        this.#trace(one, news);
      },
      onAdopted: (returned, isCarried) => this.#news.adopted(returned, isCarried, visitor.address),
      onEnd: (ended, end, left) => this.#ended(ended, end, left),
    });
    this.index.add(session, visitor);
    return session;
  }

  /** A client of Streamable HTTP names its session itself, and need not be recognised. */
  #trace(session: Session, told: Session["told"]): void {
    if (session.transport === "sse") this.traces.note(session, this.index.fingerprintOf(session), told);
  }

  #ended(session: Session, end: SessionEnd, left: Promise<void>): void {
    // What another instance owns, perhaps, is not ours to forget.
    if (end !== "released" && end !== "owner_conflict" && !this.mustVerify)
      this.traces.forget(session, this.index.fingerprintOf(session));
    const ids = [session.id, ...this.index.remove(session)];
    ids.forEach((id) => this.#records.forget(id));
    if (end === "released" || end === "owner_conflict") this.#seats.forget(ids);
    else this.#seats.leave(session.caller, ids);
    this.#news.ended(session, end, (this.#now() - session.openedAt) / 1000);
    const { log } = this.#parts;
    const leaving = left
      .catch((error: unknown) => log.error({ err: error, session: session.id }, "link did not close"))
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }
}
