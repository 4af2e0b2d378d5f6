import { randomUUID } from "node:crypto";
import type { Log } from "../log.ts";
import type { Peer, RelaySlot, RelayAnswer, RelayMessage } from "../relay/relay.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import type { Visitor } from "./fingerprint.ts";

export interface CarrierParts {
  relay: RelaySlot;
  heartbeatMs: number;
  /** How long a client should wait before it reconnects, in ms. */
  retryMs: () => number;
  log: Log;
  now: () => number;
}

/** Whose stream is to be carried. */
export interface Errand {
  sessionId: string;
  owner: Peer;
  /** Sequence number of the last message that the client has, when it says so. */
  after?: number;
  /** Which of the session's lanes is gone on with, when not its client's own stream. */
  lane?: string;
}

/** A stream of a client here, of a session on another instance. */
interface Carried {
  readonly id: string;
  readonly sessionId: string;
  readonly stream: ClientStream;
  readonly owner: Peer;
  /** It ends when its owner has no more to say, and not for the client to come again. */
  readonly isLane: boolean;
  /** Id of the API key that the client showed for it. */
  readonly key: string | undefined;
  /** The owner knows of it. */
  isAttached: boolean;
  /** The owner is being told of it with a request: what comes of that decides. */
  isUntold: boolean;
  written: number;
  taken: number;
  wake: (() => void) | undefined;
}

/** How long an answer to the owner waits for a client that reads slowly. Less than the owner waits. */
const TAKE_MS = 8000;
const ATTACH_MS = 5000;
const DETACH_MS = 3000;
const HELLO_MS = 2000;

/** Holds the streams of clients that reached this instance while their sessions live on others. */
export class Carrier implements ClientStreamEvents {
  readonly #parts: CarrierParts;
  readonly #byId = new Map<string, Carried>();
  readonly #byStream = new Map<ClientStream, Carried>();
  readonly #asking = new Set<string>();
  #pingAt: number;
  #helloAt: number;
  #isClosed = false;

  constructor(parts: CarrierParts) {
    this.#parts = parts;
    this.#pingAt = parts.now() + parts.heartbeatMs;
    this.#helloAt = parts.now();
  }

  get count(): number {
    return this.#byId.size;
  }

  /**
   * Has the owner of a session write to this client's stream. When it does not, the stream is ended for the client to
   * come again. Never rejects.
   */
  async carry(
    stream: ClientStream,
    { sessionId, owner, after, lane }: Errand,
    { caller, key }: Pick<Visitor, "caller" | "key">,
  ): Promise<void> {
    const relay = this.#parts.relay.current;
    if (relay === undefined) return stream.end(this.#parts.retryMs());
    const carried = this.#hold(stream, sessionId, owner, { isLane: lane !== undefined, key });
    const { id } = carried;
    const head = { session: sessionId, stream: id, address: relay.address, caller, key, after, lane };
    const outcome = await relay.send(owner, { kind: "attach", head, bodies: [] }, ATTACH_MS);
    carried.isAttached = outcome.kind === "answered" && outcome.answer["delivery"] === "delivered";
    if (!carried.isAttached && this.#byId.has(id)) this.#end(carried);
  }

  /**
   * Holds the stream of a request that is about to be given to a session's owner, who will write its answer there. The
   * id by which the owner knows it.
   */
  hold(stream: ClientStream, sessionId: string, owner: Peer): string {
    const carried = this.#hold(stream, sessionId, owner, { isLane: true, key: undefined });
    carried.isUntold = true;
    return carried.id;
  }

  /** The owner was given the request, and so knows of the stream. */
  given(id: string): void {
    const carried = this.#byId.get(id);
    if (carried === undefined) return;
    carried.isUntold = false;
    carried.isAttached = true;
    if (this.#isClosed) this.#end(carried);
  }

  /** The owner was not given the request: the stream is the door's again. */
  release(id: string): void {
    const carried = this.#byId.get(id);
    if (carried === undefined) return;
    this.#forget(carried);
    carried.stream.events = undefined;
  }

  /** Which of these streams of an owner are not here any more. */
  lost(from: string, streams: readonly unknown[]): unknown[] {
    return streams.filter((id) => this.#byId.get(String(id))?.owner.instanceId !== from);
  }

  /** The owner has something for a client here, or ends its stream. */
  async receive(from: string, { head, bodies }: RelayMessage): Promise<RelayAnswer> {
    const carried = this.#byId.get(String(head["stream"]));
    if (carried === undefined || carried.owner.instanceId !== from) return { delivery: "gone" };
    const sequences = head["sequences"] as number[];
    carried.written += bodies.length;
    bodies.forEach((message, at) => carried.stream.write(sequences[at] as number, message));
    const end = head["end"] as { retryMs?: number } | undefined;
    if (end !== undefined) {
      this.#forget(carried);
      carried.stream.end(end.retryMs ?? (carried.isLane ? undefined : this.#parts.retryMs()));
      return { delivery: "delivered", taken: carried.written };
    }
    if (carried.taken < carried.written) await this.#taken(carried);
    return { delivery: "delivered", taken: carried.taken };
  }

  /** Writes heartbeats, and asks after owners: a stream whose owner is dead is ended, for its client to find the next. */
  beat(now: number): void {
    if (now >= this.#pingAt) {
      this.#pingAt = now + this.#parts.heartbeatMs;
      for (const { stream } of this.#byId.values()) stream.ping();
    }
    const relay = this.#parts.relay.current;
    if (now < this.#helloAt || relay === undefined) return;
    this.#helloAt = now + relay.helloMs;
    const owners = new Map([...this.#byId.values()].map(({ owner }) => [owner.instanceId, owner]));
    for (const owner of owners.values()) void this.#ask(owner);
  }

  /** Ends the streams that were opened with keys which open nothing any more. */
  closeKeys(mayUse: (key: string) => boolean): void {
    for (const carried of this.#byId.values())
      if (carried.key !== undefined && !mayUse(carried.key)) this.#end(carried);
  }

  /** Ends every stream, for the clients to reconnect elsewhere; one that its owner is about to know of when it does. */
  close(): void {
    this.#isClosed = true;
    for (const carried of this.#byId.values()) if (!carried.isUntold) this.#end(carried);
  }

  onTaken(stream: ClientStream): void {
    const carried = this.#byStream.get(stream);
    if (carried === undefined) return;
    carried.taken += 1;
    if (carried.taken === carried.written) carried.wake?.();
  }

  onDrain(): void {
    // The owner goes on when all of a batch was taken.
  }

  onClose(stream: ClientStream): void {
    const carried = this.#byStream.get(stream);
    if (carried === undefined) return;
    this.#forget(carried);
    const head = { session: carried.sessionId, stream: carried.id };
    void this.#parts.relay.current?.send(carried.owner, { kind: "detach", head, bodies: [] }, DETACH_MS);
  }

  #hold(
    stream: ClientStream,
    sessionId: string,
    owner: Peer,
    kind: Pick<Carried, "isLane" | "key">,
  ): Carried {
    const id = randomUUID();
    const counts = { written: 0, taken: 0, wake: undefined };
    const state = { isAttached: false, isUntold: false };
    const carried: Carried = { id, sessionId, stream, owner, ...kind, ...state, ...counts };
    this.#byId.set(id, carried);
    this.#byStream.set(stream, carried);
    stream.events = this;
    return carried;
  }

  #taken(carried: Carried): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => carried.wake?.(), TAKE_MS);
      carried.wake = () => {
        clearTimeout(timer);
        carried.wake = undefined;
        resolve();
      };
    });
  }

  async #ask(owner: Peer): Promise<void> {
    if (this.#asking.has(owner.instanceId)) return;
    this.#asking.add(owner.instanceId);
    const streams = [...this.#byId.values()].filter(
      (carried) => carried.isAttached && carried.owner.instanceId === owner.instanceId,
    );
    const head = { streams: streams.map(({ id }) => id) };
    const outcome = await this.#parts.relay.current?.send(
      owner,
      { kind: "hello", head, bodies: [] },
      HELLO_MS,
    );
    this.#asking.delete(owner.instanceId);
    if (outcome?.kind === "dead") {
      this.#parts.log.warn(
        { event: "owner_dead", owner: owner.instanceId },
        "owner of carried streams is dead",
      );
      for (const carried of this.#byId.values()) {
        if (!carried.isUntold && carried.owner.instanceId === owner.instanceId) this.#end(carried);
      }
    } else if (outcome?.kind === "answered") {
      // The owner gave them up when something did not come through, and could not say so.
      const gone = Array.isArray(outcome.answer["gone"]) ? outcome.answer["gone"] : [];
      for (const carried of streams)
        if (gone.includes(carried.id) && this.#byId.has(carried.id)) this.#end(carried);
    }
  }

  #end(carried: Carried): void {
    this.onClose(carried.stream);
    carried.stream.end(this.#parts.retryMs());
  }

  #forget(carried: Carried): void {
    this.#byId.delete(carried.id);
    this.#byStream.delete(carried.stream);
    carried.wake?.();
  }
}
