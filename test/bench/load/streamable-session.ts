import { AnswerReader } from "./answer-reader.ts";
import { Calls } from "./calls.ts";
import type { ClientSession, SessionEvents } from "./client-session.ts";
import { EventStream } from "./event-stream.ts";
import { readMessage } from "./message.ts";
import type { LoadPlan } from "./orders.ts";
import { PostConnection } from "./post-connection.ts";
import { PROTOCOL_VERSION } from "./protocol-version.ts";

const STREAM_WITHIN_MS = 30_000;

/** Streamable HTTP: each answer is the response to its POST, as JSON or as events. */
export class StreamableSession implements ClientSession {
  readonly takenStatus = 200;
  readonly calls: Calls;
  readonly path: string;
  endpointMs = Number.NaN;
  isOpen = true;
  readonly #port: number;
  readonly #startedAt = performance.now();
  readonly #onLost: () => void;
  readonly #connections: PostConnection[] = [];
  #headers: Record<string, string>;
  #stream: EventStream | undefined;

  constructor({ port, path, headers, ...plan }: LoadPlan, index: number, { onStray, onLost }: SessionEvents) {
    this.#port = port;
    this.#headers = headers;
    this.#onLost = onLost;
    this.path = path;
    this.calls = new Calls(plan, index, onStray);
  }

  async ready(): Promise<void> {}

  connect(): PostConnection {
    const answers = new AnswerReader((message) => this.calls.take(message));
    const connection = new PostConnection(this.#port, this.#postHeaders(), answers);
    this.#connections.push(connection);
    return connection;
  }

  begin(connection: PostConnection): void {
    this.endpointMs = performance.now() - this.#startedAt;
    const id = connection.responseHeader("mcp-session-id");
    this.#headers = {
      ...this.#headers,
      "Mcp-Protocol-Version": PROTOCOL_VERSION,
      ...(id === undefined ? {} : { "Mcp-Session-Id": id }),
    };
    connection.setHeaders(this.#postHeaders());
  }

  /** A server may have no stream, and says so with 405. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no event stream within 30 s")), STREAM_WITHIN_MS);
      let isListening = false;
      this.#stream = new EventStream(this.#port, this.path, this.#headers, {
        onHead: (status) => {
          clearTimeout(timer);
          isListening = status === 200;
          if (isListening || status === 405) resolve();
          else reject(new Error(`the stream was answered ${status}`));
        },
        onEvent: (_event, data) => {
          // An event without data only carries the id to resume from.
          if (data !== "") this.calls.take(readMessage(data));
        },
        onEnd: (status) => {
          clearTimeout(timer);
          reject(new Error(`the stream was answered ${status} and ended`));
          if (this.isOpen && isListening) this.#onLost();
        },
      });
    });
  }

  close(): void {
    this.isOpen = false;
    this.#stream?.close();
    for (const connection of this.#connections) connection.close();
  }

  #postHeaders(): Record<string, string> {
    return { Accept: "application/json, text/event-stream", ...this.#headers };
  }
}
