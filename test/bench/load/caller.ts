import type { ClientSession, Message } from "./client-session.ts";
import type { LoadPlan } from "./orders.ts";
import type { PostConnection } from "./post-connection.ts";
import type { Tally } from "./tally.ts";

const NONCE_BYTES = 32;
const PAUSE_AFTER_ERROR_MS = 100;

/** Keeps one call in flight: a call is finished when both its 202 and its answer are in. */
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
    this.#padding = "x".repeat(Math.max(0, bytes - NONCE_BYTES));
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
    this.#id = this.#session.expect(this.#onAnswer);
    this.#text =
      this.#nonce + String(this.#id).padStart(NONCE_BYTES - this.#nonce.length, "0") + this.#padding;
    const body = `{"jsonrpc":"2.0","id":${this.#id}${this.#call}${this.#text}"}}}`;
    this.#startedAt = performance.now();
    this.#connection.post(this.#session.path, body, this.#onStatus);
  }

  #hearStatus(status: number): void {
    if (status !== 202) {
      this.#fail(status === 0 ? "the connection broke" : `a call was answered ${status}`);
      return;
    }
    this.#accepted = true;
    if (this.#answer !== undefined) this.#finish(this.#answer);
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
    if (answer.error !== undefined) this.#tally.countError(answer.error.message);
    else if (answer.result?.content?.[0]?.text === this.#text) {
      this.#tally.countRight(this.#answeredAt - this.#startedAt);
    } else this.#tally.wrongSession += 1;
    this.#next();
  }

  #fail(what: string): void {
    this.#session.forget(this.#id);
    this.#connection.close();
    this.#tally.countError(what);
    // Not at once: a server that refuses everything would be hammered in a busy loop.
    setTimeout(() => {
      this.#isCalling = false;
      this.#next();
    }, PAUSE_AFTER_ERROR_MS);
  }
}
