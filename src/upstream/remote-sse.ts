import { GatewayError } from "../errors.ts";
import { messagesOf, type ServerEvent } from "./remote-body.ts";
import type { Exchange, RemoteHttp } from "./remote-http.ts";
import { openPost, Refusal } from "./remote-post.ts";
import { RemoteStream } from "./remote-stream.ts";
import type { Outgoing, Wire, WireOptions, WireOwner } from "./remote-wire.ts";

const RECONNECTS = 5;
const ENDPOINT_MS = 10_000;

/** Where messages go, as path and query, once the server has said so. */
interface Endpoint {
  readonly path: Promise<string>;
  resolve(path: string): void;
  reject(error: GatewayError): void;
}

/** HTTP+SSE of 2024-11-05: a stream for what the server says, and an endpoint for what it is told. */
export class SseWire implements Wire {
  readonly answersLate = false;
  readonly #http: RemoteHttp;
  readonly #url: URL;
  readonly #maxMessageBytes: number;
  readonly #owner: WireOwner;
  readonly #posts = new Set<Exchange>();
  #stream: RemoteStream | undefined;
  #endpoint: Endpoint | undefined;
  /** The endpoint that the server's session has. */
  #path: string | undefined;
  #closing: Promise<void> | undefined;

  constructor({ http, url, maxMessageBytes, owner }: WireOptions) {
    this.#http = http;
    this.#url = url;
    this.#maxMessageBytes = maxMessageBytes;
    this.#owner = owner;
  }

  async post(outgoing: Outgoing): Promise<void> {
    const path = await this.#connected();
    const { exchange, taken } = openPost({
      ...outgoing,
      http: this.#http,
      path,
      headers: {},
      maxMessageBytes: this.#maxMessageBytes,
      // Some servers answer here as well; what was answered already is dropped.
      onMessage: (message) => this.#owner.receive(message),
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
      onEnd: () => this.#posts.delete(exchange),
    });
    this.#posts.add(exchange);
    try {
      await taken;
    } catch (error) {
      this.#posts.delete(exchange);
      if (!(error instanceof Refusal) || error.status !== 404) throw error;
      this.#owner.gone("upstream_exited");
      throw new GatewayError("upstream_exited", { cause: error });
    }
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  close(): Promise<void> {
    this.#path = undefined;
    this.#lose(new GatewayError("upstream_exited"));
    for (const exchange of this.#posts) exchange.abort();
    return (this.#closing ??= this.#http.close());
  }

  #connected(): Promise<string> {
    if (this.#endpoint === undefined) {
      this.#endpoint = awaitEndpoint((error) => this.#lose(error));
      this.#stream = this.#open();
      this.#stream.open();
    }
    return this.#endpoint.path;
  }

  #open(): RemoteStream {
    return new RemoteStream({
      http: this.#http,
      headers: () => ({}),
      maxMessageBytes: this.#maxMessageBytes,
      maxTries: RECONNECTS,
      isPaused: () => this.#owner.isPaused,
      isWanted: () => this.#path !== undefined && !this.#owner.isOver,
      onEvent: (event) => this.#read(event),
      onCut: () => (this.#endpoint = awaitEndpoint((error) => this.#lose(error))),
      onLost: (status, error) => this.#lose(new Refusal(status, error)),
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
    });
  }

  #read({ name, data }: ServerEvent): void {
    if (name === "message") messagesOf(Buffer.from(data)).forEach((one) => this.#owner.receive(one));
    else if (name === "endpoint") this.#foundEndpoint(data);
  }

  #foundEndpoint(data: string): void {
    const url = URL.canParse(data, this.#url.href) ? new URL(data, this.#url) : undefined;
    // Another origin would be sent the operator's headers.
    if (url?.origin !== this.#url.origin) return this.#lose(new GatewayError("upstream_unreachable"));
    const path = url.pathname + url.search;
    // Another endpoint is another session, which has not been initialized.
    if (this.#path !== undefined && this.#path !== path)
      return this.#lose(new GatewayError("upstream_exited"));
    this.#path = path;
    this.#endpoint?.resolve(path);
  }

  /** The stream is not there and does not come back. */
  #lose(error: GatewayError): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.#endpoint?.reject(error);
    this.#endpoint = undefined;
    if (this.#path !== undefined) this.#owner.gone("upstream_exited");
  }
}

function awaitEndpoint(onLate: (error: GatewayError) => void): Endpoint {
  let resolve!: (path: string) => void;
  let reject!: (error: GatewayError) => void;
  const path = new Promise<string>((...both) => ([resolve, reject] = both));
  const timer = setTimeout(() => onLate(new GatewayError("upstream_unreachable")), ENDPOINT_MS);
  path.catch(() => undefined).finally(() => clearTimeout(timer));
  return { path, resolve, reject };
}
