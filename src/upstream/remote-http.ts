import type { IncomingHttpHeaders } from "node:http";
import { type Dispatcher, Pool } from "undici";
import { allowedLookup, forbiddenError, isForbidden } from "./remote-address.ts";

export interface RemoteHttpOptions {
  url: URL;
  /** Sent with every request. */
  headers: Readonly<Record<string, string>>;
  /**
   * Whether a connection carries one request after another. A response that the server sends unasked, in the moment in
   * which the next request is sent, is taken for the answer to that; so no connection may be kept for different clients.
   */
  keepAlive: boolean;
}

export interface RemoteRequest {
  method: "GET" | "POST" | "DELETE";
  /** Path and query, where they are not those of the server's URL. */
  path?: string;
  /** In lower case. They go before the operator's of the same name. */
  headers: Readonly<Record<string, string>>;
  body?: Buffer;
}

export interface Head {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Such as `application/json`, in lower case and without parameters. */
  readonly type: string;
}

/** What happens to one request. Nothing is called after `onEnd`. */
export interface ExchangeEvents {
  /** The request is being written to a connection. */
  onWritten?(): void;
  onHead(head: Head): void;
  onData(chunk: Buffer): void;
  /** Called exactly once. With an error when the response is not whole: there is none, it was cut, or was aborted. */
  onEnd(error?: Error): void;
}

/** One request and its response. */
export interface Exchange {
  /** Stops reading the body, so that the server's writing blocks. */
  pause(): void;
  resume(): void;
  /** Closes the connection and calls `onEnd` if it was not called. */
  abort(): void;
}

/** Connections to one server. */
export interface RemoteHttp {
  /** Sends one request, at most once. A redirect is a response like any other. */
  exchange(request: RemoteRequest, events: ExchangeEvents): Exchange;
  /** Ends all of its connections. Safe to call twice. */
  close(): Promise<void>;
}

const CONNECT_MS = 10_000;

/** Touches nothing until the first request. */
export function createRemoteHttp({ url, headers, keepAlive }: RemoteHttpOptions): RemoteHttp {
  const pool = new Pool(url.origin, {
    connect: { lookup: allowedLookup, timeout: CONNECT_MS, autoSelectFamily: true },
    // At most one request a connection at a time.
    pipelining: keepAlive ? 1 : 0,
    // Who asks decides how long it waits: a tool may work for an hour, a stream may be silent for a day.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const own = ownHeaders(url, headers);
  const path = url.pathname + url.search;
  let closing: Promise<void> | undefined;
  return {
    exchange(request, events) {
      const exchange = new PooledExchange(events);
      if (isForbidden(url.hostname)) {
        queueMicrotask(() => exchange.onResponseError(undefined, forbiddenError()));
        return exchange;
      }
      pool.dispatch(
        {
          path: request.path ?? path,
          method: request.method,
          headers: { ...own, ...request.headers },
          body: request.body ?? null,
        },
        exchange,
      );
      return exchange;
    },
    close: () => (closing ??= pool.destroy()),
  };
}

/** The operator's headers by their lower-case names, with the URL's user and password as one of them. */
function ownHeaders(url: URL, headers: Readonly<Record<string, string>>): Record<string, string> {
  const own: Record<string, string> = {};
  if (url.username !== "" || url.password !== "") {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    own["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  for (const [name, value] of Object.entries(headers)) own[name.toLowerCase()] = value;
  return own;
}

class PooledExchange implements Exchange, Dispatcher.DispatchHandler {
  readonly #events: ExchangeEvents;
  #controller: Dispatcher.DispatchController | undefined;
  #isPaused = false;
  #isOver = false;

  constructor(events: ExchangeEvents) {
    this.#events = events;
  }

  pause(): void {
    this.#isPaused = true;
    this.#controller?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#isOver) return;
    const error = new Error("aborted");
    this.#end(error);
    this.#controller?.abort(error);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) return controller.abort(new Error("aborted"));
    if (this.#isPaused) controller.pause();
    this.#events.onWritten?.();
  }

  onResponseStart(_controller: unknown, status: number, headers: IncomingHttpHeaders): void {
    if (this.#isOver || status < 200) return;
    const type = String(headers["content-type"] ?? "").split(";", 1)[0] as string;
    this.#events.onHead({ status, headers, type: type.trim().toLowerCase() });
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    if (!this.#isOver) this.#events.onData(chunk);
  }

  onResponseEnd(): void {
    this.#end(undefined);
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#end(error);
  }

  #end(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.onEnd(error);
  }
}
