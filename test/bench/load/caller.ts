import type { ClientSession } from "./client-session.ts";
import type { Message } from "./message.ts";
import type { LoadPlan } from "./orders.ts";
import type { PostConnection } from "./post-connection.ts";
import type { Tally } from "./tally.ts";

const NONCE_BYTES = 32;
/** Longer answers are asked for by their size, so that a large result is measured and no large request. */
const MOST_ECHOED_BYTES = 65_536;
const PAUSE_AFTER_ERROR_MS = 100;

/** Keeps one call in flight: a call is finished when both its answer and its POST's response are in. */
export class Caller {
  #id = 0;
  #text = "";
  #startedAt = 0;
  #answeredAt = 0;
  #accepted = false;
  #answer: Message | undefined;
  #isCalling = false;
  #isStopped = true;
  readonly #session: ClientSession;
  readonly #connection: PostConnection;
  readonly #tally: Tally;
  readonly #call: string;
  readonly #nonce: string;
  readonly #padding: string;
  readonly #tail: string;
  readonly #length: number;
  readonly #onStatus = (status: number): void => this.#hearStatus(status);
  readonly #onAnswer = (message: Message | undefined): void => this.#hearAnswer(message);

  constructor(
    session: ClientSession,
    connection: PostConnection,
    tally: Tally,
    { tool, nonce, bytes }: { tool: string; nonce: string } & Pick<LoadPlan, "bytes">,
  ) {
    this.#session = session;
    this.#connection = connection;
    this.#tally = tally;
    this.#call = `,"method":"tools/call","params":{"name":${JSON.stringify(tool)},"arguments":{"text":"`;
    this.#nonce = nonce;
    this.#length = Math.max(NONCE_BYTES, bytes);
    const isEchoed = bytes <= MOST_ECHOED_BYTES;
    this.#padding = isEchoed ? "x".repeat(this.#length - NONCE_BYTES) : "";
    this.#tail = isEchoed ? '"}}}' : `","size":${bytes}}}}`;
  }

  start(): void {
    this.#isStopped = false;
    if (!this.#isCalling) this.#next();
  }

  /** Lets the call in flight finish and begins no other. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Gives up on a call that began before `before`: a missing answer is an error, not a missing sample. */
  expire(before: number): void {
    if (this.#isCalling && this.#startedAt < before) this.#fail("no answer in time");
  }

  #next(): void {
    if (this.#isStopped || !this.#session.isOpen) return;
    this.#isCalling = true;
    this.#accepted = false;
    this.#answer = undefined;
    this.#id = this.#session.calls.expect(this.#onAnswer);
    this.#text =
      this.#nonce + String(this.#id).padStart(NONCE_BYTES - this.#nonce.length, "0") + this.#padding;
    const body = `{"jsonrpc":"2.0","id":${this.#id}${this.#call}${this.#text}${this.#tail}`;
    this.#startedAt = performance.now();
    this.#connection.post(this.#session.path, body, this.#onStatus);
  }

  #hearStatus(status: number): void {
    if (status !== this.#session.takenStatus) {
      this.#fail(status === 0 ? "the connection broke" : `a call was answered ${status}`);
      return;
    }
    this.#accepted = true;
    if (this.#answer !== undefined) this.#finish(this.#answer);
    else if (status === 200) this.#fail("a response held no answer");
  }

  #hearAnswer(message: Message | undefined): void {
    if (message === undefined) {
      this.#fail("the stream ended");
      return;
    }
    this.#answeredAt = performance.now();
    this.#answer = message;
    if (this.#accepted) this.#finish(message);
  }

  #finish(answer: Message): void {
    this.#isCalling = false;
    const text = answer.result?.content?.[0]?.text;
    if (answer.error !== undefined) this.#tally.countError(answer.error.message);
    else if (text === undefined) this.#tally.countError("an answer without text");
    else if (!text.startsWith(this.#text)) this.#tally.wrongSession += 1;
    else if ((answer.textLength ?? text.length) !== this.#length) {
      this.#tally.countError(`${answer.textLength ?? text.length} characters for ${this.#length}`);
    } else this.#tally.countRight(this.#answeredAt - this.#startedAt);
    this.#next();
  }

  #fail(what: string): void {
    this.#session.calls.forget(this.#id);
    this.#connection.close();
    this.#tally.countError(what);
    // It has failed already, so it must not expire as well.
    this.#startedAt = Number.POSITIVE_INFINITY;
    // Not at once: a server that refuses everything would be hammered in a busy loop.
    setTimeout(() => {
      this.#isCalling = false;
      this.#next();
    }, PAUSE_AFTER_ERROR_MS);
  }
}
