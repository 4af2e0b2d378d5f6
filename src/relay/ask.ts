import { within, type Published } from "./channels.ts";
import type { RelayOutcome } from "./relay.ts";

export interface AskOptions {
  deadlineMs: number;
  /** Pauses between tries while nobody listens: the other instance may be about to listen again. */
  retryMs: readonly number[];
  /** Whether a count of 0 means that nobody listens. In a cluster each node counts its own listeners. */
  countsAll: boolean;
  /** Publishes the message, under the same id each time. */
  publish: (deadlineMs: number) => Promise<Published>;
  /** Whether the other instance has ended, when nobody listens. Never rejects. */
  isGone?: (() => Promise<boolean>) | undefined;
  /** What came of it, as soon as that is known. Never rejects. */
  outcome: Promise<RelayOutcome>;
}

/** How long an answer is waited for before the message is published again, at least; and how often it is at most, about. */
const MIN_PAUSE_MS = 2000;
const MOST_TRIES = 8;
/** A listener that is missed twice is gone, and not about to listen again. */
const GONE_AFTER = 2;

/**
 * Publishes a message until it may have arrived, again now and then while no answer comes, and gives up at the deadline,
 * or when nobody listens any more: whoever took it is gone, and with it the answer.
 */
export async function ask({
  deadlineMs,
  retryMs,
  countsAll,
  publish,
  outcome,
  isGone,
}: AskOptions): Promise<RelayOutcome> {
  const deadline = performance.now() + deadlineMs;
  const left = (): number => Math.max(0, deadline - performance.now());
  /** How long the first try may take: a second one needs its time too. */
  const firstLeft = (): number => Math.max(left() - deadlineMs / 2, left() / 2);
  const publishOnce = (): Promise<Published | RelayOutcome> => Promise.race([outcome, publish(firstLeft())]);

  let triedAt = performance.now();
  let published = await publishOnce();
  for (const pauseMs of retryMs) {
    if (published !== 0 || !countsAll || left() <= pauseMs) break;
    if ((await isGone?.()) === true) break;
    await within(pauseMs, outcome, undefined);
    triedAt = performance.now();
    published = await publishOnce();
  }
  if (typeof published === "object") return published;
  if (published === "unreachable") return { kind: "unreachable" };
  if (published === 0 && countsAll) return { kind: "dead" };

  // The message may be lost, or its answer. It is carried out once however often it arrives.
  const pauseMs = Math.min(deadlineMs / 2, Math.max(MIN_PAUSE_MS, deadlineMs / 2 / MOST_TRIES));
  let misses = 0;
  while (left() > 0) {
    const answered = await within(
      misses > 0 ? (retryMs[0] ?? 0) : Math.min(Math.max(0, triedAt + pauseMs - performance.now()), left()),
      outcome,
      undefined,
    );
    if (answered !== undefined) return answered;
    if (left() === 0) break;
    triedAt = performance.now();
    const again = await publishOnce();
    if (typeof again === "object") return again;
    misses = again === 0 && countsAll ? misses + 1 : 0;
    if (misses >= GONE_AFTER) break;
  }
  return within(0, outcome, { kind: "unknown" });
}
