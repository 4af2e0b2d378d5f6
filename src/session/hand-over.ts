import type { Log } from "../log.ts";
import type { SessionStore } from "../session-store/session-store.ts";
import { encodeInheritance, type Journals } from "./journal.ts";
import type { Records } from "./records.ts";
import type { SessionIndex } from "./session-index.ts";
import type { Session } from "./session.ts";

export interface HandOverParts {
  store: SessionStore;
  records: Records;
  journals: Journals;
  /** Knows other ids of the session. */
  index: SessionIndex;
  /** It begins within this time, by chance, in ms. */
  spreadMs: number;
  /** How long the next owner has, in ms. */
  ttlMs: number;
  log: Log;
  /** Says that time is up: what is in flight by then is left to the next owner. */
  signal: AbortSignal;
}

/** Over how long sessions are handed over, at most, in ms. */
const MAX_SPREAD_MS = 3000;
/** How long a stream may take to hand out its last bytes. */
const STREAM_END_MS = 2000;
const LOOK_MS = 10;

/** Hands over every session that can outlive this instance. Never rejects. */
export async function handOverAll(parts: Omit<HandOverParts, "spreadMs">): Promise<void> {
  // A claim that was under way adds one more after the first look.
  for (let look = 0; look < 2; look += 1) {
    const durable = [...parts.index].filter((session) => session.isDurable);
    // Clients that all came back at once would be a storm of their own.
    const spreadMs = Math.min(MAX_SPREAD_MS, durable.length * 5);
    await Promise.all(durable.map((session) => handOver(session, { ...parts, spreadMs })));
  }
}

/**
 * Hands a session to whichever instance its client reaches next: waits for a quiet moment, ends the stream, and leaves
 * in the store what the next owner must know. A session that cannot be handed over stays open. Never rejects.
 */
export async function handOver(session: Session, parts: HandOverParts): Promise<void> {
  const { store, records, journals, index, spreadMs, ttlMs, log, signal } = parts;
  const beginAt = performance.now() + Math.random() * spreadMs;
  await until(() => performance.now() >= beginAt || signal.aborted);
  await until(() => session.inFlight === 0 || !session.isOpen || signal.aborted);
  if (!session.isOpen) return;
  session.leave();
  const giveUpAt = performance.now() + STREAM_END_MS;
  await until(() => session.orphanedAt !== undefined || !session.isOpen || performance.now() > giveUpAt);
  if (!session.isOpen) return;
  const seconds = Math.max(1, Math.ceil(ttlMs / 1000));
  const put = encodeInheritance(session.bequeath());
  try {
    await journals.flush();
    if (put.size > 0) {
      await store.writeJournals([{ id: session.id, epoch: session.epoch, put, drop: [] }], seconds);
    }
    const isReleased = await records.release(session.id, seconds);
    await Promise.all(index.aliasesOf(session).map((id) => records.release(id, seconds)));
    if (isReleased) session.close("released");
  } catch (error) {
    log.warn({ err: error, session: session.id }, "session not handed over");
  }
}

/** Resolves when nothing is in flight, or `signal` says that time is up. */
export async function untilQuiet(
  sessions: { readonly inFlight: number },
  signal: AbortSignal,
): Promise<void> {
  await until(() => sessions.inFlight === 0 || signal.aborted);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
