import type { Readable } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import type { Log } from "../log.ts";

const TAIL_BYTES = 64 * 1024;
const LINES_PER_SECOND = 20;
const LINE_CHARACTERS = 500;
const LF = 0x0a;

export interface StderrTailOptions {
  log: Log;
  /** Values that are written as `[redacted]` wherever they stand. */
  secrets: readonly string[];
}

/**
 * Reads what a child says on stderr, which is for the operator alone: a few lines a second go to the log, the last
 * 64 KiB are kept for the day it crashes, and the rest is forgotten as fast as it comes.
 */
export class StderrTail {
  readonly #log: Log;
  readonly #secrets: readonly string[];
  #ring: Buffer | undefined;
  #writtenBytes = 0;
  #line = "";
  #skipsLine = false;
  #skippedBytes = 0;
  #secondStart = 0;
  #linesThisSecond = 0;

  constructor(stderr: Readable, { log, secrets }: StderrTailOptions) {
    this.#log = log;
    this.#secrets = secrets.filter((secret) => secret.length >= 6).sort((a, b) => b.length - a.length);
    stderr.on("data", (chunk: Buffer) => this.#take(chunk));
    stderr.on("error", () => {});
    stderr.on("close", () => this.#finish());
  }

  /** The last that came, redacted, at most so many characters of it. */
  text(characters: number = TAIL_BYTES): string {
    if (!this.#ring) return "";
    const end = this.#writtenBytes % TAIL_BYTES;
    const kept =
      this.#writtenBytes <= TAIL_BYTES
        ? this.#ring.subarray(0, this.#writtenBytes)
        : Buffer.concat([this.#ring.subarray(end), this.#ring.subarray(0, end)]);
    // Redacted before it is cut, or half a secret would pass.
    return this.#redact(kept.toString()).trim().slice(-characters);
  }

  #take(chunk: Buffer): void {
    this.#keep(chunk);
    let start = 0;
    while (start < chunk.length) {
      if (!this.#mayLog()) {
        this.#skippedBytes += chunk.length - start;
        this.#skipsLine = chunk[chunk.length - 1] !== LF;
        this.#line = "";
        return;
      }
      const end = chunk.indexOf(LF, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      // More is held than is shown, so that a secret cut in two at this edge is not among what is shown.
      if (!this.#skipsLine && this.#line.length < 8 * LINE_CHARACTERS) {
        this.#line += piece.toString("utf8", 0, 16 * LINE_CHARACTERS);
      }
      if (end === -1) return;
      this.#endLine();
      start = end + 1;
    }
  }

  #keep(chunk: Buffer): void {
    this.#ring ??= Buffer.allocUnsafeSlow(TAIL_BYTES);
    const kept = chunk.subarray(-TAIL_BYTES);
    this.#writtenBytes += chunk.length - kept.length;
    const at = this.#writtenBytes % TAIL_BYTES;
    const first = kept.copy(this.#ring, at);
    kept.copy(this.#ring, 0, first);
    this.#writtenBytes += kept.length;
  }

  #mayLog(): boolean {
    const now = performance.now();
    if (now - this.#secondStart >= 1000) {
      this.#secondStart = now;
      this.#linesThisSecond = 0;
      this.#tellSkipped();
    }
    return this.#linesThisSecond < LINES_PER_SECOND;
  }

  #endLine(): void {
    const text = this.#redact(this.#line).trim().slice(0, LINE_CHARACTERS);
    this.#line = "";
    this.#linesThisSecond += 1;
    if (this.#skipsLine) this.#skipsLine = false;
    else if (text !== "") this.#log.info(`server stderr: ${text}`);
  }

  #finish(): void {
    if (this.#line !== "") this.#endLine();
    this.#tellSkipped();
  }

  #tellSkipped(): void {
    if (this.#skippedBytes > 0)
      this.#log.info({ bytes: this.#skippedBytes }, "server stderr: too fast to log");
    this.#skippedBytes = 0;
  }

  #redact(text: string): string {
    let shown = stripVTControlCharacters(text);
    for (const secret of this.#secrets) shown = shown.replaceAll(secret, "[redacted]");
    return shown;
  }
}
