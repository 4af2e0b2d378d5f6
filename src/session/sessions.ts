import { randomUUID } from "node:crypto";
import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { SessionStore } from "../session-store/session-store.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { InstanceLease } from "./instance-lease.ts";
import { Records } from "./records.ts";
import { Session, type SessionEnd, type SessionLimits } from "./session.ts";

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
  log: Log;
  /** Monotonic time in ms; a test has its own. */
  now?: () => number;
}

/** Who opens a session, and from where. */
export interface Opener {
  /** The caller's name. */
  caller: string;
  userAgent: string;
  address: string;
}

/** An `initialize` larger than this is not recorded: records are small. */
const MAX_INITIALIZE_BYTES = 8192;

/** This instance's sessions: opens and finds them, keeps their records and streams alive, ends them. */
export class Sessions {
  readonly #parts: SessionsParts;
  readonly #now: () => number;
  readonly #open = new Map<string, Session>();
  readonly #perCaller = new Map<string, number>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #records: Records;
  readonly #lease: InstanceLease;
  #isDraining = false;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => performance.now());
    this.#lease = new InstanceLease(parts.store, parts.instanceId, parts.log);
    this.#records = new Records({
      ...parts,
      now: this.#now,
      onVanished: () => this.#lease.rewrite(this.#now()),
      onConflict: (id) => this.#open.get(id)?.close("owner_conflict"),
    });
  }

  /** How many sessions are open here. */
  get count(): number {
    return this.#open.size;
  }

  /** Requests in flight, of all sessions. */
  get inFlight(): number {
    let sum = 0;
    for (const session of this.#open.values()) sum += session.inFlight;
    return sum;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** The open session with this id, if it is here. */
  find(id: string): Session | undefined {
    return this.#open.get(id);
  }

  /** Opens a session. Throws `draining`, `overloaded` or `too_many_sessions`. */
  open({ caller, userAgent, address }: Opener): Session {
    const ofCaller = this.#perCaller.get(caller) ?? 0;
    if (this.#isDraining) throw new GatewayError("draining");
    if (this.#open.size >= this.#parts.maxSessions) throw new GatewayError("overloaded");
    if (ofCaller >= this.#parts.maxSessionsPerCaller) throw new GatewayError("too_many_sessions");
    const { upstream, limits, log, instanceId } = this.#parts;
    const session = new Session({
      id: randomUUID(),
      caller,
      upstream,
      limits,
      log,
      now: this.#now,
      onInitialize: (opened, params) => this.#recordInitialize(opened, params),
      onEnd: (ended, end, left) => this.#ended(ended, end, left),
    });
    this.#open.set(session.id, session);
    this.#perCaller.set(caller, ofCaller + 1);
    this.#records.add({
      v: 1,
      id: session.id,
      owner: instanceId,
      epoch: 1,
      caller,
      server: upstream.name,
      transport: "sse",
      createdAt: new Date().toISOString(),
      client: { userAgent, address },
    });
    log.info({ event: "session_opened", session: session.id, caller, address }, "session opened");
    return session;
  }

  /** Does what is due on every session, then on the records and the lease. To be called about once a second. Never rejects. */
  async beat(): Promise<void> {
    const now = this.#now();
    const due: string[] = [];
    for (const session of this.#open.values()) {
      if (session.beat(now) && this.#records.isDue(session.id, now)) due.push(session.id);
    }
    await Promise.all([this.#records.extend(due), this.#records.flush(), this.#lease.beat(now)]);
  }

  /** From now on nothing new is taken. Resolves when no request is in flight or `signal` says that time is up. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    await this.#lease.drain();
    while (this.inFlight > 0 && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends every session, removes its record, and gives the lease back. Resolves when nothing of them is left. */
  async close(retryMs: () => number): Promise<void> {
    this.#isDraining = true;
    for (const session of this.#open.values()) session.close("draining", retryMs());
    await Promise.all(this.#leaving);
    await this.#records.flush();
    await this.#lease.release();
  }

  #recordInitialize(session: Session, params: Buffer): void {
    if (params.length === 0 || params.length > MAX_INITIALIZE_BYTES) return;
    this.#records.update(session.id, { initialize: JSON.parse(params.toString()) as unknown });
  }

  #ended(session: Session, end: SessionEnd, left: Promise<void>): void {
    this.#open.delete(session.id);
    const others = (this.#perCaller.get(session.caller) ?? 1) - 1;
    if (others === 0) this.#perCaller.delete(session.caller);
    else this.#perCaller.set(session.caller, others);
    this.#records.forget(session.id);
    const { log } = this.#parts;
    log.info({ event: "session_closed", session: session.id, caller: session.caller, end }, "session closed");
    const leaving = left
      .catch((error: unknown) => log.error({ err: error, session: session.id }, "link did not close"))
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }
}
