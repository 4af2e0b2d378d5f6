import type { Branch } from "./mux-branch.ts";

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

/** A cancelled request. */
interface Stray extends Pick<CarriedRequest, "branch" | "wantsLogs"> {
  /** When it is long enough ago to be over, in ms of this process. */
  readonly until: number;
}

/** For so long a cancelled request may still be at work in a server that does not heed, or does not answer, a cancellation. */
const STRAY_MS = 60_000;
/** More are forgotten, the oldest first. */
const MAX_STRAYS = 10_000;
/** Tokens that outlive their request's answer, as those of tasks do; more are forgotten, the oldest first. */
const MAX_LASTING_TOKENS = 10_000;

/**
 * The requests that one link to a server carries for many. Each client's own limit bounds those that wait for an answer.
 */
export class CarriedRequests {
  readonly #waiting = new Map<string, CarriedRequest>();
  /** Cancelled, and when that is long enough ago to be over. */
  readonly #strays = new Map<string, Stray>();
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
    if (request) this.remove(request);
    else this.#strays.delete(innerId);
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
    const { branch, wantsLogs } = request;
    this.#strays.set(request.innerId, { branch, wantsLogs, until: performance.now() + STRAY_MS });
    forgetOldest(this.#strays, MAX_STRAYS);
  }

  /** Its progress is told after its answer too. */
  keepToken(request: CarriedRequest): void {
    if (request.ownToken === undefined) return;
    this.#lasting.set(request.innerId, request);
    forgetOldest(this.#lasting, MAX_LASTING_TOKENS);
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
   * The one branch that the server can be at work for. Undefined when there is none or more than one. What was
   * cancelled of late counts, for nobody knows whether the server has let go of it.
   * @param wantsLogs only requests that asked for log messages can be meant.
   */
  onlyBranch(wantsLogs = false): Branch | undefined {
    this.#forgetStrays();
    let only: Branch | undefined;
    for (const requests of [this.#strays, this.#waiting]) {
      for (const request of requests.values()) {
        if (request.branch === undefined || (wantsLogs && !request.wantsLogs)) continue;
        if (only !== undefined && request.branch !== only) return undefined;
        only = request.branch;
      }
    }
    return only;
  }

  /** Tells every request of our own that its answer will not come. */
  end(): void {
    for (const request of this.#waiting.values()) request.onOwnAnswer?.(undefined, true);
    this.#waiting.clear();
  }

  #forgetStrays(): void {
    for (const [innerId, { until }] of this.#strays) {
      if (until > performance.now()) return;
      this.#strays.delete(innerId);
    }
  }
}

function forgetOldest(map: Map<string, unknown>, most: number): void {
  if (map.size > most) map.delete(map.keys().next().value as string);
}
