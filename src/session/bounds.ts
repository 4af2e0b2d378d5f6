import { FAULTS, type Reason } from "../errors.ts";
import type { SessionEnd, SessionLimits } from "./session-parts.ts";

/** What the bounds of a session are judged by. Times are of its own clock, in ms. */
export interface Standing {
  openedAt: number;
  /** When it began, with its first owner. */
  bornAt: number;
  hasBegun: boolean;
  /** Since when it has had no stream. */
  orphanedAt: number | undefined;
  /** When a message last went either way. */
  activeAt: number;
  inFlight: number;
  /** When the stream stopped taking messages, while it does not. */
  blockedSince: number | undefined;
  /** Bytes that the client has not taken. */
  pendingBytes: number;
  /** When the present stream was attached. */
  streamSince: number;
  /** Whether the socket has taken all there is. */
  isQuiet: boolean;
}

/** A reader that lags must take at least 32 KiB a second. */
const SLOW_READER_BYTES_PER_MS = 32;
/** A client of Streamable HTTP may well have no stream for so long, and be there all the same. */
export const BETWEEN_POSTS_MS = 60_000;
/** Share of its age from which on a stream may be ended at a quiet moment. */
const REST_FROM = 0.8;
/** Silence that makes a moment quiet enough for a stream to be ended. */
const QUIET_MS = 500;

/** The bound that a session has outlived. */
export function overdue(standing: Standing, limits: SessionLimits, now: number): SessionEnd | undefined {
  const { openedAt, hasBegun, orphanedAt, activeAt, inFlight, blockedSince, pendingBytes } = standing;
  if (limits.maxAgeMs > 0 && now - standing.bornAt >= limits.maxAgeMs) return "expired";
  if (!hasBegun && now - openedAt >= limits.firstPostMs) return "no_first_message";
  if (orphanedAt !== undefined && now - orphanedAt >= limits.orphanMs) return "client_gone";
  if (inFlight === 0 && now - activeAt >= limits.idleMs) return "idle";
  return isSlow({ blockedSince, pendingBytes }, limits, now) ? "slow_reader" : undefined;
}

/**
 * Until when a session can outlive no bound if nothing happens in it, in ms of its clock. -Infinity for one that must be
 * looked at again and again.
 */
export function calmUntil(standing: Standing, limits: SessionLimits): number {
  const { hasBegun, orphanedAt, inFlight, blockedSince, isQuiet, activeAt, bornAt, streamSince } = standing;
  const isCalm = hasBegun && orphanedAt === undefined && inFlight === 0 && blockedSince === undefined;
  if (!isCalm || !isQuiet) return -Infinity;
  const maxAgeMs = limits.maxAgeMs || Infinity;
  const restMs = limits.streamMaxAgeMs * REST_FROM || Infinity;
  return Math.min(activeAt + limits.idleMs, bornAt + maxAgeMs, streamSince + restMs);
}

/** Whether a stream has stood still for longer than any fair reader's would. */
export function isSlow(
  { blockedSince, pendingBytes }: Pick<Standing, "blockedSince" | "pendingBytes">,
  { slowReaderMs }: Pick<SessionLimits, "slowReaderMs">,
  now: number,
): boolean {
  if (blockedSince === undefined) return false;
  return now - blockedSince >= slowReaderMs + pendingBytes / SLOW_READER_BYTES_PER_MS;
}

/** Whether the stream is old, and this a good moment to end it. From a fifth before its age on, quiet moments are good. */
export function isStreamDue(standing: Standing, { streamMaxAgeMs }: SessionLimits, now: number): boolean {
  const { streamSince, inFlight, isQuiet, activeAt, orphanedAt } = standing;
  const age = now - streamSince;
  if (streamMaxAgeMs === 0 || age < streamMaxAgeMs * REST_FROM || orphanedAt !== undefined) return false;
  return age >= streamMaxAgeMs || (inFlight === 0 && isQuiet && now - activeAt > QUIET_MS);
}

const LAST_WORDS: Partial<Record<SessionEnd, Reason>> = {
  deleted: "session_not_found",
  made_room: "session_not_found",
  expired: "session_not_found",
  key_revoked: "session_not_found",
  operator: "session_not_found",
  server_changed: "upstream_exited",
};

/** What requests in flight are told when a session ends so. Undefined where another owner may answer them, or nobody hears. */
export const lastWords = (end: SessionEnd): Reason | undefined =>
  end in FAULTS ? (end as Reason) : LAST_WORDS[end];
