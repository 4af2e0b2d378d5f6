import { isSlow } from "./bounds.ts";
import type { ClientStream } from "./client-stream.ts";
import { requestIdOf } from "./lane-id.ts";
import { Lane, type LaneParts } from "./lane.ts";
import type { Sent } from "./outbox.ts";
import type { SessionLimits } from "./session-parts.ts";

export interface LanesParts extends Pick<LaneParts, "backlog" | "numbers" | "now"> {
  /** `slowReaderMs` is for each stream; above `outboxMaxBytes` that clients have not read the stream with most of them is cut, and of those without a stream half as many bytes wait. */
  limits: Pick<SessionLimits, "orphanMs" | "streamMaxAgeMs" | "slowReaderMs" | "outboxMaxBytes">;
  retryMs: () => number;
  onTaken(lane: string, sent: Sent): void;
  /** A lane's stream is over. */
  onStreamEnd(): void;
  /** A lane's stream is over, nobody can go on with it, and the client has not had the answer. */
  onUnheard(lane: string): void;
  /** Nobody will ask for these messages any more. */
  onLost(lane: string, sent: readonly Sent[]): void;
}

/** Answers that were sent may be lost with their connections, so the latest are kept for a while: this many, so long. */
const KEPT = 32;
const KEPT_MS = 60_000;
/** A client comes back for what it lost within this time, so the answers of this time are kept up to a larger number. */
const RETURN_MS = 5000;
const KEPT_RECENT = 512;

/** The lanes of one session: one a request, from its POST until its answer has arrived or nobody comes for it. */
export class Lanes {
  readonly #parts: LanesParts;
  readonly #laneParts: LaneParts;
  readonly #byId = new Map<string, Lane>();
  /** Those that are done and only kept, the oldest first, with the bytes that each holds. */
  readonly #kept = new Map<Lane, number>();
  #keptBytes = 0;

  constructor(parts: LanesParts) {
    this.#parts = parts;
    const { backlog, numbers, now, onTaken } = parts;
    this.#laneParts = {
      ...{ backlog, numbers, now, waitsAside: true },
      onTaken: (lane, sent) => onTaken(lane.id, sent),
      onStreamEnd: (lane) => this.#streamEnded(lane),
    };
  }

  get hasStreams(): boolean {
    for (const lane of this.#byId.values()) if (lane.hasStream) return true;
    return false;
  }

  get isEmpty(): boolean {
    return this.#byId.size === 0;
  }

  find(id: string): Lane | undefined {
    return this.#byId.get(id);
  }

  /** What no socket has taken, with the lanes that it waits in. */
  get untaken(): (Sent & { lane: string })[] {
    return [...this.#byId.values()].flatMap(({ id, untaken }) =>
      untaken.map((sent) => ({ ...sent, lane: id })),
    );
  }

  open(id: string, requestId: string, stream?: ClientStream): Lane {
    const lane = new Lane(id, requestId, this.#laneParts);
    this.#byId.set(id, lane);
    if (stream !== undefined) lane.attach(stream);
    return lane;
  }

  /** What an earlier owner of the session could not send. */
  restore(messages: readonly (Sent & { lane?: string })[]): void {
    const byLane = new Map<string, Sent[]>();
    for (const { lane, ...sent } of messages) {
      if (lane !== undefined) byLane.set(lane, [...(byLane.get(lane) ?? []), sent]);
    }
    for (const [id, sent] of byLane) {
      const requestId = sent.find(({ kind }) => kind === "response")?.id ?? requestIdOf(id) ?? "";
      (this.#byId.get(id) ?? this.open(id, requestId)).restore(sent);
    }
  }

  /** Forgets a lane whose request was not given to the server; its stream is the door's again. */
  drop(id: string): void {
    const lane = this.#byId.get(id);
    if (lane === undefined) return;
    this.#byId.delete(id);
    this.#unkeep(lane);
    lane.drop();
  }

  /** The client waits no more for an answer. */
  cancel(id: string): void {
    this.#byId.get(id)?.done();
  }

  /** Does what is due. */
  beat(now: number): void {
    if (this.#byId.size === 0) return;
    const { limits, retryMs } = this.#parts;
    const { orphanMs, streamMaxAgeMs } = limits;
    for (const lane of this.#byId.values()) {
      const waitMs = lane.isDone ? Math.min(KEPT_MS, orphanMs) : orphanMs;
      if (!lane.hasStream && now - lane.changedAt >= waitMs) this.#forget(lane);
      else if (isSlow(lane, limits, now)) lane.cutStream();
      else lane.beat(now, streamMaxAgeMs, retryMs);
    }
    this.#makeRoom(now);
    this.bound();
  }

  /** Cuts the streams that hold most while clients have read too little, and forgets the oldest of what nobody comes for. */
  bound(): void {
    const { outboxMaxBytes } = this.#parts.limits;
    const unread = [...this.#byId.values()].filter(({ pendingBytes }) => pendingBytes > 0);
    const heard = unread.filter(({ hasStream }) => hasStream);
    heard.sort((one, other) => other.pendingBytes - one.pendingBytes);
    let bytes = sumOf(heard);
    for (const lane of heard) {
      if (bytes <= outboxMaxBytes) break;
      bytes -= lane.pendingBytes;
      lane.cutStream();
    }
    const left = unread.filter(({ hasStream }) => !hasStream);
    left.sort((one, other) => one.changedAt - other.changedAt);
    bytes = sumOf(left);
    for (const lane of left.slice(0, -1)) {
      if (bytes <= outboxMaxBytes / 2) break;
      bytes -= lane.pendingBytes;
      this.#forget(lane);
    }
  }

  ping(): void {
    for (const lane of this.#byId.values()) lane.ping();
  }

  /** Ends every stream for the client to come again. */
  rest(): void {
    for (const lane of this.#byId.values()) lane.rest(this.#parts.retryMs());
  }

  /** Hands out all that waits and ends every stream, or cuts them. */
  close(how: "end" | "cut", retryMs?: number): void {
    for (const lane of this.#byId.values()) {
      if (how === "cut") lane.cut();
      else lane.end(retryMs);
    }
    this.#byId.clear();
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  #streamEnded(lane: Lane): void {
    const isUnheard = lane.isSpent && !(lane.isDone && lane.untaken.length === 0);
    if (isUnheard) this.#parts.onUnheard(lane.id);
    if (lane.isSpent) this.#forget(lane);
    else if (lane.isDone) this.#keep(lane);
    this.#parts.onStreamEnd();
  }

  #keep(lane: Lane): void {
    this.#unkeep(lane);
    this.#kept.set(lane, lane.keptBytes);
    this.#keptBytes += lane.keptBytes;
    this.#makeRoom(this.#parts.now());
  }

  /** Forgets the oldest of those that are only kept, for as long as there are too many. */
  #makeRoom(now: number): void {
    const { backlog } = this.#parts;
    for (const lane of this.#kept.keys()) {
      const mostKept = now - lane.changedAt < RETURN_MS ? KEPT_RECENT : KEPT;
      const isTooMuch = this.#keptBytes > backlog.pauseBytes && this.#kept.size > 1;
      if (this.#kept.size <= mostKept && !isTooMuch) return;
      // One that is gone on with comes back here when that is over.
      if (lane.hasStream) this.#unkeep(lane);
      else this.#forget(lane);
    }
  }

  #unkeep(lane: Lane): void {
    this.#keptBytes -= this.#kept.get(lane) ?? 0;
    this.#kept.delete(lane);
  }

  #forget(lane: Lane): void {
    if (this.#byId.get(lane.id) === lane) this.#byId.delete(lane.id);
    this.#unkeep(lane);
    this.#parts.onLost(lane.id, lane.untaken);
    lane.drop();
  }
}

const sumOf = (lanes: readonly Lane[]): number =>
  lanes.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0);
