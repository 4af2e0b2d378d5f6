import type { Socket } from "node:net";

/** What is wrong with one direction. All that are set work together. */
export interface Faults {
  /** Each piece arrives this much later, give or take `jitterMs`; order is kept. */
  latency?: { ms: number; jitterMs?: number };
  bandwidth?: { bytesPerSecond: number };
  /** Nothing passes, and nothing is closed. What came meanwhile passes once this is over. */
  timeout?: true;
  /** The end of this direction is passed on so much later. */
  slowClose?: { ms: number };
  /** Data comes in pieces of at most so many bytes. */
  slicer?: { bytes: number; delayMs?: number };
  /** The connection ends after so many bytes. */
  limitData?: { bytes: number };
  /** The connection is reset so long after its first byte. */
  resetPeer?: { afterMs: number };
  /** One side is never told that the other has gone. */
  halfOpen?: true;
}

/** What may wait here; beyond it the sender feels that nobody reads. */
const MAX_WAITING_BYTES = 256 * 1024;

/** One direction of one connection. */
export class FaultPipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #faults: () => Faults;
  readonly #end: (kind: "fin" | "rst") => void;
  readonly #waiting: { chunk: Buffer | undefined; at: number }[] = [];
  #waitingBytes = 0;
  #passedBytes = 0;
  #isStopped = false;
  #wakers = new Set<() => void>();

  constructor(from: Socket, to: Socket, faults: () => Faults, end: (kind: "fin" | "rst") => void) {
    this.#from = from;
    this.#to = to;
    this.#faults = faults;
    this.#end = end;
    from.on("data", (chunk: Buffer) => {
      const { resetPeer } = this.#faults();
      if (resetPeer !== undefined) setTimeout(() => this.#end("rst"), resetPeer.afterMs);
      this.#waitingBytes += chunk.length;
      if (this.#waitingBytes > MAX_WAITING_BYTES) from.pause();
      this.#queue(chunk);
    });
    from.once("end", () => this.#queue(undefined));
    void this.#run();
  }

  /** The faults have changed. */
  wake(): void {
    for (const waker of this.#wakers) waker();
  }

  stop(): void {
    this.#isStopped = true;
    this.wake();
  }

  #queue(chunk: Buffer | undefined): void {
    this.#waiting.push({ chunk, at: performance.now() });
    this.wake();
  }

  /** Resolves when something changed, or after `ms`. */
  #change(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(done, ms);
      const wakers = this.#wakers;
      function done(): void {
        clearTimeout(timer);
        wakers.delete(done);
        resolve();
      }
      wakers.add(done);
    });
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const next = this.#waiting[0];
      if (next === undefined || this.#faults().timeout) {
        await this.#change();
        continue;
      }
      await this.#pauseUntil(next.at + this.#latencyMs());
      if (this.#isStopped || this.#faults().timeout) continue;
      this.#waiting.shift();
      if (next.chunk === undefined) return this.#finish();
      this.#waitingBytes -= next.chunk.length;
      if (this.#waitingBytes <= MAX_WAITING_BYTES) this.#from.resume();
      await this.#pass(next.chunk);
    }
  }

  #latencyMs(): number {
    const { ms = 0, jitterMs = 0 } = this.#faults().latency ?? {};
    return Math.max(0, ms + (Math.random() * 2 - 1) * jitterMs);
  }

  /** Waits to a point in time, but no longer than faults last. */
  async #pauseUntil(time: number): Promise<void> {
    for (let left = time - performance.now(); left > 0 && !this.#isStopped; left = time - performance.now()) {
      await this.#change(left);
      if (this.#faults().latency === undefined && this.#faults().slowClose === undefined) return;
    }
  }

  async #pass(chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0 && !this.#isStopped) {
      const { slicer, bandwidth, limitData } = this.#faults();
      const allowed = limitData === undefined ? Infinity : limitData.bytes - this.#passedBytes;
      const perTick =
        bandwidth === undefined ? Infinity : Math.max(1, Math.ceil(bandwidth.bytesPerSecond / 50));
      const piece = rest.subarray(0, Math.max(0, Math.min(slicer?.bytes ?? Infinity, perTick, allowed)));
      if (piece.length === 0) return this.#end("fin");
      rest = rest.subarray(piece.length);
      this.#passedBytes += piece.length;
      // Its reader has gone, and nobody told the writer: what is still said goes nowhere.
      if (!this.#to.writable) return;
      const keepsUp = this.#to.write(piece);
      if (!keepsUp && !this.#to.destroyed) await this.#drained();
      const waitMs =
        (slicer?.delayMs ?? 0) +
        (bandwidth === undefined ? 0 : (piece.length / bandwidth.bytesPerSecond) * 1000);
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#to.off("drain", done).off("close", done);
        resolve();
      };
      this.#to.on("drain", done).on("close", done);
    });
  }

  async #finish(): Promise<void> {
    const { slowClose, halfOpen } = this.#faults();
    if (halfOpen) return void this.#from.end();
    if (slowClose !== undefined) await this.#pauseUntil(performance.now() + slowClose.ms);
    if (!this.#isStopped) this.#to.end();
  }
}
