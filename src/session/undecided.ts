import type { Repeatable } from "./repeatable.ts";
import type { Unanswered } from "./requests.ts";

export interface UndecidedParts {
  repeatable: Repeatable;
  /** Monotonic time in ms. */
  now: () => number;
  /** Asks the server for its tools. */
  ask(): Promise<void> | undefined;
  /** The server's tools are known, or will not be: this request may be sent again, if it may. */
  decide(one: Unanswered): void;
}

/** How long a server may take to tell its tools, in ms. */
const ASK_TOOLS_MS = 10_000;

/** Requests that a server was lost with, and whose fate depends on what the next one says of its tools. */
export class Undecided {
  readonly #parts: UndecidedParts;
  #requests: Unanswered[] = [];
  #decideBy = 0;

  constructor(parts: UndecidedParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#requests.length;
  }

  find(id: string): Unanswered | undefined {
    return this.#requests.find((one) => one.id === id);
  }

  /** Decides what can be decided, and asks the server for what the rest depends on. */
  add(unanswered: readonly Unanswered[]): void {
    const { repeatable, now, ask, decide } = this.#parts;
    for (const one of unanswered) {
      if (one.message !== undefined && repeatable.mustLearn(one)) this.#requests.push(one);
      else decide(one);
    }
    if (this.#requests.length === 0) return;
    this.#decideBy = now() + ASK_TOOLS_MS;
    ask()?.catch(() => this.decide());
  }

  /** Waits no longer than a server may take. */
  beat(now: number): void {
    if (this.#requests.length > 0 && now >= this.#decideBy) this.decide();
  }

  decide(): void {
    for (const one of this.take()) this.#parts.decide(one);
  }

  /** The client has taken it back. */
  forget(id: string): Unanswered | undefined {
    const one = this.find(id);
    this.#requests = this.#requests.filter((other) => other !== one);
    return one;
  }

  /** Removes and hands them out. */
  take(): Unanswered[] {
    const requests = this.#requests;
    this.#requests = [];
    return requests;
  }
}
