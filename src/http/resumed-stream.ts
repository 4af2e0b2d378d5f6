import type { ServerResponse } from "node:http";
import { COMMON_HEADERS, requestIdOf } from "./answer.ts";
import { EventStream } from "./event-stream.ts";

export interface ResumedStreamOptions {
  /** Begins the `id` of each event. */
  idPrefix: string;
  /** The number of the event that the client had last; undefined for a client that knows no event without data. */
  after: number | undefined;
  headers: Record<string, string>;
  retryMs: () => number;
}

/** How long the first event is waited for before the stream is begun all the same, so that its client sees it live. */
const PATIENCE_MS = 100;

/**
 * The stream on which a client goes on with a request's. It begins with its first event; when it turns out that none
 * will come, the request is answered 204 instead (see `answerNoMore`).
 */
export class ResumedStream extends EventStream {
  readonly #options: ResumedStreamOptions;
  readonly #patience: NodeJS.Timeout;
  #hasBegun = false;

  constructor(res: ServerResponse, options: ResumedStreamOptions) {
    super(res);
    this.#options = options;
    this.#patience = setTimeout(() => this.#begin(), PATIENCE_MS);
  }

  override write(sequence: number, message: Buffer): boolean {
    this.#begin();
    return super.write(sequence, message);
  }

  override ping(): void {
    if (this.#hasBegun) super.ping();
  }

  override end(retryMs?: number): void {
    if (!this.#hasBegun && retryMs === undefined) {
      clearTimeout(this.#patience);
      this.#hasBegun = true;
      return answerNoMore(this.res);
    }
    this.#begin();
    super.end(retryMs);
  }

  protected override closed(): void {
    clearTimeout(this.#patience);
  }

  #begin(): void {
    clearTimeout(this.#patience);
    if (this.#hasBegun || this.isClosed) return;
    this.#hasBegun = true;
    const { idPrefix, after, headers, retryMs } = this.#options;
    this.begin(headers);
    this.prime(idPrefix, retryMs(), after);
  }
}

/**
 * Nothing will come: the request was cancelled, or its answer has been had. A stream that ends without a response makes
 * SDK clients come again for ever, and so do v1 clients for one that ended with an error.
 */
export function answerNoMore(res: ServerResponse): void {
  res.writeHead(204, { ...COMMON_HEADERS, "X-Request-Id": requestIdOf(res) });
  res.end();
}
