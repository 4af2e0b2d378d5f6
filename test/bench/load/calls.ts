import type { Message } from "./message.ts";
import type { LoadPlan } from "./orders.ts";

/** Waits for the answer to one request; undefined when none can come any more. */
export type OnAnswer = (message: Message | undefined) => void;

/** The requests of one session that wait for their answers. */
export class Calls {
  #nextId: number;
  readonly #waiting = new Map<number, OnAnswer>();
  readonly #onStray: () => void;

  /** `index` is the session's number in its plan. */
  constructor({ disjointIds }: Pick<LoadPlan, "disjointIds">, index: number, onStray: () => void) {
    this.#nextId = disjointIds ? index * 10_000_000 : 0;
    this.#onStray = onStray;
  }

  /** Draws the next id and waits for its answer. */
  expect(onAnswer: OnAnswer): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#waiting.set(id, onAnswer);
    return id;
  }

  /** Gives up on an answer; should it still come, it is a stray one. */
  forget(id: number): void {
    this.#waiting.delete(id);
  }

  take(message: Message): void {
    const onAnswer = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (message.id === undefined || message.method !== undefined || onAnswer === undefined) {
      // Notifications belong to no call; everything else that nobody waits for is somebody else's.
      if (message.id !== undefined || message.method === undefined) this.#onStray();
      return;
    }
    this.#waiting.delete(message.id);
    onAnswer(message);
  }

  /** No answer can come any more. */
  lose(): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const onAnswer of waiting) onAnswer(undefined);
  }
}
