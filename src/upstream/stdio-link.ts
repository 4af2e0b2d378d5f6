import { isUtf8 } from "node:buffer";
import type { Log } from "../log.ts";
import { createLineReader } from "../protocol/lines.ts";
import type { Child } from "./child.ts";
import { MessageWriter } from "./message-writer.ts";
import type { Link, LinkEnd, LinkEvents } from "./upstream.ts";

export interface StdioLinkOptions {
  maxLineBytes: number;
  /** How long a message waits for a child that does not read, in milliseconds. */
  sendTimeoutMs: number;
  log: Log;
  /** The child wrote its first line. */
  onFirstLine: () => void;
  /** The child wrote a line that is no message. */
  onGarbage: () => void;
  /** The child has ended by itself, or had to be ended for what it sent. */
  onOwnEnd: (why: string) => void;
}

/** How long a process that outlives the child may keep the child's stdout open. */
const LAST_WORDS_MS = 1000;
const GARBAGE_LOG_MS = 10_000;
const STDERR_CHARACTERS = 2000;

/** One session's connection to a child process of its own, one message a line. */
export class StdioLink implements Link {
  readonly #child: Child;
  readonly #events: LinkEvents;
  readonly #options: StdioLinkOptions;
  readonly #writer: MessageWriter;
  #closing = false;
  #exited = false;
  #hasSpoken = false;
  #end: LinkEnd | undefined;
  #garbageLines = 0;
  #garbageLoggedAt = Number.NEGATIVE_INFINITY;

  constructor(child: Child, events: LinkEvents, options: StdioLinkOptions) {
    this.#child = child;
    this.#events = events;
    this.#options = options;
    this.#writer = new MessageWriter(child.stdin, options);
    const reader = createLineReader({
      maxLineBytes: options.maxLineBytes,
      onLine: (line) => this.#read(line),
      onTooLong: () => this.#finish("upstream_message_too_large"),
    });
    child.stdout.on("data", (chunk: Buffer) => {
      if (this.#isLive()) reader.push(chunk);
    });
    const finish = (): void => {
      if (this.#isLive()) reader.end();
      this.#finish(this.#closing ? "closed" : "upstream_exited");
    };
    child.stdout.once("close", finish);
    // A child that closed its input can be told nothing more, so it may as well end.
    child.stdin.once("close", () => void child.close());
    void this.#watchExit(finish);
  }

  send(message: Buffer): Promise<void> | undefined {
    return this.#writer.send(message);
  }

  pause(): void {
    // Nothing more than a pipe can hold comes from the dead, and the end must come even if nobody resumes.
    if (!this.#closing && !this.#exited) this.#child.stdout.pause();
  }

  resume(): void {
    this.#child.stdout.resume();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#writer.end();
    // Read on and forget: a child that is blocked on its output would not see that its input has ended.
    this.#child.stdout.resume();
    await this.#child.close();
    this.#finish("closed");
  }

  #isLive(): boolean {
    return !this.#closing && !this.#end;
  }

  #read(line: Buffer): void {
    if (!this.#isLive()) return;
    if (!this.#hasSpoken) {
      this.#hasSpoken = true;
      this.#options.onFirstLine();
    }
    if (looksLikeMessage(line) && isUtf8(line)) this.#events.onMessage(line);
    else this.#countGarbage(line.length);
  }

  #countGarbage(bytes: number): void {
    this.#garbageLines += 1;
    this.#options.onGarbage();
    if (performance.now() - this.#garbageLoggedAt < GARBAGE_LOG_MS) return;
    this.#garbageLoggedAt = performance.now();
    const lines = this.#garbageLines;
    this.#options.log.warn({ bytes, lines }, "The server writes to stdout what is no message; it is dropped");
  }

  async #watchExit(finish: () => void): Promise<void> {
    await this.#child.exited;
    this.#exited = true;
    if (this.#end) return;
    this.#child.stdout.resume();
    const timer = setTimeout(finish, LAST_WORDS_MS);
    this.#child.stdout.once("close", () => clearTimeout(timer));
  }

  async #logExit(): Promise<void> {
    const { code, signal } = await this.#child.exited;
    await this.#child.gone;
    const stderr = this.#child.stderrTail(STDERR_CHARACTERS);
    this.#options.log.warn({ code, signal, stderr }, "The server ended by itself");
  }

  #finish(end: LinkEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#writer.end();
    this.#child.stdout.destroy();
    if (end === "upstream_exited") void this.#logExit();
    if (end === "upstream_message_too_large") void this.#child.kill();
    else void this.#child.close();
    if (end !== "closed") this.#options.onOwnEnd(end);
    this.#events.onEnd(end);
  }
}

const SPACE = 0x20;
const TAB = 0x09;
const OPEN_BRACE = 0x7b;

/** Every message is an object; banners, batches and bare values are not. The session looks into what passes here. */
function looksLikeMessage(line: Buffer): boolean {
  let at = 0;
  while (line[at] === SPACE || line[at] === TAB) at += 1;
  return line[at] === OPEN_BRACE;
}
