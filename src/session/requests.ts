import { GatewayError } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";

/** Requests of the server whose answers are awaited; older ones are forgotten, and their answers dropped. */
const MAX_ASKED = 1000;

/** The requests of one session that have no answer yet, of both sides. */
export class Requests {
  readonly #limit: number;
  /** The client's, oldest first: id to the time it was sent, in ms. */
  readonly #inFlight = new Map<string, number>();
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

  /** Enters a request of the client. Throws the fault for which it may not be sent. */
  enter({ id, method }: Envelope, now: number): void {
    if (this.#inFlight.has(id as string)) throw new GatewayError("duplicate_id");
    if (this.#inFlight.size >= this.#limit) throw new GatewayError("too_many_in_flight");
    if (method === "initialize") {
      if (this.#initialize !== "none") throw new GatewayError("already_initialized");
      this.#initialize = "sent";
      this.#initializeId = id;
    }
    this.#inFlight.set(id as string, now);
  }

  /** Takes back a request that could not be given to the server. */
  leave({ id, method }: Envelope): void {
    this.#inFlight.delete(id as string);
    if (method === "initialize") this.#initialize = "none";
  }

  /** Whether the server's answer belongs to a request of the client; then it is in flight no more. */
  settle({ id, failed }: Envelope): boolean {
    if (!this.#inFlight.delete(id as string)) return false;
    if (id === this.#initializeId && this.#initialize === "sent") this.#initialize = failed ? "none" : "done";
    return true;
  }

  /** The client cancelled: a cancelled request is not answered, so it must not count as in flight for ever. */
  cancel(params: string): void {
    const { requestId } = JSON.parse(params) as { requestId?: unknown };
    if (requestId !== undefined) this.#inFlight.delete(JSON.stringify(requestId));
  }

  /** Removes and hands out the requests that were sent before `time`. */
  *takeSentBefore(time: number): Generator<string> {
    for (const [id, sentAt] of this.#inFlight) {
      if (sentAt > time) return;
      this.#inFlight.delete(id);
      yield id;
    }
  }

  /** The server asks the client something. */
  ask({ id }: Envelope): void {
    this.#asked ??= new Set();
    this.#asked.add(id as string);
    if (this.#asked.size > MAX_ASKED) this.#asked.delete(this.#asked.values().next().value as string);
  }

  /** Whether the client's answer belongs to a request of the server. */
  answer({ id }: Envelope): boolean {
    return this.#asked?.delete(id as string) ?? false;
  }
}
