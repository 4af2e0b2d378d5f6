import { GatewayError } from "../errors.ts";
import type { CallInFlight } from "../events.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, spelled, textAt } from "../protocol/splice.ts";

/** Requests of the server whose answers are awaited; older ones are forgotten, and their answers dropped. */
const MAX_ASKED = 1000;
/** A larger request is not kept while it is unanswered, so it cannot be sent a second time. */
const MAX_KEPT_BYTES = 64 * 1024;

const PROGRESS_TOKEN = ["params", "_meta", "progressToken"];

/** A request of the client that has no answer yet. */
export interface Unanswered {
  /** As in `Envelope.id`. */
  readonly id: string;
  readonly method: string;
  /** When it was sent, in ms of the session's clock. */
  readonly sentAt: number;
  /** The request itself, on one line, unless it was too large to keep. */
  readonly message: Buffer | undefined;
  /** Where its answer goes, when not with everything else. */
  readonly lane?: string | undefined;
  /** Who watches it is told of its outcome. */
  readonly call?: CallInFlight | undefined;
}

/** The requests of one session that have no answer yet, of both sides. */
export class Requests {
  readonly #limit: number;
  /** The client's, oldest first. */
  readonly #inFlight = new Map<string, Unanswered>();
  /** The server's. */
  #asked: Set<string> | undefined;
  #initialize: "none" | "sent" | "done" = "none";
  #initializeId: string | undefined;

  /** @param limit how many requests of the client may be unanswered at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Whether the client's `initialize` was answered, to it or to an earlier owner of the session. */
  get isInitialized(): boolean {
    return this.#initialize === "done";
  }

  /** The client was answered its `initialize` before this session, or this owner of it, began. */
  assumeInitialized(): void {
    this.#initialize = "done";
  }

  /** Throws the fault for which a request of the client may not be sent. */
  check({ id, method }: Envelope): void {
    if (this.#inFlight.has(id as string)) throw new GatewayError("duplicate_id");
    if (this.#inFlight.size >= this.#limit) throw new GatewayError("too_many_in_flight");
    if (method === "initialize" && this.#initialize !== "none") throw new GatewayError("already_initialized");
  }

  /** Enters a request of the client that was checked, for `leave`. */
  enter(
    { id, method }: Envelope,
    message: Buffer,
    now: number,
    lane?: string,
    call?: CallInFlight,
  ): Unanswered {
    if (method === "initialize") {
      this.#initialize = "sent";
      this.#initializeId = id;
    }
    const kept = message.length <= MAX_KEPT_BYTES ? message : undefined;
    const entered = { id: id as string, method: method as string, sentAt: now, message: kept, lane, call };
    this.reenter(entered);
    return entered;
  }

  /** Enters a request that was accepted before, by an earlier link or owner. */
  reenter(unanswered: Unanswered): void {
    this.#inFlight.set(unanswered.id, unanswered);
  }

  /** Takes back a request that could not be given to the server. */
  leave(entered: Unanswered): void {
    const { id, method } = entered;
    // Another conversation may have begun meanwhile, with the same ids.
    if (this.#inFlight.get(id) !== entered) return;
    this.#inFlight.delete(id);
    if (method === "initialize") this.#initialize = "none";
  }

  /** The client's request that the server's answer belongs to, which is in flight no more. */
  settle({ id, failed }: Envelope): Unanswered | undefined {
    const unanswered = this.#inFlight.get(id as string);
    if (unanswered === undefined) return undefined;
    this.#inFlight.delete(id as string);
    if (id === this.#initializeId && this.#initialize === "sent") this.#initialize = failed ? "none" : "done";
    return unanswered;
  }

  /** The request of this id, which is in flight no more. One that is cancelled is not answered, and must not count for ever. */
  forget(id: string): Unanswered | undefined {
    const unanswered = this.#inFlight.get(id);
    this.#inFlight.delete(id);
    return unanswered;
  }

  /** The request of this id, if it is in flight. */
  find(id: string): Unanswered | undefined {
    return this.#inFlight.get(id);
  }

  /** The lane of the request that was sent last, of those in flight; of those with a stream, if there are any. */
  newestLane(hasStream: (lane: string) => boolean): string | undefined {
    let newest: string | undefined;
    let heard: string | undefined;
    for (const { lane } of this.#inFlight.values()) {
      newest = lane;
      if (lane !== undefined && hasStream(lane)) heard = lane;
    }
    return heard ?? newest;
  }

  /** The lane of the request that asked for progress under this token, given as JSON text. */
  laneOfProgress(token: string): string | undefined {
    if (this.#inFlight.size <= 1) return this.newestLane(() => true);
    const wanted = spelled(token);
    for (const { message, lane } of this.#inFlight.values()) {
      const place = message && locate(message, PROGRESS_TOKEN);
      if (place && spelled(textAt(message, place)) === wanted) return lane;
    }
    return undefined;
  }

  /** Removes and hands out the requests that were sent before `time`. */
  *takeSentBefore(time: number): Generator<Unanswered> {
    for (const [id, unanswered] of this.#inFlight) {
      if (unanswered.sentAt > time) return;
      this.#inFlight.delete(id);
      yield unanswered;
    }
  }

  /** The server asks the client something. */
  ask({ id }: Envelope): void {
    this.#asked ??= new Set();
    this.#asked.add(id as string);
    if (this.#asked.size > MAX_ASKED) this.#asked.delete(this.#asked.values().next().value as string);
  }

  /** Whether a request of the server has no answer yet. */
  isAsked(id: string): boolean {
    return this.#asked?.has(id) ?? false;
  }

  /** Whether the client's answer belongs to a request of the server. */
  answer({ id }: Envelope): boolean {
    return this.#asked?.delete(id as string) ?? false;
  }

  /** Forgets and hands out what the server asked: it is gone and waits for no answer. */
  takeAsked(): Iterable<string> {
    const asked = this.#asked ?? [];
    this.#asked = undefined;
    return asked;
  }

  /** Another conversation begins. */
  reset(): void {
    this.#inFlight.clear();
    this.#asked = undefined;
    this.#initialize = "none";
  }
}
