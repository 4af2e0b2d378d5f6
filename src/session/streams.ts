import { FAULTS } from "../errors.ts";
import type { StreamEnd } from "../events.ts";
import { errorResponse } from "../protocol/json-rpc.ts";
import { Backlog, type BacklogParts } from "./backlog.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import { Doubts } from "./doubts.ts";
import { requestIdOf } from "./lane-id.ts";
import { Lanes } from "./lanes.ts";
import { Outbox, type Sendable } from "./outbox.ts";
import type { Inheritance, SessionParts } from "./session-parts.ts";

/** What the streams tell their session. */
export interface StreamsEvents extends Pick<BacklogParts, "onFull" | "onRoom" | "onOverflow"> {
  /** The client's own stream is over. */
  onOwnEnd(stream: ClientStream): void;
  /** As in `LanesParts`. */
  onUnheard(lane: string): void;
  /** The last of all streams is over, of a client that may do without. */
  onNone(): void;
  /** Whether this request of the server waits for an answer. */
  isAsked(id: string): boolean;
}

/** What lanes hold is bounded at once when so much comes, and once a second else. */
const LARGE_BYTES = 16 * 1024;
/** Sequence numbers of one epoch; those of the next owner are larger. */
const EPOCH_SEQUENCES = 1e9;

/** The sequence number that the owner of this epoch starts after. */
const firstOf = (epoch: number): number => (epoch - 1) * EPOCH_SEQUENCES;

/**
 * The ways to one client: its own stream, which may be another one after a cut, and for a client of Streamable HTTP a
 * lane beside it for each of its requests.
 */
export class Streams implements ClientStreamEvents {
  readonly #parts: SessionParts;
  readonly #events: StreamsEvents;
  readonly #outbox: Outbox;
  /** Only a client of Streamable HTTP has any. */
  readonly #lanes: Lanes | undefined;
  readonly #doubts = new Doubts();
  /** When the client's own stream was attached, in ms. */
  #since: number;
  /** When the last one ended, if that is known. */
  #endSeenAt: number | undefined;
  #pingAt: number;
  /** Why the gateway ends the client's own stream, while it does. */
  #ending: StreamEnd | undefined;

  constructor(parts: SessionParts, events: StreamsEvents) {
    this.#parts = parts;
    this.#events = events;
    const { limits, now, transport, epoch } = parts;
    this.#since = now();
    this.#pingAt = this.#since + limits.heartbeatMs;
    const backlog = new Backlog({
      pauseBytes: limits.outboxPauseBytes,
      maxBytes: limits.outboxMaxBytes,
      onFull: events.onFull,
      onRoom: events.onRoom,
      onOverflow: events.onOverflow,
    });
    const numbers = { last: firstOf(epoch) };
    this.#outbox = new Outbox({ backlog, numbers, now, waitsAside: transport === "streamable" });
    this.#lanes = transport === "streamable" ? this.#createLanes(backlog, numbers) : undefined;
  }

  /** The client's own stream. */
  get own(): ClientStream | undefined {
    return this.#outbox.stream;
  }

  get ownSince(): number {
    return this.#since;
  }

  /** Whether the client's own stream has taken all there is. */
  get isQuiet(): boolean {
    return this.#outbox.isQuiet;
  }

  /** The sequence number up to which the client's own stream has brought everything. */
  get takenUpTo(): number {
    return this.#outbox.takenUpTo;
  }

  /** Since when the client takes nothing of what is written to its own stream, while it does not. */
  get blockedSince(): number | undefined {
    return this.#outbox.blockedSince;
  }

  /** Bytes that the client has not taken of what is for its own stream. */
  get pendingBytes(): number {
    return this.#outbox.pendingBytes;
  }

  /** Messages that no socket has taken, with the lanes that they wait in. */
  get untaken(): Inheritance["messages"] {
    return [...this.#outbox.untaken, ...(this.#lanes?.untaken ?? [])];
  }

  /** Goes on with this stream as the client's own; see `Session.attach`. `heardAt` is when the client last posted. */
  attach(stream: ClientStream, after: number | undefined, heardAt: number): void {
    const now = this.#parts.now();
    const repeats = this.#doubts.judge(now, this.#endSeenAt, heardAt);
    const old = this.#outbox.stream;
    this.#outbox.detach();
    old?.cut();
    if (old !== undefined) this.#tellEnd();
    this.#parts.events.emit({ type: "stream_opened", transport: this.#parts.transport });
    this.#endSeenAt = undefined;
    this.#since = now;
    stream.events = this;
    this.#outbox.attach(stream, after, repeats);
  }

  /** Lets go of the client's own stream, for another session to go on with. */
  takeOwn(): ClientStream | undefined {
    const { stream } = this.#outbox;
    this.#outbox.detach();
    return stream;
  }

  /** The answer to a request goes to this stream. */
  openLane(id: string, requestId: string, stream?: ClientStream): void {
    this.#lanes?.open(id, requestId, stream);
  }

  /** Whether the client listens to this lane now. */
  hasLaneStream(id: string): boolean {
    return this.#lanes?.find(id)?.hasStream === true;
  }

  /** As `Session.isLaneOver`. */
  isLaneOver(id: string, after: number): boolean {
    return this.#lanes?.find(id)?.isOverAfter(after) === true;
  }

  /** As `Session.resumeLane`; `isInFlight` tells whether its request still waits for its answer, in this lane. */
  resumeLane(
    id: string,
    stream: ClientStream,
    after: number,
    isInFlight: (requestId: string, lane: string) => boolean,
  ): void {
    if (this.#lanes === undefined) return;
    const known = this.#lanes.find(id);
    const lane = known ?? this.#lanes.open(id, requestIdOf(id) ?? "null");
    if (known === undefined && !isInFlight(lane.requestId, id)) {
      const { rpcCode, message } = FAULTS.answer_lost;
      const lost = errorResponse(lane.requestId, rpcCode, message, "answer_lost");
      lane.push(lost, { kind: "response", id: lane.requestId });
    }
    lane.attach(stream, after);
  }

  /** Its request was not given to the server; its stream is the door's again. */
  dropLane(id: string): void {
    this.#lanes?.drop(id);
    this.judgeNone();
  }

  /** The client waits no more for the answer. */
  cancelLane(id: string): void {
    this.#lanes?.cancel(id);
  }

  /** The answer comes later: its client is told to come again for it, if it can. */
  restLane(id: string): void {
    this.#lanes?.find(id)?.restIfResumable(this.#parts.retryMs());
  }

  /** Sends a message to the client: in this lane while there is one, else on its own stream. */
  push(message: Buffer, sendable: Sendable, laneId?: string): void {
    const lane = laneId === undefined ? undefined : this.#lanes?.find(laneId);
    // Nobody came for this answer in time, and on another stream nobody would look for it.
    if (lane === undefined && laneId !== undefined && sendable.kind === "response") return;
    const { journal, transport, limits } = this.#parts;
    const sequence = (lane ?? this.#outbox).push(message, sendable);
    journal?.kept(sequence, message, lane?.id);
    if (lane !== undefined) {
      if (message.length > LARGE_BYTES) this.#lanes?.bound();
    } else if (transport === "streamable" && this.own === undefined) {
      // Many clients never listen, and what nobody hears must not stop what they ask for.
      for (const lost of this.#outbox.trim(limits.outboxPauseBytes)) journal?.dropped(lost.sequence);
    }
  }

  /** What an earlier owner of the session could not send. */
  restore({ messages, unanswered }: Inheritance): void {
    this.#outbox.restore(messages.filter(({ lane }) => lane === undefined));
    for (const { id, lane } of unanswered) if (lane !== undefined) this.#lanes?.open(lane, id);
    this.#lanes?.restore(messages);
    for (const { sequence, message, lane } of messages) this.#parts.journal?.kept(sequence, message, lane);
  }

  /** Until when nothing will be due if nothing happens. -Infinity when there is something to look after. */
  get calmUntil(): number {
    if (this.#doubts.areOpen || this.#lanes?.isEmpty === false) return -Infinity;
    return Math.min(this.#pingAt, this.#outbox.tidyAt);
  }

  /** Does what is due. Whether that was the heartbeat. */
  beat(now: number): boolean {
    this.#outbox.tidy(now);
    this.#lanes?.beat(now);
    if (this.own !== undefined) this.#askAgain(now);
    if (now < this.#pingAt) return false;
    this.#pingAt = now + this.#parts.limits.heartbeatMs;
    this.#outbox.ping();
    this.#lanes?.ping();
    return true;
  }

  /** Ends the client's own stream for it to reconnect. */
  restOwn(why: StreamEnd = "rotated"): void {
    this.#ending = why;
    this.#outbox.rest(this.#parts.retryMs());
  }

  /** Ends every stream for the client to come again. */
  rest(): void {
    this.restOwn("drain");
    this.#lanes?.rest();
  }

  /** Nothing of an earlier conversation is left. */
  clear(): void {
    for (const { sequence } of this.#outbox.untaken) this.#parts.journal?.dropped(sequence);
    this.#outbox.clear();
    this.#doubts.clear();
  }

  /** Hands out all that waits and ends every stream, or cuts them. */
  close(how: "end" | "cut", retryMs?: number): void {
    if (this.own !== undefined) this.#ending = how === "cut" ? "slow_reader" : "session_over";
    if (how === "cut") this.#outbox.cut();
    else this.#outbox.end(retryMs);
    this.#lanes?.close(how, retryMs);
  }

  /** Says so when there is no stream at all. */
  judgeNone(): void {
    if (this.own === undefined && this.#lanes?.hasStreams !== true) this.#events.onNone();
  }

  onTaken(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    const sent = this.#outbox.take();
    if (sent !== undefined) this.#parts.journal?.dropped(sent.sequence);
  }

  onDrain(stream: ClientStream): void {
    if (stream === this.#outbox.stream) this.#outbox.resume();
  }

  onClose(stream: ClientStream): void {
    if (stream !== this.#outbox.stream) return;
    this.#outbox.detach();
    this.#tellEnd();
    this.#endSeenAt = stream.endsUnheard ? undefined : this.#parts.now();
    this.#events.onOwnEnd(stream);
  }

  #createLanes(backlog: Backlog, numbers: { last: number }): Lanes {
    const { limits, journal, now, retryMs } = this.#parts;
    return new Lanes({
      limits,
      backlog,
      numbers,
      now,
      retryMs,
      onTaken: (lane, { sequence }) => journal?.dropped(sequence, lane),
      onLost: (lane, lost) => lost.forEach(({ sequence }) => journal?.dropped(sequence, lane)),
      onStreamEnd: () => this.judgeNone(),
      onUnheard: (lane) => this.#events.onUnheard(lane),
    });
  }

  #tellEnd(): void {
    const { events, transport } = this.#parts;
    events.emit({ type: "stream_closed", transport, end: this.#ending ?? "client" });
    this.#ending = undefined;
  }

  #askAgain(now: number): void {
    for (const { message, kind, id } of this.#doubts.takeDue(now)) {
      if (this.#events.isAsked(id as string)) this.push(message, { kind, id });
    }
  }
}
