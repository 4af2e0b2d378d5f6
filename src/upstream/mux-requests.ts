import type { Branch } from "./mux-branch.ts";
import { Lately } from "./mux-lately.ts";

/** A request that was given to the server under an id of ours. */
export interface CarriedRequest {
  /** Our id, as JSON text; also its progress token, if the request has one. */
  readonly innerId: string;
  /** Whose it is; undefined for a request of our own. */
  readonly branch: Branch | undefined;
  /** The client's id, letter by letter. */
  readonly ownId: string;
  /** The client's id in the spelling of `Envelope.id`. */
  readonly key: string;
  /** The client's progress token, letter by letter. */
  readonly ownToken: string | undefined;
  /** Whether it asked for log messages, in the era where each request says so. */
  readonly wantsLogs: boolean;
  /** Sees the answer, with the client's id, before the client does; what it returns is delivered. */
  readonly onAnswer: ((answer: Buffer, failed: boolean, request: CarriedRequest) => Buffer) | undefined;
  /** For a request of our own: its answer, or undefined when the link ended first. */
  readonly onOwnAnswer: ((answer: Buffer | undefined, failed: boolean) => void) | undefined;
}

/** Tokens that outlive their request's answer, as those of tasks do; more are forgotten, the oldest first. */
const MAX_LASTING_TOKENS = 10_000;

/**
 * The requests that one link to a server carries for many. Each client's own limit bounds those that wait for an answer.
 */
export class CarriedRequests {
  readonly #waiting = new Map<string, CarriedRequest>();
  readonly #lately = new Lately();
  /** The same of requests that asked for log messages. */
  readonly #latelyWithLogs = new Lately();
  readonly #lasting = new Map<string, CarriedRequest>();
  #lastId = 0;

  nextId(): string {
    return String((this.#lastId += 1));
  }

  add(request: CarriedRequest): void {
    this.#waiting.set(request.innerId, request);
    request.branch?.requests.set(request.key, request);
  }

  /** Takes out the request that an answer is for. Undefined when nobody waits for it. */
  settle(innerId: string): CarriedRequest | undefined {
    const request = this.#waiting.get(innerId);
    if (request === undefined) return undefined;
    this.remove(request);
    if (request.branch) this.note(request.branch, request.wantsLogs);
    return request;
  }

  /** The request could not be given to the server, or is answered. */
  remove(request: CarriedRequest): void {
    const { innerId, branch, key } = request;
    this.#waiting.delete(innerId);
    if (branch?.requests.get(key) === request) branch.requests.delete(key);
  }

  /** Nobody waits for its answer any more; the server may still be at work on it. */
  abandon(request: CarriedRequest): void {
    this.remove(request);
    if (request.branch) this.note(request.branch, request.wantsLogs);
  }

  /** The server may be at work for this branch for a while, though no request of it waits. */
  note(branch: Branch, wantsLogs = false): void {
    this.#lately.note(branch);
    if (wantsLogs) this.#latelyWithLogs.note(branch);
  }

  /** Its progress is told after its answer too. */
  keepToken(request: CarriedRequest): void {
    if (request.ownToken === undefined) return;
    this.#lasting.set(request.innerId, request);
    if (this.#lasting.size > MAX_LASTING_TOKENS) {
      this.#lasting.delete(this.#lasting.keys().next().value as string);
    }
  }

  /** The request whose progress is told with this token of ours. */
  ofToken(token: string): CarriedRequest | undefined {
    return this.#waiting.get(token) ?? this.#lasting.get(token);
  }

  /** The request that has this id of ours. */
  get(innerId: string): CarriedRequest | undefined {
    return this.#waiting.get(innerId);
  }

  /** Forgets what is told to this branch later than its answers. */
  leave(branch: Branch): void {
    for (const [token, request] of this.#lasting) if (request.branch === branch) this.#lasting.delete(token);
  }

  /**
   * The one branch that the server can be at work for. Undefined when there is none or more than one. What was answered
   * or cancelled of late counts, for nobody knows whether the server has let go of it; if it was the same client's, what
   * comes late is for the one that waits.
   * @param wantsLogs only requests that asked for log messages can be meant.
   */
  onlyBranch(wantsLogs = false): Branch | undefined {
    const lately = wantsLogs ? this.#latelyWithLogs : this.#lately;
    if (lately.isMany) return undefined;
    let only = lately.last;
    let isWaiting = false;
    for (const request of this.#waiting.values()) {
      if (request.branch === undefined || (wantsLogs && !request.wantsLogs)) continue;
      if (only !== undefined && request.branch !== only) {
        if (isWaiting || request.branch.owner !== only.owner) return undefined;
      }
      only = request.branch;
      isWaiting = true;
    }
    return only;
  }

  /** Tells every request of our own that its answer will not come. */
  end(): void {
    for (const request of this.#waiting.values()) request.onOwnAnswer?.(undefined, true);
    this.#waiting.clear();
  }
}
