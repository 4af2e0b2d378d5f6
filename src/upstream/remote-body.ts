import { StringDecoder } from "node:string_decoder";
import { createParser } from "eventsource-parser";
import { onOneLine } from "../protocol/json-rpc.ts";
import { ARRAY, beginWalk, COMMA, skipSpace, skipValue } from "../protocol/json.ts";

export interface ServerEvent {
  /** `message` when the server named none. */
  readonly name: string;
  /** Undefined when there was none that can be sent back as `Last-Event-ID`. */
  readonly id: string | undefined;
  readonly data: string;
}

export interface EventReaderOptions {
  /** The longest `data` of an event, in bytes. */
  maxMessageBytes: number;
  onEvent(event: ServerEvent): void;
  /** How long to wait before the next connection, in ms. */
  onRetry(retryMs: number): void;
  /** Called once; nothing is called after it. */
  onTooLarge(): void;
}

export interface BodyReader {
  push(chunk: Buffer): void;
  /** The body is whole. */
  end(): void;
}

const ARRAY_END = 0x5d;
/** Names of fields, line ends and the id beside the data. */
const EVENT_FRAME = 4096;
const RETURNABLE_ID = /^[\x20-\x7e]{1,1024}$/;

/** Reads a `text/event-stream`. */
export function createEventReader(options: EventReaderOptions): BodyReader {
  const { maxMessageBytes, onEvent, onRetry, onTooLarge } = options;
  const decoder = new StringDecoder("utf8");
  let isStopped = false;
  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    onTooLarge();
  };
  const parser = createParser({
    maxBufferSize: maxMessageBytes + EVENT_FRAME,
    onEvent({ event = "message", id, data }) {
      if (isStopped) return;
      if (Buffer.byteLength(data) > maxMessageBytes) return stop();
      onEvent({ name: event, id: id !== undefined && RETURNABLE_ID.test(id) ? id : undefined, data });
    },
    onRetry: (retryMs) => isStopped || onRetry(retryMs),
    onError: ({ type }) => type === "max-buffer-size-exceeded" && stop(),
  });
  let isFirst = true;
  return {
    push(chunk) {
      if (isStopped) return;
      const text = decoder.write(chunk);
      if (text === "") return;
      // The parser knows a byte order mark only where each byte is a character.
      parser.feed(isFirst && text.startsWith("\ufeff") ? text.slice(1) : text);
      isFirst = false;
    },
    end: () => undefined,
  };
}

/** Reads an `application/json` body, which is one message or an array of them. */
export function createJsonReader(options: {
  maxMessageBytes: number;
  onMessage(message: Buffer): void;
  onTooLarge(): void;
}): BodyReader {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    push(chunk) {
      if (bytes > options.maxMessageBytes) return;
      bytes += chunk.length;
      if (bytes > options.maxMessageBytes) {
        chunks.length = 0;
        return options.onTooLarge();
      }
      chunks.push(chunk);
    },
    end() {
      for (const message of messagesOf(Buffer.concat(chunks))) options.onMessage(message);
    },
  };
}

/**
 * The messages of a JSON text, each on one line: itself, or the elements of an array, as in version 2025-03-26. An array
 * that is broken has none; whether a message is one is not looked into.
 */
export function messagesOf(text: Buffer): Buffer[] {
  const line = onOneLine(text);
  let at = skipSpace(line, 0);
  if (line[at] !== ARRAY) return [line];
  const messages: Buffer[] = [];
  beginWalk();
  do {
    const start = skipSpace(line, at + 1);
    const end = skipValue(line, start, 2);
    if (end < 0) return [];
    messages.push(line.subarray(start, end));
    at = skipSpace(line, end);
  } while (line[at] === COMMA);
  return line[at] === ARRAY_END && skipSpace(line, at + 1) === line.length ? messages : [];
}
