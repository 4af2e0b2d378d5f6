import type { ServerResponse } from "node:http";
import { COMMON_HEADERS, requestIdOf, writeWhole } from "./answer.ts";
import { COPY_BYTES, EventStream } from "./event-stream.ts";

export interface AnswerStreamOptions {
  /** Begins the `id` of each event. */
  idPrefix: string;
  /** Whether the client knows an event without data; only one that has an event's id can go on after a cut. */
  canPrime: boolean;
  /** Whether the client would rather have a stream than plain JSON. */
  prefersStream: boolean;
  /** The session's id, which the client is told with every answer. */
  sessionId: string;
  retryMs: () => number;
}

/** How long an answer is waited for before a stream is begun, which a cut cannot lose. Most answers need no stream. */
const PATIENCE_MS = 100;
const JSON_HEADERS = Object.entries({
  ...COMMON_HEADERS,
  "Content-Type": "application/json; charset=utf-8",
}).flat();

/** How long a client may take to read an answer: so long, plus 1 ms for each 32 bytes. */
const SLOW_MS = 30_000;
const SLOW_BYTES_PER_MS = 32;

/**
 * The response to one POSTed request: plain JSON when the answer is the first that comes and comes soon, else an SSE
 * stream that ends with the answer.
 */
export class AnswerStream extends EventStream {
  readonly #options: AnswerStreamOptions;
  readonly #patience: NodeJS.Timeout;
  /** The number of the last event. That of the first, which told the client only its id, is 0. */
  #last = 0;
  #held: { sequence: number; message: Buffer } | undefined;
  /** An event has gone out, whose id the client can name. */
  #hasWritten = false;
  #state: "waiting" | "stream" | "over" = "waiting";

  constructor(res: ServerResponse, options: AnswerStreamOptions) {
    super(res);
    this.#options = options;
    this.#patience = setTimeout(() => this.#begin(), PATIENCE_MS);
  }

  override get canResume(): boolean {
    // Ending it before it has begun tells the client of an event all the same.
    const tells = this.#state === "stream" || (this.#state === "waiting" && !this.isClosed);
    return tells && (this.#options.canPrime || this.#hasWritten);
  }

  /** Whether the response has begun, so that nothing else can be answered. */
  get hasBegun(): boolean {
    return this.#state !== "waiting";
  }

  override write(sequence: number, message: Buffer): boolean {
    if (this.#state === "over") return true;
    this.#last = sequence;
    if (this.#state === "waiting") {
      if (this.#held === undefined && !this.#options.prefersStream) {
        this.#held = { sequence, message };
        // If it is the answer, the stream is ended in this turn.
        queueMicrotask(() => this.#state === "waiting" && this.#begin());
        return true;
      }
      this.#begin();
    }
    this.#hasWritten = true;
    return super.write(sequence, message);
  }

  /** Ends with this answer of the gateway's own, behind whatever came. */
  fail(message: Buffer): void {
    this.write(this.#last + 1, message);
    this.end();
  }

  override ping(): void {
    if (this.#state === "stream") super.ping();
  }

  override end(retryMs?: number): void {
    if (this.#state === "over") return;
    if (this.#state === "waiting" && this.#held !== undefined && retryMs === undefined)
      return this.#answer(this.#held.message);
    if (this.#state === "waiting") this.#begin();
    super.end(retryMs);
  }

  /** The request was not given to the server: somebody else answers. */
  release(): void {
    clearTimeout(this.#patience);
    if (this.#state === "waiting") this.#state = "over";
  }

  protected override closed(): void {
    this.release();
  }

  #answer(message: Buffer): void {
    clearTimeout(this.#patience);
    this.#state = "over";
    // Names and values in turn, which Node writes as they are.
    const headers = [...JSON_HEADERS, "Content-Length", String(message.length), "X-Request-Id"];
    headers.push(requestIdOf(this.res), "Mcp-Session-Id", this.#options.sessionId);
    this.res.writeHead(200, headers);
    const isSmall = message.length <= COPY_BYTES;
    if (isSmall) writeWhole(this.res, message.toString("latin1"));
    this.finish(isSmall ? undefined : message, SLOW_MS + message.length / SLOW_BYTES_PER_MS, this.taken);
  }

  #begin(): void {
    clearTimeout(this.#patience);
    if (this.#state !== "waiting") return;
    this.#state = "stream";
    const { idPrefix, canPrime, sessionId, retryMs } = this.#options;
    this.begin({ "Mcp-Session-Id": sessionId });
    this.prime(idPrefix, retryMs(), canPrime ? 0 : undefined);
    if (this.#held === undefined) return;
    this.#hasWritten = true;
    super.write(this.#held.sequence, this.#held.message);
  }
}
