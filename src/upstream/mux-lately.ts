import type { Branch } from "./mux-branch.ts";

/** For so long a server may still be at work for one whom it has answered, or who has cancelled. */
const LATELY_MS = 60_000;

/** For whom a server was at work of late. Of all but the last one only the latest time is kept: that says all, and stays small. */
export class Lately {
  #last: Branch | undefined;
  #lastUntil = 0;
  #othersUntil = 0;

  note(branch: Branch): void {
    if (branch.owner !== this.#last?.owner) this.#othersUntil = this.#lastUntil;
    this.#last = branch;
    this.#lastUntil = performance.now() + LATELY_MS;
  }

  /** More than one client. */
  get isMany(): boolean {
    return this.#othersUntil > performance.now();
  }

  /** The last one. */
  get last(): Branch | undefined {
    return this.#lastUntil > performance.now() ? this.#last : undefined;
  }
}
