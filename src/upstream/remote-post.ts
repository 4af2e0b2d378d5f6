import { GatewayError, type Reason } from "../errors.ts";
import { scanMessage } from "../protocol/json-rpc.ts";
import { type BodyReader, createEventReader, createJsonReader, messagesOf } from "./remote-body.ts";
import type { Exchange, Head, RemoteHttp } from "./remote-http.ts";
import type { Outgoing } from "./remote-wire.ts";

/** The server answered with an HTTP status that says no, or not at all. */
export class Refusal extends GatewayError {
  /** 0 when there was no answer. */
  readonly status: number;
  /** A JSON-RPC error that the server sent along, as the response to the request. */
  readonly answer: Buffer | undefined;

  constructor(status: number, cause?: Error, answer?: Buffer) {
    super(reasonOf(status), cause === undefined ? undefined : { cause });
    this.status = status;
    this.answer = answer;
  }
}

export function reasonOf(status: number): Reason & `upstream_${string}` {
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) return "upstream_refused";
  return status === 429 || status === 503 ? "upstream_busy" : "upstream_unreachable";
}

export interface PostOptions extends Outgoing {
  http: RemoteHttp;
  headers: Readonly<Record<string, string>>;
  path?: string;
  maxMessageBytes: number;
  /** The server took the message; before anything of its answer. */
  onAccepted?(head: Head): void;
  onMessage(message: Buffer): void;
  onEventId?(id: string): void;
  onRetry?(retryMs: number): void;
  onTooLarge(): void;
  /** Nothing more comes in answer to a message that the server took. */
  onEnd(): void;
}

/** What is read of a body that says no, and what is thrown away of one that nobody wants. */
const SPARE_BYTES = 64 * 1024;

/**
 * POSTs one message. `taken` resolves when the server's 2xx is here and rejects with a `Refusal`; after that nothing is
 * called. What of the body is a response to something else is for the caller to see.
 */
export function openPost(options: PostOptions): { exchange: Exchange; taken: Promise<void> } {
  const { http, envelope, message } = options;
  let resolve!: () => void;
  let reject!: (refusal: Refusal) => void;
  const taken = new Promise<void>((...both) => ([resolve, reject] = both));
  let head: Head | undefined;
  let reader: BodyReader | undefined;
  let isTaken = false;
  const exchange = http.exchange(
    {
      method: "POST",
      ...(options.path === undefined ? {} : { path: options.path }),
      headers: {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...options.headers,
      },
      body: message,
    },
    {
      onWritten: options.onWritten,
      onHead(given) {
        head = given;
        if (given.status >= 300) {
          reader = spareReader((body) =>
            reject(new Refusal(given.status, undefined, answerIn(body, options))),
          );
          return;
        }
        isTaken = true;
        options.onAccepted?.(given);
        resolve();
        const isAsked = envelope.kind === "request";
        reader = (isAsked ? answerReader(given, options) : undefined) ?? spareReader(() => undefined);
        // A stream in answer to nothing might never end.
        if (!isAsked && given.type === "text/event-stream") exchange.abort();
      },
      onData: (chunk) => reader?.push(chunk),
      onEnd(error) {
        if (error === undefined || !isTaken) reader?.end();
        if (isTaken) options.onEnd();
        // A refusal whose body was read is told already.
        else reject(new Refusal(head?.status ?? 0, error));
      },
    },
  );

  function spareReader(use: (body: Buffer) => void): BodyReader {
    const chunks: Buffer[] = [];
    let bytes = 0;
    return {
      push(chunk) {
        bytes += chunk.length;
        if (bytes <= SPARE_BYTES) chunks.push(chunk);
        else exchange.abort();
      },
      end: () => use(Buffer.concat(chunks)),
    };
  }
  return { exchange, taken };
}

function answerReader({ type }: Head, options: PostOptions): BodyReader | undefined {
  const { maxMessageBytes, onMessage, onEventId, onRetry, onTooLarge } = options;
  if (type === "application/json") return createJsonReader({ maxMessageBytes, onMessage, onTooLarge });
  if (type !== "text/event-stream") return undefined;
  return createEventReader({
    maxMessageBytes,
    onTooLarge,
    onRetry: (retryMs) => onRetry?.(retryMs),
    onEvent({ name, id, data }) {
      // The id after the message: what is read again then is what was not handed on.
      if (name === "message" && data !== "") messagesOf(Buffer.from(data)).forEach(onMessage);
      if (id !== undefined) onEventId?.(id);
    },
  });
}

/** The JSON-RPC error in a refusal, as an answer to the request. Many servers refuse before they have read its id. */
function answerIn(body: Buffer, { envelope }: PostOptions): Buffer | undefined {
  if (envelope.kind !== "request") return undefined;
  const [message] = messagesOf(body) as [Buffer?];
  if (message === undefined) return undefined;
  const found = scanMessage(message);
  if (typeof found !== "string") return found.failed && found.id === envelope.id ? message : undefined;
  if (found !== "invalid_id") return undefined;
  const { id, error } = JSON.parse(message.toString()) as { id?: unknown; error?: Record<string, unknown> };
  if (id !== null && id !== undefined) return undefined;
  if (!Number.isInteger(error?.["code"]) || typeof error?.["message"] !== "string") return undefined;
  return Buffer.from(`{"jsonrpc":"2.0","id":${envelope.id},"error":${JSON.stringify(error)}}`);
}
