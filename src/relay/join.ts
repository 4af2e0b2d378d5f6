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
  const learned = new Set<string>();
  let batches: Batch[] = [];

  function flush(): void {
    const full = batches;
    batches = [];
    for (const batch of full) void sendBatch(batch);
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
    waiting.forEach(({ id, message, settle }, at) => {
      const answer = answers?.[at];
      if (answers === undefined) settle(outcome);
      else if (answer !== undefined && answer !== null) settle({ kind: "answered", answer });
      else settle(askAgain(message, { id, sentAt }, deadline));
    });

    /** It is being carried out. Under the same mark it is not carried out again, and is answered when that is done. */
    async function askAgain(message: RelayMessage, own: Mark, until: number): Promise<RelayOutcome> {
      const leftMs = Math.floor(until - performance.now());
      const again = leftMs > 0 ? await carry(to, message, leftMs, own, isGone) : undefined;
      return again?.kind === "answered" ? again : { kind: "unknown" };
    }
  }

  return {
    learn(instanceId) {
      if (learned.has(instanceId)) return;
      if (learned.size >= MAX_LEARNED) learned.clear();
      learned.add(instanceId);
    },
    send(to, message, deadlineMs, isGone) {
      const bytes = message.bodies.reduce((sum, { length }) => sum + length, 0);
      if (bytes > JOINED_BYTES.each || !learned.has(to.instanceId)) {
        return carry(to, message, deadlineMs, createMark(), isGone);
      }
      return new Promise((settle) => {
        if (batches.length === 0) setImmediate(flush);
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
