export interface BacklogParts {
  /** Above this many waiting bytes `onFull` is called, and below half of it `onRoom`. */
  pauseBytes: number;
  /** Above this many waiting bytes `onOverflow` is called. */
  maxBytes: number;
  onFull(): void;
  onRoom(): void;
  onOverflow(): void;
}

/** What waits for one client, in all of its outboxes together: so many streams cannot hold more than one could. */
export class Backlog {
  readonly #parts: BacklogParts;
  #bytes = 0;
  #isFull = false;

  constructor(parts: BacklogParts) {
    this.#parts = parts;
  }

  get pauseBytes(): number {
    return this.#parts.pauseBytes;
  }

  /** One more message waits. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#parts.maxBytes) this.#parts.onOverflow();
    else this.judge();
  }

  /** More or less waits than before; to be judged when all of it is counted. */
  change(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Says so when the server behind should pause, or may go on. */
  judge(): void {
    if (!this.#isFull && this.#bytes > this.#parts.pauseBytes) {
      this.#isFull = true;
      this.#parts.onFull();
    } else if (this.#isFull && this.#bytes < this.#parts.pauseBytes / 2) {
      this.#isFull = false;
      this.#parts.onRoom();
    }
  }
}
