import { scanMessage } from "../protocol/json-rpc.ts";
import type { JournalChange, SessionStore } from "../session-store/session-store.ts";
import type { Log } from "../log.ts";
import { isId } from "./lane-id.ts";
import type { Inheritance } from "./session-parts.ts";
import type { Unanswered } from "./requests.ts";

/** Where one session's accepted requests and waiting messages are kept beyond its owner. */
export interface SessionJournal {
  /** A request was accepted, whose answer goes to this lane. Resolves when the store has it, or cannot have it. */
  accepted(id: string, message: Buffer, lane?: string): Promise<void>;
  /** It was answered, or will not be. It is kept for a moment, since the answer may be lost with this instance. */
  settled(id: string, lane?: string): void;
  /** A message waits for the client, in this lane. */
  kept(sequence: number, message: Buffer, lane?: string): void;
  /** The client's socket took it. */
  dropped(sequence: number, lane?: string): void;
  /** The session is over here. What it has is left for the next owner with `isLeft`, else removed. */
  end(isLeft: boolean): void;
}

/** What nobody waits for is written this much later, with what came meanwhile; most of it is settled by then. */
const LAZY_MS = 100;
/** How long a request stays after it was answered: an answer that a socket took just before its instance was killed may be lost. */
const STAY_MS = 1000;
/** Bounds of what waits for a store that is away: sessions, entries of each, and the bytes of an entry. */
const MAX_TAKEN_BACK = 1000;
const MAX_TAKEN_BACK_BYTES = 64 * 1024;

/** Names of entries: what it is, its lane if it has one, and which. A lane's name has no `:`. */
const requestName = (id: string, lane = ""): string => `r${lane}:${id}`;
const messageName = (sequence: number, lane = ""): string => `m${lane}:${sequence}`;

/** Everything of one session that the store does not have yet. */
interface Pending {
  put: Map<string, Buffer>;
  drop: Set<string>;
}

/**
 * Writes the journals of all sessions in batches: one flight at a time, and what comes meanwhile goes with the next.
 * A store that is away costs durability, never a message.
 */
export class Journals {
  readonly #store: SessionStore;
  readonly #ttlSeconds: number;
  readonly #log: Log;
  #pending = new Map<SessionJournalKey, Pending>();
  /** Entries that are to be removed later, the next first. */
  #leaving: { name: string; key: SessionJournalKey; at: number; drop(): void }[] = [];
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isFlying = false;
  #isAway = false;

  constructor({ store, ttlSeconds, log }: { store: SessionStore; ttlSeconds: number; log: Log }) {
    this.#store = store;
    this.#ttlSeconds = ttlSeconds;
    this.#log = log;
  }

  /** The journal of one session under this owner. */
  open(id: string, epoch: number): SessionJournal {
    const key: SessionJournalKey = { id, epoch, isOver: false };
    const put = (name: string, bytes: Buffer) => {
      if (!key.isOver) this.#of(key).put.set(name, bytes);
    };
    const drop = (name: string) => {
      if (key.isOver) return;
      const pending = this.#of(key);
      // What was never written need not be removed, unless a flight has it aboard.
      if (!pending.put.delete(name) || this.#isFlying) pending.drop.add(name);
      this.#soon();
    };
    return {
      accepted: (id, message, lane) => {
        const name = requestName(id, lane);
        // The same id again: what is to be removed is the request before.
        const before = this.#leaving.findIndex((one) => one.key === key && one.name === name);
        if (before >= 0) this.#leaving.splice(before, 1);
        put(name, message);
        return new Promise((resolve) => {
          this.#waiting.push(resolve);
          void this.#fly();
        });
      },
      settled: (id, lane) => {
        const name = requestName(id, lane);
        this.#leaving.push({ name, key, at: performance.now() + STAY_MS, drop: () => drop(name) });
        this.#soon();
      },
      kept: (sequence, message, lane) => {
        put(messageName(sequence, lane), message);
        this.#soon();
      },
      dropped: (sequence, lane) => drop(messageName(sequence, lane)),
      end: (isLeft) => {
        key.isOver = true;
        if (isLeft) return;
        this.#pending.delete(key);
        // Expires by itself when this fails.
        this.#store.removeJournal(id, epoch).catch(() => undefined);
      },
    };
  }

  /** Writes all there is. Never rejects. */
  async flush(): Promise<void> {
    for (const { drop } of this.#leaving.splice(0)) drop();
    while (this.#isFlying) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    await this.#fly();
  }

  #of(key: SessionJournalKey): Pending {
    let pending = this.#pending.get(key);
    if (pending === undefined) this.#pending.set(key, (pending = { put: new Map(), drop: new Set() }));
    return pending;
  }

  /** What could not be written goes with a later flight, unless something newer was said meanwhile. */
  #takeBack(key: SessionJournalKey, failed: Pending): void {
    if (key.isOver || this.#pending.size > MAX_TAKEN_BACK) return;
    const pending = this.#of(key);
    for (const name of failed.drop) if (!pending.put.has(name)) pending.drop.add(name);
    for (const [name, bytes] of failed.put) {
      const isSmall = bytes.length <= MAX_TAKEN_BACK_BYTES && pending.put.size < MAX_TAKEN_BACK;
      if (isSmall && !pending.put.has(name) && !pending.drop.has(name)) pending.put.set(name, bytes);
    }
  }

  #soon(): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#dropDue();
        if (this.#pending.size > 0) void this.#fly();
        else if (this.#leaving.length > 0) this.#soon();
      },
      this.#isAway ? 10 * LAZY_MS : LAZY_MS,
    ).unref();
  }

  #dropDue(): void {
    const now = performance.now();
    while (this.#leaving[0] !== undefined && this.#leaving[0].at <= now) this.#leaving.shift()?.drop();
  }

  async #fly(): Promise<void> {
    if (this.#isFlying) return;
    this.#isFlying = true;
    // One turn later, so that all that came in this one goes along.
    await new Promise(setImmediate);
    // Here too: the timer does not come to it while one flight follows the other.
    this.#dropDue();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [pending, waiting] = [this.#pending, this.#waiting];
    [this.#pending, this.#waiting] = [new Map<SessionJournalKey, Pending>(), []];
    const changes: JournalChange[] = [];
    for (const [{ id, epoch }, { put, drop }] of pending) {
      const names = [...drop].filter((name) => !put.has(name));
      if (put.size + names.length > 0) changes.push({ id, epoch, put, drop: names });
    }
    try {
      if (changes.length > 0) await this.#store.writeJournals(changes, this.#ttlSeconds);
      this.#isAway = false;
    } catch {
      if (!this.#isAway) this.#log.warn("journals not written: a crash now would lose what is in flight");
      this.#isAway = true;
      for (const [key, failed] of pending) this.#takeBack(key, failed);
    }
    this.#isFlying = false;
    for (const resolve of waiting) resolve();
    if (this.#waiting.length > 0) void this.#fly();
    else if (this.#pending.size > 0 || this.#leaving.length > 0) this.#soon();
  }
}

interface SessionJournalKey {
  readonly id: string;
  readonly epoch: number;
  /** The session is over here. */
  isOver: boolean;
}

/** A journal's entries for what an owner leaves behind. */
export function encodeInheritance({ messages, unanswered }: Inheritance): Map<string, Buffer> {
  const entries = new Map<string, Buffer>();
  for (const { sequence, message, lane } of messages) entries.set(messageName(sequence, lane), message);
  for (const { id, message, lane } of unanswered)
    entries.set(requestName(id, lane), message ?? Buffer.alloc(0));
  return entries;
}

/** The same, read. What cannot be read is left out. */
export function decodeInheritance(entries: ReadonlyMap<string, Buffer>): Inheritance {
  const messages: Inheritance["messages"][number][] = [];
  const unanswered: Unanswered[] = [];
  for (const [name, bytes] of entries) {
    const colon = name.indexOf(":");
    const rest = name.slice(colon + 1);
    const lane = colon > 1 ? { lane: name.slice(1, colon) } : {};
    if (colon > 0 && name.startsWith("m")) {
      const envelope = scanMessage(bytes);
      if (typeof envelope === "string" || !Number.isSafeInteger(Number(rest))) continue;
      const { kind, id } = envelope;
      messages.push({
        sequence: Number(rest),
        message: bytes,
        kind,
        id,
        takenAt: Infinity,
        taken: 0,
        ...lane,
      });
    } else if (colon > 0 && name.startsWith("r")) {
      if (!isId(rest)) continue;
      const envelope = scanMessage(bytes);
      const isWhole = typeof envelope !== "string" && envelope.kind === "request" && envelope.id === rest;
      const method = isWhole ? (envelope.method as string) : "";
      unanswered.push({ id: rest, method, sentAt: 0, message: isWhole ? bytes : undefined, ...lane });
    }
  }
  messages.sort((one, other) => one.sequence - other.sequence);
  const answered = new Set(messages.flatMap(({ kind, id }) => (kind === "response" ? [id] : [])));
  return { messages, unanswered: unanswered.filter(({ id }) => !answered.has(id)) };
}
