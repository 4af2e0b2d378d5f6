const WINDOW_MS = 300_000;
const SLOT_MS = 30_000;
/** One more than the window has, because the newest is not full yet. */
const SLOTS = WINDOW_MS / SLOT_MS + 1;

/** Counts of the last five minutes, in slots of half a minute. Time goes on with `advance` alone, so that counting is cheap. */
export class RecentCounts {
  readonly #width: number;
  readonly #counts: Float64Array;
  #slot = 0;
  #begunAt: number;

  /** @param width how many counts are kept side by side. */
  constructor(width: number, now: number) {
    this.#width = width;
    this.#counts = new Float64Array(width * SLOTS);
    this.#begunAt = now;
  }

  add(column: number, by = 1): void {
    const at = this.#slot * this.#width + column;
    this.#counts[at] = (this.#counts[at] as number) + by;
  }

  /** The time is now this; what is older than the window counts no more. */
  advance(now: number): void {
    // Less than 0 when the clock was set back: the slot then begins earlier, and the window does not stand still.
    const passed = Math.floor((now - this.#begunAt) / SLOT_MS);
    this.#begunAt += passed * SLOT_MS;
    for (let step = 0; step < Math.min(passed, SLOTS); step += 1) {
      this.#slot = (this.#slot + 1) % SLOTS;
      this.#counts.fill(0, this.#slot * this.#width, (this.#slot + 1) * this.#width);
    }
  }

  sum(column: number): number {
    let sum = 0;
    for (let at = column; at < this.#counts.length; at += this.#width) sum += this.#counts[at] as number;
    return sum;
  }
}

/** Bounds of latency lie a twelfth of an octave apart, from 1/32 to 32 times the threshold. */
const PER_OCTAVE = 12;
const MIDDLE = 5 * PER_OCTAVE;
const BOUNDS = 2 * MIDDLE + 1;

/** Latencies of the last five minutes, finest where the threshold lies: it is a bound itself. */
export class RecentLatencies {
  readonly #threshold: number;
  readonly #counts: RecentCounts;

  /** @param thresholdMs more than 0. */
  constructor(thresholdMs: number, now: number) {
    this.#threshold = thresholdMs;
    this.#counts = new RecentCounts(BOUNDS, now);
  }

  add(ms: number): void {
    const bound = Math.floor(Math.log2(ms / this.#threshold) * PER_OCTAVE) + MIDDLE;
    this.#counts.add(bound < 0 || Number.isNaN(bound) ? 0 : Math.min(bound, BOUNDS - 1));
  }

  advance(now: number): void {
    this.#counts.advance(now);
  }

  /** What 95 of 100 calls took at most, within 6 %, in milliseconds, and how many calls there were. */
  p95(): { ms: number; calls: number } {
    const sums = Array.from({ length: BOUNDS }, (_, bound) => this.#counts.sum(bound));
    const calls = sums.reduce((all, sum) => all + sum, 0);
    let slower = calls * 0.05;
    let bound = BOUNDS;
    while (bound > 0 && slower >= 0) slower -= sums[(bound -= 1)] as number;
    return { ms: this.#threshold * 2 ** ((bound - MIDDLE) / PER_OCTAVE), calls };
  }
}
