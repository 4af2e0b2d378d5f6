/** Records that were let go because the queue was full. */
export interface Gap {
  lost: number;
  from: Date;
  to: Date;
}

export interface QueueBounds {
  records: number;
  bytes: number;
}

/** What waits to be written: the members of a record, or a gap where records are missing. */
export type Waiting = string | Gap;

/** Records in order, up to a bound. Beyond it they are counted, and a gap stands where they would have stood. */
export class Queue {
  #waiting: Waiting[] = [];
  #bytes = 0;
  /** Those from the front that are being written: a gap among them may not grow. */
  #shown = 0;
  readonly #bounds: QueueBounds;

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** Records that wait; gaps are not counted. */
  get records(): number {
    return this.#waiting.filter((one) => typeof one === "string").length;
  }

  /** True when it was taken, false when it is lost. */
  add(members: string, at: Date): boolean {
    if (this.#waiting.length < this.#bounds.records && this.#bytes + members.length <= this.#bounds.bytes) {
      this.#waiting.push(members);
      this.#bytes += members.length;
      return true;
    }
    const last = this.#waiting.at(-1);
    if (typeof last === "object" && this.#waiting.length > this.#shown) {
      last.lost += 1;
      last.to = at;
    } else this.#waiting.push({ lost: 1, from: at, to: at });
    return false;
  }

  /** The first ones, at most `count`, which stay until `drop`. */
  show(count: number): readonly Waiting[] {
    const first = this.#waiting.slice(0, count);
    this.#shown = first.length;
    return first;
  }

  /** Removes the first ones, and ends what `show` began. */
  drop(count: number): void {
    this.#shown = 0;
    for (const gone of this.#waiting.splice(0, count))
      if (typeof gone === "string") this.#bytes -= gone.length;
  }
}
