import type { Writable } from "node:stream";
import { GatewayError } from "../errors.ts";

export interface MessageWriterOptions {
  /** How long a message waits for a reader that does not read, in milliseconds. */
  sendTimeoutMs: number;
}

interface WaitingMessage {
  message: Buffer;
  taken(): void;
  refuse(reason: "upstream_busy" | "upstream_exited"): void;
}

const NEWLINE = Buffer.from("\n");
/** Up to here a copy into one text costs less than a second buffer in the same write. */
const COPY_BYTES = 16 * 1024;
const MAX_WAITING = 1000;
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/** Gives messages to a child's stdin, in order, and lets them wait only for so long when the child does not read. */
export class MessageWriter {
  readonly #stdin: Writable;
  readonly #sendTimeoutMs: number;
  readonly #waiting = new Set<WaitingMessage>();
  #waitingBytes = 0;
  /** What the running turn has brought, a character a byte. */
  #lines = "";
  #ended = false;

  constructor(stdin: Writable, { sendTimeoutMs }: MessageWriterOptions) {
    this.#stdin = stdin;
    this.#sendTimeoutMs = sendTimeoutMs;
    stdin.on("drain", () => this.#writeWaiting());
    stdin.on("close", () => this.end());
  }

  /** As `Link.send`. */
  send(message: Buffer): Promise<void> | undefined {
    if (this.#ended || !this.#stdin.writable) return Promise.reject(new GatewayError("upstream_exited"));
    if (this.#waiting.size === 0 && !this.#stdin.writableNeedDrain) {
      this.#write(message);
      return undefined;
    }
    const tooMany = this.#waiting.size >= MAX_WAITING;
    const tooLarge = this.#waiting.size > 0 && this.#waitingBytes + message.length > MAX_WAITING_BYTES;
    if (tooMany || tooLarge) return Promise.reject(new GatewayError("upstream_busy"));
    return this.#wait(message);
  }

  /** Writes what the turn has brought, and refuses what still waits and what comes later. Safe to call twice. */
  end(): void {
    this.flush();
    this.#ended = true;
    for (const waiting of this.#waiting) waiting.refuse("upstream_exited");
  }

  /** Writes what the turn has brought. */
  flush(): void {
    const lines = this.#lines;
    this.#lines = "";
    if (lines !== "" && this.#stdin.writable) this.#stdin.write(lines, "latin1");
  }

  #wait(message: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
        this.#waitingBytes -= message.length;
      };
      const waiting: WaitingMessage = {
        message,
        taken() {
          leave();
          resolve();
        },
        refuse(reason) {
          leave();
          reject(new GatewayError(reason));
        },
      };
      const timer = setTimeout(() => waiting.refuse("upstream_busy"), this.#sendTimeoutMs);
      this.#waiting.add(waiting);
      this.#waitingBytes += message.length;
    });
  }

  #writeWaiting(): void {
    for (const waiting of this.#waiting) {
      if (this.#stdin.writableNeedDrain || !this.#stdin.writable) return;
      this.#write(waiting.message);
      waiting.taken();
    }
  }

  /** All of a turn in one system call: each would wake the reader, for half a line or for one message of many. */
  #write(message: Buffer): void {
    if (message.length > COPY_BYTES) return this.#writeLarge(message);
    if (this.#lines === "") flushAfterTurn(this);
    this.#lines += `${message.toString("latin1")}\n`;
    // As much as the pipe is to hold: what comes later in the turn need not wait for it.
    if (this.#stdin.writableLength + this.#lines.length >= this.#stdin.writableHighWaterMark) this.flush();
  }

  #writeLarge(message: Buffer): void {
    this.flush();
    this.#stdin.cork();
    this.#stdin.write(message);
    this.#stdin.write(NEWLINE);
    this.#stdin.uncork();
  }
}

let writers: MessageWriter[] = [];

/** Holds back what is written until all that has come in was looked at. */
function flushAfterTurn(writer: MessageWriter): void {
  if (writers.length === 0) setImmediate(flushAll);
  writers.push(writer);
}

function flushAll(): void {
  const all = writers;
  writers = [];
  for (const writer of all) writer.flush();
}
