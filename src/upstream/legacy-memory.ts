/** What was learnt of a server is looked at again after so long: it may have been replaced. */
const KNOWN_MS = 600_000;

/** Whether a server was found to know no `initialize`. */
export class EraMemory {
  #modernUntil = -Infinity;

  get isModern(): boolean {
    return performance.now() < this.#modernUntil;
  }

  remember(): void {
    this.#modernUntil = performance.now() + KNOWN_MS;
  }

  forget(): void {
    this.#modernUntil = -Infinity;
  }
}
