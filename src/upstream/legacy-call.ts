import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import { type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import type { Ask, Asks } from "./legacy-asks.ts";
import { legacyAnswer } from "./legacy-answer.ts";
import { membersAt, objectText, textOf, valueOf, withMembers } from "./modern-members.ts";
import { ModernRequest } from "./modern-request.ts";
import { INPUT_METHODS, INTERNAL_ERROR, MAX_ROUNDS } from "../protocol/modern-terms.ts";
import type { LinkEnd, Upstream } from "./upstream.ts";

export interface CallParts {
  upstream: Upstream;
  /** The request's id as JSON text, and its method. */
  id: string;
  method: string;
  /** The request as the server must see it. */
  request: Buffer;
  asks: Asks;
  /** To the client. */
  onMessage(message: Buffer): void;
  /** The call is over: it was answered, or its answer is not waited for. */
  onDone(): void;
}

/** A server that asks for so many things at once asks for too much. */
const MAX_ASKS = 32;
/** A server that wants the call repeated without further input is not asked at once. */
const EMPTY_ROUND_MS = 250;

/**
 * A request of a client that knows requests of servers, to a server that does not make any: what the server asks for in
 * a result is asked of the client, and the request is repeated with the answers until its real result comes.
 */
export class LegacyCall {
  readonly #parts: CallParts;
  readonly #gone = new AbortController();
  #request: ModernRequest;
  #asked: Ask[] = [];
  #rounds = 0;
  #isPaused = false;

  constructor(parts: CallParts) {
    this.#parts = parts;
    this.#request = this.#next();
  }

  /** Gives the request to the server. Rejects when it was not given, and then the call is over. */
  async start(): Promise<void> {
    try {
      await this.#request.send(this.#parts.request);
    } catch (error) {
      this.#parts.onDone();
      throw error;
    }
  }

  pause(): void {
    this.#isPaused = true;
    this.#request.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#request.resume();
  }

  /** The answer is not waited for: cancels the call, and the questions that it led to. */
  async close(): Promise<void> {
    this.#gone.abort();
    this.#withdraw();
    this.#parts.onDone();
    await this.#request.close();
  }

  #next(): ModernRequest {
    const request = new ModernRequest(this.#parts.upstream, {
      onNotice: (message) => this.#parts.onMessage(message),
      onAnswer: (message, envelope) => this.#take(message, envelope),
      onLost: (end) => this.#fail(faultOf(end)),
    });
    if (this.#isPaused) request.pause();
    return request;
  }

  #take(message: Buffer, { failed }: Envelope): void {
    const resultType = failed ? undefined : valueOf(message, ["result", "resultType"]);
    if (resultType === "input_required") {
      void this.#round(message).catch((error: unknown) => this.#fail(error));
    } else if (failed || resultType === undefined || resultType === "complete") {
      this.#finish(legacyAnswer(this.#parts.method, withMembers(message, [], { id: this.#parts.id })));
    } else {
      this.#fail(new GatewayError("upstream_cannot"));
    }
  }

  /** Asks the client what the server asks for, and repeats the request with the answers. */
  async #round(message: Buffer): Promise<void> {
    this.#rounds += 1;
    if (this.#rounds > MAX_ROUNDS) throw new Error(`the server still asks after ${MAX_ROUNDS} rounds`);
    const members: Record<string, string> = {};
    const requestState = textOf(message, ["result", "requestState"]);
    if (requestState !== undefined) members["requestState"] = requestState;
    const wanted = membersAt(message, ["result", "inputRequests"]).map(({ name }) => name);
    if (wanted.length > MAX_ASKS) throw new Error("the server asks for too much at once");
    if (wanted.length > 0) members["inputResponses"] = objectText(await this.#askAll(message, wanted));
    else await delay(EMPTY_ROUND_MS, undefined, { signal: this.#gone.signal });
    if (this.#gone.signal.aborted) return;
    this.#request = this.#next();
    // The specification wants another id for a request that is repeated.
    const again = withMembers(this.#parts.request, [], { id: JSON.stringify(randomUUID()) });
    await this.#request.send(withMembers(again, ["params"], members));
  }

  async #askAll(message: Buffer, names: readonly string[]): Promise<Record<string, string>> {
    try {
      const answers = names.map((name) => {
        const ask = this.#ask(message, ["result", "inputRequests", name]);
        this.#asked.push(ask);
        return ask.answer;
      });
      const results = await Promise.all(answers);
      return Object.fromEntries(names.map((name, at) => [name, results[at] as string]));
    } finally {
      this.#withdraw();
    }
  }

  #ask(message: Buffer, path: readonly string[]): Ask {
    const method = valueOf(message, [...path, "method"]);
    if (typeof method !== "string" || !INPUT_METHODS.includes(method))
      throw new Error("the server asks for something that no client knows");
    const isUrl = valueOf(message, [...path, "params", "mode"]) === "url";
    // Versions with `initialize` want an id here, by which the server could later say that the visit is over.
    const id = { elicitationId: JSON.stringify(randomUUID()) };
    const whole = isUrl ? withMembers(message, [...path, "params"], id) : message;
    return this.#parts.asks.ask(method, textOf(whole, [...path, "params"]));
  }

  #withdraw(): void {
    for (const ask of this.#asked.splice(0)) ask.withdraw();
  }

  #fail(error: unknown): void {
    if (this.#gone.signal.aborted) return;
    const { id, method } = this.#parts;
    if (error instanceof GatewayError) {
      this.#finish(errorResponse(id, error.words.rpcCode, error.message, error.reason));
    } else {
      const why = error instanceof Error ? error.message : "unknown";
      const words = `The server asked for input that ${method} cannot be given: ${why}`;
      this.#finish(errorResponse(id, INTERNAL_ERROR, words, "upstream_cannot"));
    }
  }

  #finish(answer: Buffer): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    this.#parts.onDone();
    this.#parts.onMessage(answer);
  }
}

/** The fault that the end of a link is for a request that it has not answered. */
export const faultOf = (end: LinkEnd): GatewayError =>
  new GatewayError(end === "closed" ? "upstream_exited" : end);
