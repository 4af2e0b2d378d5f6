import { fingerprint, type Visitor } from "./fingerprint.ts";
import type { Session } from "./session.ts";

/** One open session, and whose it is. */
interface Listed {
  session: Session;
  visitor: Visitor;
  fingerprint: string;
  /** Other ids that its client knows it by. */
  aliases: string[];
}

/** The open sessions of this instance, found by id, by client and by caller. */
export class SessionIndex {
  readonly #byId = new Map<string, Listed>();
  readonly #aliases = new Map<string, Listed>();
  readonly #byClient = new Map<string, Set<Session>>();
  readonly #perCaller = new Map<string, number>();

  get size(): number {
    return this.#byId.size;
  }

  *[Symbol.iterator](): Generator<Session> {
    for (const { session } of this.#byId.values()) yield session;
  }

  find(id: string): Session | undefined {
    return (this.#byId.get(id) ?? this.#aliases.get(id))?.session;
  }

  /** How many sessions a caller has here. */
  countOf(caller: string): number {
    return this.#perCaller.get(caller) ?? 0;
  }

  /** What the client of a session, or a visitor, is recognised by. */
  fingerprintOf(one: Session | Visitor): string {
    if ("id" in one) return this.#byId.get(one.id)?.fingerprint ?? "";
    return fingerprint(one);
  }

  visitorOf(session: Session): Visitor | undefined {
    return this.#byId.get(session.id)?.visitor;
  }

  /** The sessions of one client. */
  ofClient(mark: string): Iterable<Session> {
    return this.#byClient.get(mark) ?? [];
  }

  /** The session without a stream that has been so for longest, of one caller or of all. */
  oldestOrphan({ caller, except }: { caller?: string; except?: string } = {}): Session | undefined {
    let oldest: Session | undefined;
    for (const { session } of this.#byId.values()) {
      if (session.orphanedAt === undefined || !session.isSpare || session.isLeaving) continue;
      if (session.id === except || (caller !== undefined && session.caller !== caller)) continue;
      if (oldest === undefined || session.orphanedAt < (oldest.orphanedAt as number)) oldest = session;
    }
    return oldest;
  }

  add(session: Session, visitor: Visitor): void {
    const mark = this.fingerprintOf(visitor);
    this.#byId.set(session.id, { session, visitor, fingerprint: mark, aliases: [] });
    this.#perCaller.set(session.caller, this.countOf(session.caller) + 1);
    // A client of Streamable HTTP names its session itself, and is not looked for.
    if (session.transport === "streamable") return;
    const ofClient = this.#byClient.get(mark);
    if (ofClient === undefined) this.#byClient.set(mark, new Set([session]));
    else ofClient.add(session);
  }

  /** From now on the session is found by another id as well. */
  alias(session: Session, id: string): void {
    const listed = this.#byId.get(session.id);
    if (listed === undefined) return;
    listed.aliases.push(id);
    this.#aliases.set(id, listed);
  }

  /** The other ids that a session is found by. */
  aliasesOf(session: Session): readonly string[] {
    return this.#byId.get(session.id)?.aliases ?? [];
  }

  /** Takes the session out. The other ids that it had. */
  remove(session: Session): readonly string[] {
    const listed = this.#byId.get(session.id);
    if (listed === undefined) return [];
    this.#byId.delete(session.id);
    for (const id of listed.aliases) this.#aliases.delete(id);
    const others = this.countOf(session.caller) - 1;
    if (others === 0) this.#perCaller.delete(session.caller);
    else this.#perCaller.set(session.caller, others);
    const ofClient = this.#byClient.get(listed.fingerprint);
    ofClient?.delete(session);
    if (ofClient?.size === 0) this.#byClient.delete(listed.fingerprint);
    return listed.aliases;
  }
}
