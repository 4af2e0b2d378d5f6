import { type Envelope, errorResponse } from "../protocol/json-rpc.ts";
import type { Branch } from "./mux-branch.ts";
import { answerTo, ownIdOf, stringOf } from "./mux-marks.ts";
import type { Trunk } from "./mux-trunk.ts";

/** URIs that one session may be subscribed to. */
const MAX_URIS = 1000;

/** Who of a shared server's sessions is subscribed to what. The server is unsubscribed with the last of them. */
export class Subscriptions {
  readonly #trunk: Trunk;
  readonly #byUri = new Map<string, Set<Branch>>();
  readonly #byBranch = new Map<Branch, Set<string>>();

  constructor(trunk: Trunk) {
    this.#trunk = trunk;
  }

  /** A client's `resources/subscribe`. The server is asked each time: who may have what is its decision. */
  subscribe(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    const uri = stringOf(message, "params", "uri");
    const uris = this.#byBranch.get(branch) ?? new Set();
    if (uri === undefined || uris.has(uri)) return this.#trunk.forward(branch, message, envelope);
    if (uris.size >= MAX_URIS) {
      const words = `A session may be subscribed to ${MAX_URIS} resources.`;
      branch.deliverSoon(errorResponse(ownIdOf(message), -32603, words, "too_many_in_flight"));
      return undefined;
    }
    // At once, for the first update may come before the answer.
    this.#byBranch.set(branch, uris.add(uri));
    this.#byUri.set(uri, (this.#byUri.get(uri) ?? new Set()).add(branch));
    const sent = this.#trunk.forward(branch, message, envelope, (answer, failed) => {
      if (failed) this.#remove(branch, uri);
      return answer;
    });
    return sent?.catch((error: unknown) => {
      this.#remove(branch, uri);
      throw error;
    });
  }

  /** A client's `resources/unsubscribe`. The server hears it when nobody else is subscribed. */
  unsubscribe(branch: Branch, message: Buffer, envelope: Envelope): Promise<void> | undefined {
    const uri = stringOf(message, "params", "uri");
    if (uri !== undefined) this.#remove(branch, uri);
    if (uri === undefined || !this.#byUri.has(uri)) return this.#trunk.forward(branch, message, envelope);
    branch.deliverSoon(answerTo(message, "{}"));
    return undefined;
  }

  /** Tells those who are subscribed to a resource, or to one that it is a part of, that it was updated. */
  updated(message: Buffer): void {
    const uri = stringOf(message, "params", "uri");
    if (uri === undefined) return;
    const hearers = new Set(this.#byUri.get(uri));
    for (let at = uri.indexOf("/"); at >= 0; at = uri.indexOf("/", at + 1)) {
      for (const whole of [uri.slice(0, at), uri.slice(0, at + 1)]) {
        for (const branch of this.#byUri.get(whole) ?? []) hearers.add(branch);
      }
    }
    for (const branch of hearers) branch.deliver(message);
  }

  left(branch: Branch): void {
    for (const uri of this.#byBranch.get(branch) ?? []) {
      this.#remove(branch, uri);
      if (!this.#byUri.has(uri)) this.#unsubscribe(uri);
    }
  }

  #remove(branch: Branch, uri: string): void {
    const uris = this.#byBranch.get(branch);
    uris?.delete(uri);
    if (uris?.size === 0) this.#byBranch.delete(branch);
    const branches = this.#byUri.get(uri);
    branches?.delete(branch);
    if (branches?.size === 0) this.#byUri.delete(uri);
  }

  #unsubscribe(uri: string): void {
    const message = { jsonrpc: "2.0", id: 0, method: "resources/unsubscribe", params: { uri } };
    this.#trunk.ask(Buffer.from(JSON.stringify(message)), undefined)?.catch(() => undefined);
  }
}
