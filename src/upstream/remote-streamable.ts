import { GatewayError } from "../errors.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import { messagesOf, type ServerEvent } from "./remote-body.ts";
import type { Exchange, Head, RemoteHttp } from "./remote-http.ts";
import { openPost, Refusal } from "./remote-post.ts";
import { RemoteStream, type RemoteStreamOptions } from "./remote-stream.ts";
import { type Outgoing, requestIdIn, type Wire, type WireOptions, type WireOwner } from "./remote-wire.ts";

const RESUME_TRIES = 5;
/** Some servers send the head of a stream only with its first event; nobody waits longer for it. */
const LISTEN_MS = 1000;
const GOODBYE_MS = 2000;
/** How long a server may take to say what follows from a cancellation, on the stream of what was cancelled. */
const LINGER_MS = 1000;
const VISIBLE_ASCII = /^[\x21-\x7e]{1,1024}$/;

/** Streamable HTTP of 2025-03-26 to 2025-11-25. */
export class StreamableWire implements Wire {
  #answersLate = false;
  readonly #http: RemoteHttp;
  readonly #maxMessageBytes: number;
  readonly #owner: WireOwner;
  readonly #posts = new Map<Exchange, string | undefined>();
  readonly #streams = new Map<RemoteStream, string | undefined>();
  #initializeId: string | undefined;
  #sessionId: string | undefined;
  #version: string | undefined;
  #closing: Promise<void> | undefined;

  constructor({ http, maxMessageBytes, owner }: WireOptions) {
    this.#http = http;
    this.#maxMessageBytes = maxMessageBytes;
    this.#owner = owner;
  }

  get answersLate(): boolean {
    return this.#answersLate;
  }

  async post(outgoing: Outgoing): Promise<void> {
    const { envelope } = outgoing;
    if (envelope.method === "initialize") this.#initializeId = envelope.id;
    try {
      await this.#post(outgoing);
    } catch (error) {
      if (!(error instanceof Refusal) || !this.#isGone(error.status)) throw error;
      this.#forgotten();
      throw new GatewayError("upstream_exited", { cause: error });
    }
    // The server drops what it has for the client before there is a stream for it.
    if (envelope.method === "notifications/initialized") await this.#listen();
    if (envelope.method === "notifications/cancelled") this.#abandon(requestIdIn(outgoing.message));
  }

  pause(): void {
    for (const open of [...this.#posts.keys(), ...this.#streams.keys()]) open.pause();
  }

  resume(): void {
    for (const open of [...this.#posts.keys(), ...this.#streams.keys()]) open.resume();
  }

  close(): Promise<void> {
    this.#closing ??= this.#sayGoodbye().then(() => this.#http.close());
    return this.#closing;
  }

  #headers(): Record<string, string> {
    return {
      ...(this.#sessionId === undefined ? {} : { "mcp-session-id": this.#sessionId }),
      ...(this.#version === undefined ? {} : { "mcp-protocol-version": this.#version }),
    };
  }

  /** The server has forgotten our session. */
  #isGone(status: number): boolean {
    return status === 404 && this.#sessionId !== undefined;
  }

  #forgotten(): void {
    this.#sessionId = undefined;
    this.#owner.gone("upstream_exited");
  }

  async #post(outgoing: Outgoing): Promise<void> {
    const { id, method, kind } = outgoing.envelope;
    let lastEventId: string | undefined;
    let retryMs: number | undefined;
    const { exchange, taken } = openPost({
      ...outgoing,
      http: this.#http,
      headers: this.#headers(),
      maxMessageBytes: this.#maxMessageBytes,
      onAccepted: (head) => {
        if (method === "initialize") this.#begin(head);
        if (kind === "request") this.#answersLate = head.type === "application/json";
      },
      onMessage: (message) => this.#receive(message),
      onEventId: (eventId) => (lastEventId = eventId),
      onRetry: (given) => (retryMs = given),
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
      onEnd: () => {
        this.#posts.delete(exchange);
        if (kind !== "request" || !this.#owner.isAsked(id as string)) return;
        if (lastEventId === undefined) return this.#owner.fail(id as string, "upstream_unreachable");
        // Who says when to come again has ended the stream on purpose.
        if (retryMs !== undefined) this.#owner.rest(id as string);
        this.#follow(id as string, lastEventId, retryMs);
      },
    });
    if (this.#owner.isPaused) exchange.pause();
    this.#posts.set(exchange, id);
    try {
      await taken;
    } catch (error) {
      this.#posts.delete(exchange);
      throw error;
    }
  }

  #begin({ headers }: Head): void {
    const sessionId = headers["mcp-session-id"];
    if (typeof sessionId === "string" && VISIBLE_ASCII.test(sessionId)) this.#sessionId = sessionId;
  }

  #receive(message: Buffer): void {
    if (this.#initializeId !== undefined) this.#readVersion(message, this.#initializeId);
    this.#owner.receive(message);
  }

  #readVersion(message: Buffer, initializeId: string): void {
    const envelope = scanMessage(message);
    if (typeof envelope === "string" || envelope.kind !== "response" || envelope.id !== initializeId) return;
    this.#initializeId = undefined;
    const span = locate(message, ["result", "protocolVersion"]);
    const version: unknown = span === undefined ? undefined : JSON.parse(textAt(message, span));
    if (typeof version === "string" && VISIBLE_ASCII.test(version)) this.#version = version;
  }

  /** Waits for the rest of an answer whose stream was cut. */
  #follow(id: string, lastEventId: string, retryMs: number | undefined): void {
    const stream = this.#stream({
      lastEventId,
      retryMs,
      maxTries: RESUME_TRIES,
      isWanted: () => this.#owner.isAsked(id),
      onEvent: (event) => {
        this.#read(event);
        if (!this.#owner.isAsked(id)) this.#drop(stream);
      },
      onLost: (status) => {
        this.#streams.delete(stream);
        if (this.#isGone(status)) this.#forgotten();
        else this.#owner.fail(id, "upstream_unreachable");
      },
    });
    this.#streams.set(stream, id);
    stream.openLater();
  }

  /** Opens the stream for what belongs to no request. Resolves when the server has answered it, either way. */
  #listen(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LISTEN_MS);
      const answered = (): void => {
        clearTimeout(timer);
        resolve();
      };
      let hasStood = false;
      const stream = this.#stream({
        maxTries: Infinity,
        isWanted: () => !this.#owner.isOver,
        onOpen: () => {
          hasStood = true;
          answered();
        },
        onCut: answered,
        onEvent: (event) => this.#read(event),
        onLost: (status) => {
          this.#streams.delete(stream);
          // At first it may only mean that the server has no such stream.
          if (hasStood && this.#isGone(status)) this.#forgotten();
          answered();
        },
      });
      this.#streams.set(stream, undefined);
      stream.open();
    });
  }

  #stream(
    options: Omit<RemoteStreamOptions, "http" | "headers" | "maxMessageBytes" | "isPaused" | "onTooLarge">,
  ): RemoteStream {
    return new RemoteStream({
      ...options,
      http: this.#http,
      headers: () => this.#headers(),
      maxMessageBytes: this.#maxMessageBytes,
      isPaused: () => this.#owner.isPaused,
      onTooLarge: () => this.#owner.gone("upstream_message_too_large"),
    });
  }

  #read({ name, data }: ServerEvent): void {
    if (name === "message") messagesOf(Buffer.from(data)).forEach((message) => this.#receive(message));
  }

  #drop(stream: RemoteStream): void {
    this.#streams.delete(stream);
    stream.close();
  }

  /** Nobody waits for this answer any more, and the server may never end its stream; but it takes back on it what it asked. */
  #abandon(id: string | undefined): void {
    if (id === undefined) return;
    for (const [exchange, of] of this.#posts)
      if (of === id) setTimeout(() => exchange.abort(), LINGER_MS).unref();
    for (const [stream, of] of this.#streams) if (of === id) this.#drop(stream);
  }

  async #sayGoodbye(): Promise<void> {
    for (const exchange of this.#posts.keys()) exchange.abort();
    for (const stream of this.#streams.keys()) stream.close();
    this.#streams.clear();
    if (this.#sessionId === undefined) return;
    await new Promise<void>((resolve) => {
      const over = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => exchange.abort(), GOODBYE_MS);
      const exchange = this.#http.exchange(
        { method: "DELETE", headers: this.#headers() },
        { onHead: () => exchange.abort(), onData: () => undefined, onEnd: over },
      );
    });
  }
}
