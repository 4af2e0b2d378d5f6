import { createMark, type Mark } from "./envelope.ts";
import { joinMessages, JOINED_BYTES, MAX_JOINED_MESSAGES, readAnswers } from "./joined.ts";
import type { Peer, Relay, RelayMessage, RelayOutcome } from "./relay.ts";

/** Sends one message by itself. It is carried out once, however often one with its mark comes. */
export type Carry = (
  to: Peer,
  message: RelayMessage,
  deadlineMs: number,
  mark: Mark,
  isGone?: () => Promise<boolean>,
) => Promise<RelayOutcome>;

/** Sends messages, those together that leave for one instance in one turn. */
export interface Join {
  send: Relay["send"];
  /** This instance takes messages that are joined; one of an earlier version does not, and never says so. */
  learn(instanceId: string): void;
}

/** Instances that are remembered to take what is joined; whoever is forgotten is learned of again. */
const MAX_LEARNED = 1000;
/** An instance that could not answer most of a batch at once is sent single messages for so long: a batch gains nothing there. */
const SINGLE_MS = 10_000;

/** The other instance has it, and had no answer to it yet. */
const TAKEN = { wasTaken: true };

interface Waiting {
  readonly id: string;
  readonly message: RelayMessage;
  readonly settle: (outcome: RelayOutcome | Promise<RelayOutcome>) => void;
}

/** Messages of one turn to one instance, with one deadline. */
interface Batch {
  readonly to: Peer;
  readonly deadlineMs: number;
  readonly isGone: (() => Promise<boolean>) | undefined;
  readonly sentAt: number;
  readonly waiting: Waiting[];
  bytes: number;
}

/**
 * Joins messages: a request, two proofs and two digests for each cost more than all else that is done with it. None
 * waits for another longer than a turn, and an answer that is not there soon is fetched by itself.
 */
export function createJoin(carry: Carry): Join {
  /** Since when each takes what is joined. */
  const learned = new Map<string, number>();
  let batches: Batch[] = [];

  function flush(to?: string): void {
    const due = batches.filter((batch) => to === undefined || batch.to.instanceId === to);
    batches = batches.filter((batch) => !due.includes(batch));
    for (const batch of due) void sendBatch(batch);
  }

  async function sendBatch({ to, deadlineMs, isGone, sentAt, waiting }: Batch): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    const [first] = waiting as [Waiting];
    if (waiting.length === 1) {
      return first.settle(carry(to, first.message, deadlineMs, { id: first.id, sentAt }, isGone));
    }
    const mark = { ...createMark(), sentAt };
    const outcome = await carry(to, joinMessages(waiting), deadlineMs, mark, isGone);
    const answers = outcome.kind === "answered" ? readAnswers(outcome.answer) : undefined;
    const isLost = outcome.kind === "unknown";
    let left = 0;
    waiting.forEach(({ id, message, settle }, at) => {
      const answer = answers?.[at];
      if (answers === undefined && !isLost) settle(outcome);
      else if (answer !== undefined && answer !== null) settle({ kind: "answered", answer });
      else {
        left += 1;
        // One answer that was lost must not be the loss of all of them.
        settle(askAgain(message, { id, sentAt }, deadline, { kind: "unknown", ...(!isLost && TAKEN) }));
      }
    });
    if (left > waiting.length / 2) learned.set(to.instanceId, performance.now() + SINGLE_MS);

    /** Under the same mark it is not carried out again, and is answered when that is done. */
    async function askAgain(
      message: RelayMessage,
      own: Mark,
      until: number,
      otherwise: RelayOutcome,
    ): Promise<RelayOutcome> {
      const leftMs = Math.floor(until - performance.now());
      const again = leftMs > 0 ? await carry(to, message, leftMs, own, isGone) : undefined;
      return again?.kind === "answered" ? again : otherwise;
    }
  }

  return {
    learn(instanceId) {
      if (learned.has(instanceId)) return;
      if (learned.size >= MAX_LEARNED) learned.clear();
      learned.set(instanceId, 0);
    },
    send(to, message, deadlineMs, isGone) {
      const bytes = message.bodies.reduce((sum, { length }) => sum + length, 0);
      const since = learned.get(to.instanceId) ?? Infinity;
      if (bytes > JOINED_BYTES.each || performance.now() < since) {
        // What came before it in this turn goes before it.
        flush(to.instanceId);
        return carry(to, message, deadlineMs, createMark(), isGone);
      }
      return new Promise((settle) => {
        if (batches.length === 0) setImmediate(() => flush());
        let batch = batches.findLast(
          (one) =>
            one.to.instanceId === to.instanceId &&
            one.to.address === to.address &&
            one.deadlineMs === deadlineMs,
        );
        const { id, sentAt } = createMark();
        const isFull =
          batch === undefined ||
          batch.waiting.length === MAX_JOINED_MESSAGES ||
          batch.bytes + bytes > JOINED_BYTES.all;
        if (batch === undefined || isFull) {
          batch = { to, deadlineMs, isGone, sentAt, waiting: [], bytes: 0 };
          batches.push(batch);
        }
        batch.bytes += bytes;
        batch.waiting.push({ id, message, settle });
      });
    },
  };
}
