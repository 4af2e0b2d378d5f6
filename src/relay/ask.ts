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
  /** What came of it, as soon as that is known. Never rejects. */
  outcome: Promise<RelayOutcome>;
}

/** Publishes a message until it may have arrived, once more when no answer comes, and gives up at the deadline. */
export async function ask({
  deadlineMs,
  retryMs,
  countsAll,
  publish,
  outcome,
}: AskOptions): Promise<RelayOutcome> {
  const deadline = performance.now() + deadlineMs;
  const left = (): number => Math.max(0, deadline - performance.now());
  /** How long the first try may take: a second one needs its time too. */
  const firstLeft = (): number => Math.max(left() - deadlineMs / 2, left() / 2);
  const publishOnce = (): Promise<Published | RelayOutcome> => Promise.race([outcome, publish(firstLeft())]);

  let published = await publishOnce();
  for (const pauseMs of retryMs) {
    if (published !== 0 || !countsAll || left() <= pauseMs) break;
    await within(pauseMs, outcome, undefined);
    published = await publishOnce();
  }
  if (typeof published === "object") return published;
  if (published === "unreachable") return { kind: "unreachable" };
  if (published === 0 && countsAll) return { kind: "dead" };

  const early = await within(Math.max(0, left() - deadlineMs / 2), outcome, undefined);
  if (early !== undefined) return early;
  // The message may be lost, or its answer. It is carried out once however often it arrives.
  void publish(left());
  return within(left(), outcome, { kind: "unknown" });
}
