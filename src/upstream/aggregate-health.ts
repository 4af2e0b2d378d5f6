import { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { Backoff } from "./aggregate-backoff.ts";

/** For so long a member that was too slow is not waited for. */
const SLOW_MS = 30_000;

/**
 * How a member has fared lately, over all links of one aggregate: one that does not start must not be started by each
 * client anew, nor keep each of them waiting.
 */
export class Health {
  readonly #name: string;
  readonly #log: Log;
  readonly #starts = new Backoff(1000);
  #slowUntil = Number.NEGATIVE_INFINITY;

  constructor(name: string, log: Log) {
    this.#name = name;
    this.#log = log;
  }

  /** Whether others should not be kept waiting for it. */
  get isDoubtful(): boolean {
    return this.#starts.isDoubtful || performance.now() < this.#slowUntil;
  }

  /** Whether it may be started now. */
  get isDue(): boolean {
    return this.#starts.isDue;
  }

  trying(): void {
    this.#starts.trying();
  }

  started(): void {
    if (this.#starts.isDoubtful) this.#log.info({ server: this.#name }, "A server is available again");
    this.#starts.succeeded();
  }

  /** It could not be started, or did not introduce itself. */
  failed(error: unknown): void {
    if (!this.#starts.isDoubtful) {
      this.#log.warn({ server: this.#name, err: error }, "A server is not available; the others go on");
    }
    this.#starts.failed();
  }

  /** It did not answer in time. */
  tookTooLong(): void {
    if (!this.isDoubtful) this.#log.warn({ server: this.#name }, "A server is slow; the others do not wait");
    this.#slowUntil = performance.now() + SLOW_MS;
  }
}

/** Whether a fault of opening a link says anything about the server, and not only about this moment or this client. */
export const isTelling = (error: unknown): boolean =>
  !(
    error instanceof GatewayError &&
    (error.reason === "upstream_era" || error.reason === "upstream_queue_full")
  );
