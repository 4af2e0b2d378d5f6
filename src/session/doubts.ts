import type { Sent } from "./outbox.ts";

/**
 * What a stream took this shortly before it was cut, or before its client was last heard, may be lost with it: a client
 * that posts is awake, and its stream has brought it what was written well before.
 */
const IN_DOUBT_MS = 1000;
/** The same when nobody knows when the stream ended: the client has noticed, waited, and been looked for since. */
const LONG_IN_DOUBT_MS = 15_000;
const MAX_REPEATS = 10;
/** An open question of the server that may be lost is asked again after this, if no answer shows that it was not. */
const ASK_AGAIN_MS = 3000;

/** Judges what a stream that was cut may have lost, for a client that cannot say itself what it had. */
export class Doubts {
  /** Questions of the server that the last stream may have lost. */
  #questions: Sent[] = [];
  #askAgainAt = 0;

  /**
   * Another stream is attached: what of the earlier one is to be repeated at once. `endedAt` is when that one ended, if
   * it is known, and `heardAt` when the client last posted, in ms.
   */
  judge(now: number, endedAt: number | undefined, heardAt: number): (sent: Sent) => boolean {
    const since = Math.min(endedAt ?? now - LONG_IN_DOUBT_MS, heardAt) - IN_DOUBT_MS;
    // Cuts that follow each other must not put it off for ever.
    if (this.#questions.length === 0) this.#askAgainAt = now + ASK_AGAIN_MS;
    return (sent) => this.#mayRepeat(sent, since);
  }

  get areOpen(): boolean {
    return this.#questions.length > 0;
  }

  /** Questions that are due to be asked again. */
  takeDue(now: number): Sent[] {
    if (this.#questions.length === 0 || now < this.#askAgainAt) return [];
    const due = this.#questions;
    this.#questions = [];
    return due;
  }

  /** Another conversation begins. */
  clear(): void {
    this.#questions = [];
  }

  /** Whether a message that may be lost is to be repeated at once: a response, which whoever has it knows by its id. */
  #mayRepeat(sent: Sent, since: number): boolean {
    if (sent.takenAt < since || sent.taken > MAX_REPEATS || sent.kind === "notification") return false;
    if (sent.kind === "request") this.#questions.push(sent);
    return sent.kind === "response";
  }
}
