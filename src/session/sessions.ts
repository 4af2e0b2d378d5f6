import { randomUUID } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Visitor } from "./fingerprint.ts";
import { handOver } from "./hand-over.ts";
import type { Told } from "./handshake.ts";
import { InstanceLease } from "./instance-lease.ts";
import { Journals } from "./journal.ts";
import { Records } from "./records.ts";
import { Repeatable } from "./repeatable.ts";
import { SessionIndex } from "./session-index.ts";
import type { Inheritance, SessionEnd, SessionLimits } from "./session-parts.ts";
import { Session } from "./session.ts";
import { Traces } from "./traces.ts";
import { Trust } from "./trust.ts";

export interface SessionsParts {
  instanceId: string;
  store: SessionStore;
  upstream: Upstream;
  /** Sessions that this instance holds at most. */
  maxSessions: number;
  /** Sessions that one caller has on this instance at most. */
  maxSessionsPerCaller: number;
  limits: SessionLimits;
  ttlSeconds: number;
  extend: "late" | "always";
  /** `store`: what was accepted outlives this instance, whatever happens to it. */
  durability: "off" | "store";
  /** How long a client should wait before it reconnects, in ms. */
  retryMs: () => number;
  log: Log;
  /** Monotonic time in ms; a test has its own. */
  now?: () => number;
}

/** Over how long sessions are handed over, at most, in ms. */
const MAX_SPREAD_MS = 3000;

/** This instance's sessions: opens and finds them, keeps their records and streams alive, ends them or hands them over. */
export class Sessions {
  readonly index: SessionIndex;
  /** What is known of clients that may come back. */
  readonly traces: Traces;
  readonly #parts: SessionsParts;
  readonly #now: () => number;
  readonly #leaving = new Set<Promise<void>>();
  readonly #records: Records;
  readonly #lease: InstanceLease;
  readonly #trust: Trust;
  readonly #journals: Journals;
  readonly #repeatable = new Repeatable();
  #isDraining = false;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
    this.index = new SessionIndex(parts.upstream.name);
    this.traces = new Traces({ ...parts, now: this.#now });
    this.#lease = new InstanceLease(parts.store, parts.instanceId, parts.log);
    this.#journals = new Journals(parts);
    this.#records = new Records({
      ...parts,
      now: this.#now,
      onVanished: () => this.#lease.rewrite(this.#now()),
      onConflict: (id) => this.index.find(id)?.close("owner_conflict"),
    });
    this.#trust = new Trust({ lease: this.#lease, records: this.#records, now: this.#now });
  }

  /** How many sessions are open here. */
  get count(): number {
    return this.index.size;
  }

  /** Requests in flight, of all sessions. */
  get inFlight(): number {
    let sum = 0;
    for (const session of this.index) sum += session.inFlight;
    return sum;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Whether what this instance leaves can be taken up by another. */
  get handsOver(): boolean {
    return this.#parts.store.kind !== "memory";
  }

  /** The open session with this id, if it is here. */
  find(id: string): Session | undefined {
    return this.index.find(id);
  }

  /**
   * Opens a session. Throws `draining`, `overloaded` or `too_many_sessions`. A client that comes back may go beyond the
   * limits, since a refusal would end it for good, but not twice as far; `told` is what its server must be told then.
   */
  open(
    visitor: Visitor,
    { isReturning = false, told }: { isReturning?: boolean; told?: Told } = {},
  ): Session {
    if (this.#isDraining) throw new GatewayError("draining");
    this.#makeRoom(visitor.caller, isReturning ? 2 : 1);
    const { caller, userAgent, address } = visitor;
    const id = randomUUID();
    const session = this.#create(id, 1, visitor, told);
    this.#records.add({
      v: 1,
      id,
      owner: this.#parts.instanceId,
      epoch: 1,
      caller,
      server: this.#parts.upstream.name,
      transport: "sse",
      createdAt: new Date().toISOString(),
      client: {
        userAgent,
        address,
        ...(visitor.clientId === undefined ? {} : { clientId: visitor.clientId }),
      },
      ...told,
    });
    if (told !== undefined) this.traces.note(session, this.index.fingerprintOf(session), told);
    this.#parts.log.info({ event: "session_opened", session: id, caller, address }, "session opened");
    return session;
  }

  /** Goes on with a session that this instance has claimed: `record` is what the store holds now. */
  resume(record: SessionRecord, inheritance: Inheritance): Session {
    const { id, epoch, caller, client, initialize, logLevel, subscriptions } = record;
    const told: Told = {
      ...(initialize === undefined ? {} : { initialize }),
      ...(logLevel === undefined ? {} : { logLevel }),
      ...(subscriptions === undefined ? {} : { subscriptions }),
    };
    const visitor: Visitor = { caller, clientId: undefined, ...client };
    this.#records.takeOver(record);
    const session = this.#create(id, epoch, visitor, told);
    this.traces.note(session, this.index.fingerprintOf(session), told);
    session.inherit(inheritance);
    const { messages, unanswered } = inheritance;
    const left = { messages: messages.length, unanswered: unanswered.length };
    this.#parts.log.info(
      { event: "session_claimed", session: id, caller, epoch, ...left },
      "session claimed",
    );
    return session;
  }

  /**
   * Gives the stream of a fresh session, which turned out to be a returning client's, to the session that it means.
   * Both ids name that session from now on.
   */
  merge(fresh: Session, into: Session): void {
    const stream = fresh.retire();
    this.index.remove(fresh);
    this.index.alias(into, fresh.id);
    // Whoever claims it by this id must be able to introduce the client as well.
    this.#records.update(fresh.id, into.told);
    if (stream !== undefined) into.attach(stream);
  }

  /** Does what is due on every session, then on the records and the lease. To be called about once a second. Never rejects. */
  async beat(now = this.#now()): Promise<void> {
    // Before the clock of the beat goes on: a process that slept learns what became of its sessions first.
    if (this.mustVerify) await this.verify();
    this.#trust.beat(now);
    const due: string[] = [];
    for (const session of this.index) {
      if (!session.beat(now)) continue;
      const ids = [session.id, ...this.index.aliasesOf(session)];
      due.push(...ids.filter((id) => this.#records.isDue(id, now)));
    }
    await Promise.all([
      this.#records.extend(due),
      this.#records.flush(),
      this.#lease.beat(now),
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

  /** Tells the others how to reach this instance. */
  advertise(relay: string): void {
    this.#lease.advertise(relay);
  }

  /** Tells the other instances that this one goes down, lest they take its closed door for death. Never rejects. */
  announceDrain(): Promise<void> {
    return this.#lease.drain();
  }

  /**
   * From now on nothing new is taken. Sessions that can outlive this instance are handed over, each at its first quiet
   * moment. Resolves when that is done and no request is in flight, or `signal` says that time is up and it is done.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { store, limits, log } = this.#parts;
    const parts = {
      store,
      records: this.#records,
      journals: this.#journals,
      index: this.index,
      ttlMs: limits.orphanMs,
      log,
      signal,
    };
    // A claim that was under way adds one more after the first look.
    for (let look = 0; look < 2 && this.handsOver; look += 1) {
      const durable = [...this.index].filter((session) => session.isDurable);
      // Clients that all came back at once would be a storm of their own.
      const spreadMs = Math.min(MAX_SPREAD_MS, durable.length * 5);
      await Promise.all(durable.map((session) => handOver(session, { ...parts, spreadMs })));
    }
    while (this.inFlight > 0 && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends every session, removes its record, and gives the lease back. Resolves when nothing of them is left. */
  async close(retryMs: () => number): Promise<void> {
    this.#isDraining = true;
    for (const session of this.index) session.close("draining", retryMs());
    await Promise.all(this.#leaving);
    await Promise.all([this.#records.flush(), this.#journals.flush(), this.traces.flush()]);
    await this.#lease.release();
  }

  /** At a limit, sessions that wait for their clients are given up first. A client that comes back may go beyond it by `factor`. */
  #makeRoom(caller: string, factor: number): void {
    const { maxSessions, maxSessionsPerCaller } = this.#parts;
    if (this.index.countOf(caller) >= maxSessionsPerCaller)
      this.index.oldestOrphan({ caller })?.close("made_room");
    if (this.count >= maxSessions) this.index.oldestOrphan()?.close("made_room");
    if (this.count >= maxSessions * factor) throw new GatewayError("overloaded");
    if (this.index.countOf(caller) >= maxSessionsPerCaller * factor)
      throw new GatewayError("too_many_sessions");
  }

  #create(id: string, epoch: number, visitor: Visitor, told: Told | undefined): Session {
    const { upstream, limits, log, retryMs, durability } = this.#parts;
    const session = new Session({
      id,
      epoch,
      caller: visitor.caller,
      upstream,
      limits,
      ...(told === undefined ? {} : { told }),
      repeatable: this.#repeatable,
      journal: durability === "store" ? this.#journals.open(id, epoch) : undefined,
      log,
      now: this.#now,
      retryMs,
      makeRoom: () => this.index.oldestOrphan({ except: id })?.close("made_room"),
      onTold: (one, news) => {
        // What an earlier conversation told is not in the news, and must not stay in the record.
        this.#records.update(id, { logLevel: undefined, subscriptions: undefined, ...news });
        this.traces.note(one, this.index.fingerprintOf(one), news);
      },
      onEnd: (ended, end, left) => this.#ended(ended, end, left),
    });
    this.index.add(session, visitor);
    return session;
  }

  #ended(session: Session, end: SessionEnd, left: Promise<void>): void {
    // What another instance owns, perhaps, is not ours to forget.
    if (end !== "released" && end !== "owner_conflict" && !this.mustVerify)
      this.traces.forget(session, this.index.fingerprintOf(session));
    for (const id of this.index.remove(session)) this.#records.forget(id);
    this.#records.forget(session.id);
    const { log } = this.#parts;
    log.info({ event: "session_closed", session: session.id, caller: session.caller, end }, "session closed");
    const leaving = left
      .catch((error: unknown) => log.error({ err: error, session: session.id }, "link did not close"))
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }
}
