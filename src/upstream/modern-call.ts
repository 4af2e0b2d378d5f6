import { createHash } from "node:crypto";
import { cancelled, type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import { faultOf } from "./legacy-call.ts";
import { inputRequired, modernAnswer, pagesIn, questionOf } from "./modern-answer.ts";
import { canonical, type Identity, ROUND, substanceOf } from "./modern-identity.ts";
import { idOf, type Members, objectText, textOf, withMembers, withoutMembers } from "./modern-members.ts";
import type { Parked } from "./modern-parked.ts";
import type { ModernPool } from "./modern-pool.ts";
import type { ModernSession } from "./modern-session.ts";
import { INPUT_METHODS, INTERNAL_ERROR, META, METHOD_NOT_FOUND } from "../protocol/modern-terms.ts";
import type { LinkEnd } from "./upstream.ts";

/** Where a call's messages go: to the request that began it, or to one that has come back with input. */
export interface CallStream {
  /** The request, and its id as JSON text. */
  readonly request: Buffer;
  readonly id: string;
  onMessage(message: Buffer): void;
}

export interface ModernCallParts {
  session: ModernSession;
  pool: ModernPool;
  parked: Parked<ModernCall>;
  identity: Identity;
  method: string;
}

/** The requests that may be answered with questions. */
const ROUND_METHODS = ["tools/call", "prompts/get", "resources/read"];
/** Questions of a server that wait for the client at once; more are refused. */
const MAX_QUESTIONS = 32;
/** Notifications that are kept while no request of the client is there to take them. */
const MAX_HELD = 100;
/** What a server tells its session, as JSON text of the methods: no request is there to hear it. */
const OF_SESSIONS = [
  '"notifications/tools/list_changed"',
  '"notifications/prompts/list_changed"',
  '"notifications/resources/list_changed"',
  '"notifications/resources/updated"',
  '"notifications/tasks/status"',
  '"notifications/elicitation/complete"',
];
const ERA_META = [META.version, META.clientInfo, META.clientCapabilities, META.logLevel];

/**
 * A request of a client that knows no requests of servers, on a link to a server that makes them: what the server asks
 * becomes a result, and the call waits on its link until the client repeats the request with the answers.
 */
export class ModernCall {
  readonly #parts: ModernCallParts;
  readonly #id: string;
  readonly #request: Buffer;
  #stream: CallStream | undefined;
  /** The ids of the server's questions, and the questions, by the keys that the client knows them by. */
  readonly #questions = new Map<string, { id: string; question: string }>();
  #asked = 0;
  #held: Buffer[] = [];
  #outcome: Buffer | undefined;
  #isOver = false;

  constructor(parts: ModernCallParts, stream: CallStream) {
    this.#parts = parts;
    this.#id = parts.session.nextId();
    this.#request = stream.request;
    this.#stream = stream;
    parts.session.listener = {
      onMessage: (message, envelope) => this.#take(message, envelope),
      onEnd: (end) => this.#ended(end),
    };
  }

  /** Gives the request to the server. Rejects when it was not given, and then the call is over. */
  async start(): Promise<void> {
    const { session, pool } = this.#parts;
    try {
      await this.#setLevel();
      const bare = withoutMembers(
        withoutMembers(this.#request, ["params"], ROUND),
        ["params", "_meta"],
        ERA_META,
      );
      if (!this.#isOver) await session.send(withMembers(bare, [], { id: this.#id }));
    } catch (error) {
      // Its end was the answer already.
      if (this.#isOver) return;
      this.#isOver = true;
      await pool.drop(session);
      throw error;
    }
  }

  /** Whether a request repeats this one. */
  isRepeatedBy(method: string, request: Buffer, identity: Identity): boolean {
    const mine = digest(this.#parts.method, this.#request, this.#parts.identity);
    return mine === digest(method, request, identity);
  }

  /** The client has come back with input. `answers` is JSON text by key. */
  async goOn(stream: CallStream, answers: ReadonlyMap<string, string>): Promise<void> {
    const { session } = this.#parts;
    this.#stream = stream;
    for (const message of this.#held.splice(0)) this.#note(message, stream);
    if (this.#outcome !== undefined) return this.#finish(this.#outcome, stream);
    await this.#setLevel().catch(() => undefined);
    for (const [key, { id }] of this.#questions) {
      const result = answers.get(key);
      if (result === undefined) continue;
      this.#questions.delete(key);
      session.tell(Buffer.from(objectText({ jsonrpc: '"2.0"', id, result })));
    }
    this.#askSoon();
  }

  pause(): void {
    this.#parts.session.pause();
  }

  resume(): void {
    this.#parts.session.resume();
  }

  /** The client is not there any more: cancels the request at the server. */
  async leave(stream: CallStream): Promise<void> {
    if (this.#stream === stream) await this.#cancel("The client has gone.");
  }

  async expire(): Promise<void> {
    await this.#cancel("The client did not come back.");
  }

  get session(): ModernSession {
    return this.#parts.session;
  }

  async #cancel(why: string): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    const { session, pool } = this.#parts;
    if (this.#outcome === undefined) session.tell(cancelled(this.#id, why));
    // What the server still does for this request must not be taken for something that it does for the next.
    await pool.drop(session);
  }

  async #setLevel(): Promise<void> {
    const { session } = this.#parts;
    const level = this.#stream && textOf(this.#stream.request, ["params", "_meta", META.logLevel]);
    if (level === undefined || level === session.level) return;
    if (session.introduction.offered.logging === undefined) return;
    session.level = level;
    await session.ask("logging/setLevel", objectText({ level }));
  }

  #take(message: Buffer, envelope: Envelope): void {
    if (this.#isOver) return;
    if (envelope.kind === "request") return this.#ask(message, envelope);
    if (envelope.kind === "response") {
      if (envelope.id === this.#id) this.#settle(message);
    } else if (this.#stream !== undefined) {
      this.#note(message, this.#stream);
    } else if (this.#held.length < MAX_HELD) {
      this.#held.push(message);
    }
  }

  /** Hands on a notification, if it is one of this request. */
  #note(message: Buffer, { request, onMessage }: CallStream): void {
    const method = textOf(message, ["method"]);
    if (method === '"notifications/message"') {
      if (textOf(request, ["params", "_meta", META.logLevel]) !== undefined) onMessage(message);
    } else if (method === '"notifications/progress"') {
      // A repeated request may have another token than the first, and the server knows only that one.
      const progressToken = textOf(request, ["params", "_meta", "progressToken"]);
      if (progressToken === undefined) return;
      const isSame = textOf(message, ["params", "progressToken"]) === progressToken;
      onMessage(isSame ? message : withMembers(message, ["params"], { progressToken }));
    } else if (method === '"notifications/cancelled"') {
      const id = idOf(message, ["params", "requestId"]);
      for (const [key, question] of this.#questions) if (question.id === id) this.#questions.delete(key);
    } else if (!OF_SESSIONS.includes(method as string)) {
      // What a vendor has added is of this request: the link is used for no other.
      onMessage(message);
    }
  }

  #ask(message: Buffer, { id, method }: Envelope): void {
    const refuse = (words: string): void =>
      this.#parts.session.tell(errorResponse(id as string, METHOD_NOT_FOUND, words, "upstream_cannot"));
    const name = method as string;
    const capability = name.split("/", 1)[0] as string;
    if (!INPUT_METHODS.includes(name)) return refuse("Method not found");
    if (this.#parts.identity.capabilities[capability] === undefined)
      return refuse(`The client does not offer ${capability}.`);
    if (!ROUND_METHODS.includes(this.#parts.method))
      return refuse(`Nothing can be asked while ${this.#parts.method} is answered.`);
    if (this.#questions.size >= MAX_QUESTIONS) return refuse("Too much is asked at once.");
    this.#asked += 1;
    this.#questions.set(`ask-${this.#asked}`, { id: id as string, question: questionOf(message, name) });
    this.#askSoon();
  }

  /** Asks the client in a moment, so that what a server asks at once is asked at once. */
  #askSoon(): void {
    setImmediate(() => {
      const stream = this.#stream;
      if (this.#isOver || stream === undefined || this.#questions.size === 0) return;
      const { session, parked } = this.#parts;
      const questions = [...this.#questions].map(([key, { question }]) => [key, question]);
      this.#stream = undefined;
      session.resume();
      const requests = Object.fromEntries(questions) as Members;
      stream.onMessage(inputRequired(stream.id, requests, parked.add(this), session.introduction));
    });
  }

  #settle(outcome: Buffer): void {
    if (this.#stream === undefined) this.#outcome = outcome;
    else this.#finish(outcome, this.#stream);
  }

  #finish(outcome: Buffer, stream: CallStream): void {
    const { session, pool, method, identity } = this.#parts;
    this.#isOver = true;
    for (const { id } of this.#questions.values()) {
      session.tell(errorResponse(id, INTERNAL_ERROR, "The request is answered.", "upstream_cannot"));
    }
    pool.give(session);
    const pages = ROUND_METHODS.includes(method) && hasPages(identity) ? pagesIn(outcome) : undefined;
    if (pages !== undefined)
      stream.onMessage(inputRequired(stream.id, pages, undefined, session.introduction));
    else
      stream.onMessage(
        modernAnswer(method, withMembers(outcome, [], { id: stream.id }), session.introduction),
      );
  }

  #ended(end: LinkEnd): void {
    if (this.#isOver) return;
    const { words, message, reason } = faultOf(end);
    this.#questions.clear();
    this.#settle(errorResponse(this.#id, words.rpcCode, message, reason));
  }
}

const hasPages = ({ capabilities }: Identity): boolean =>
  (capabilities["elicitation"] as { url?: unknown } | undefined)?.url !== undefined;

const digest = (method: string, request: Buffer, { key }: Identity): string =>
  createHash("sha256")
    .update(canonical([method, substanceOf(request), key]))
    .digest("hex");
