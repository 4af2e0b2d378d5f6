import type { Reason } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import type { RemoteHttp } from "./remote-http.ts";
import type { LinkEnd } from "./upstream.ts";

export interface Outgoing {
  readonly message: Buffer;
  readonly envelope: Envelope;
  /** To be called when the message is being written to a connection. */
  onWritten(): void;
}

/** How one link's messages travel: a transport of MCP. */
export interface Wire {
  /** Whether the server says that it took a request only with the answer, so that the next message cannot wait for it. */
  readonly answersLate: boolean;
  /**
   * Gives one message to the server, at most once. Resolves when the server took it and the next may follow. Rejects
   * with a `GatewayError`; then nothing is heard of the message any more.
   */
  post(outgoing: Outgoing): Promise<void>;
  pause(): void;
  resume(): void;
  /** Ends the server's session and all connections. Safe to call twice. */
  close(): Promise<void>;
}

export interface WireOptions {
  /** The wire's own; it closes it. */
  http: RemoteHttp;
  url: URL;
  maxMessageBytes: number;
  owner: WireOwner;
}

/** What a wire tells its link. */
export interface WireOwner {
  /** Nothing that comes now is of interest any more. */
  readonly isOver: boolean;
  readonly isPaused: boolean;
  /** One message from the server, on one line. */
  receive(message: Buffer): void;
  /** Whether this request of the client has no answer yet. */
  isAsked(id: string): boolean;
  /** The server answers this request on another stream, later. */
  rest(id: string): void;
  /** No answer to this request can come any more. */
  fail(id: string, reason: Reason): void;
  /** Nothing more can come, and nothing can be sent. */
  gone(end: Exclude<LinkEnd, "closed">): void;
}

/** Which request a `notifications/cancelled` is about, as JSON text. */
export function requestIdIn(message: Buffer): string | undefined {
  const span = locate(message, ["params", "requestId"]);
  return span === undefined ? undefined : textAt(message, span);
}
