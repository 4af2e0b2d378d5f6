import { createEventReader, type ServerEvent } from "./remote-body.ts";
import type { Exchange, Head, RemoteHttp } from "./remote-http.ts";
import { reasonOf } from "./remote-post.ts";

export interface RemoteStreamOptions {
  http: RemoteHttp;
  headers(): Record<string, string>;
  maxMessageBytes: number;
  /** Where an earlier connection left off. */
  lastEventId?: string | undefined;
  /** How long the server wants to be left alone before a connection is opened again, in ms. */
  retryMs?: number | undefined;
  /** How often in a row it may be opened again without an event. */
  maxTries: number;
  isPaused(): boolean;
  onEvent(event: ServerEvent): void;
  /** A connection stands. */
  onOpen?(): void;
  /** The connection was cut and is to be opened again. */
  onCut?(): void;
  /** Whether it is to be opened again. */
  isWanted(): boolean;
  /** It is not opened again. `status` is what the server answered last, 0 for nothing. */
  onLost(status: number, error: Error | undefined): void;
  onTooLarge(): void;
}

const RETRY_MS = 1000;
/** Whatever the server wants, it is not asked more often. */
const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;
/** A connection that stood for so long, or brought data, was no failure. */
const STOOD_MS = 10_000;

/** A GET stream of events that is opened again when it is cut, from where it was cut. */
export class RemoteStream {
  readonly #options: RemoteStreamOptions;
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastEventId: string | undefined;
  #retryMs: number | undefined;
  #failures = 0;
  /** Connections in a row that brought no event, not even one without data. */
  #tries = 0;
  #isClosed = false;

  constructor(options: RemoteStreamOptions) {
    this.#options = options;
    this.#lastEventId = options.lastEventId;
    this.#retryMs = options.retryMs;
  }

  open(): void {
    const { http, headers, maxMessageBytes, onEvent, onTooLarge } = this.#options;
    const last = this.#lastEventId;
    let head: Head | undefined;
    let openedAt = Infinity;
    const reader = createEventReader({
      maxMessageBytes,
      onTooLarge,
      onRetry: (retryMs) => (this.#retryMs = retryMs),
      onEvent: (event) => {
        this.#tries = 0;
        if (event.data !== "") {
          this.#failures = 0;
          onEvent(event);
        }
        if (event.id !== undefined) this.#lastEventId = event.id;
      },
    });
    const isStream = () => head?.status === 200 && head.type === "text/event-stream";
    this.#exchange = http.exchange(
      {
        method: "GET",
        headers: {
          accept: "text/event-stream",
          ...headers(),
          ...(last === undefined ? {} : { "last-event-id": last }),
        },
      },
      {
        onHead: (given) => {
          head = given;
          if (this.#isClosed) return;
          if (isStream()) {
            openedAt = performance.now();
            this.#options.onOpen?.();
          } else {
            // What the body says is of no use.
            this.#exchange?.abort();
          }
        },
        onData: (chunk) => isStream() && !this.#isClosed && reader.push(chunk),
        onEnd: (error) => {
          if (this.#isClosed) return;
          if (performance.now() - openedAt > STOOD_MS) this.#failures = this.#tries = 0;
          this.#ended(isStream() ? undefined : (head?.status ?? 0), head === undefined ? error : undefined);
        },
      },
    );
    if (this.#options.isPaused()) this.#exchange.pause();
  }

  /** Opens it after the time that the server wants, and ever later while nothing comes of it. */
  openLater(): void {
    const firstMs = Math.max(this.#retryMs ?? RETRY_MS, 1);
    const wantedMs = Math.max(firstMs * 2 ** Math.max(0, this.#failures - 1), MIN_RETRY_MS);
    const delayMs = Math.min(wantedMs, MAX_RETRY_MS);
    // A server that comes back is not met by all links at once.
    this.#timer = setTimeout(() => this.open(), delayMs * (1 + Math.random() / 4));
  }

  pause(): void {
    this.#exchange?.pause();
  }

  resume(): void {
    this.#exchange?.resume();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  /** `status` is undefined when the stream stood. */
  #ended(status: number | undefined, error: Error | undefined): void {
    const { isWanted, onLost, onCut, maxTries } = this.#options;
    const isFinal =
      status !== undefined && status !== 0 && status < 500 && reasonOf(status) !== "upstream_busy";
    this.#failures += 1;
    this.#tries += 1;
    if (isFinal || this.#tries > maxTries || !isWanted()) {
      this.close();
      return onLost(status ?? 0, error);
    }
    onCut?.();
    this.openLater();
  }
}
