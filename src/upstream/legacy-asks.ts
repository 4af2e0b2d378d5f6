import { randomUUID } from "node:crypto";
import { cancelled, type Envelope } from "../protocol/json-rpc.ts";
import { objectText, textOf, valueOf } from "./modern-members.ts";

/** The client answered with an error; its words are the message. */
export class Refusal extends Error {}

/** A question to the client. */
export interface Ask {
  /** JSON text of the client's result. Rejects with a `Refusal`. */
  readonly answer: Promise<string>;
  /** Tells the client that nobody waits any more. */
  withdraw(): void;
}

interface Waiting {
  resolve(result: string): void;
  reject(error: Error): void;
}

/** Requests to one client, and their answers. */
export class Asks {
  readonly #send: (message: Buffer) => void;
  readonly #waiting = new Map<string, Waiting>();
  // An answer to a question of an earlier link must not be taken for an answer to one of ours.
  readonly #prefix = randomUUID();
  #count = 0;

  constructor(send: (message: Buffer) => void) {
    this.#send = send;
  }

  /** @param params JSON text. */
  ask(method: string, params: string | undefined): Ask {
    this.#count += 1;
    const id = `"${this.#prefix}/${this.#count}"`;
    const answer = new Promise<string>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    answer.catch(() => undefined);
    const words = { jsonrpc: '"2.0"', id, method: JSON.stringify(method) };
    this.#send(Buffer.from(objectText(params === undefined ? words : { ...words, params })));
    return {
      answer,
      withdraw: () => {
        if (this.#waiting.delete(id)) this.#send(cancelled(id, "no longer needed"));
      },
    };
  }

  /** Takes the client's answer, if it is one of ours. */
  take({ id, failed }: Envelope, message: Buffer): void {
    const waiting = this.#waiting.get(id as string);
    if (waiting === undefined) return;
    this.#waiting.delete(id as string);
    const words = valueOf(message, ["error", "message"]);
    if (failed)
      waiting.reject(new Refusal(typeof words === "string" ? words.slice(0, 300) : "no reason given"));
    else waiting.resolve(textOf(message, ["result"]) as string);
  }
}
