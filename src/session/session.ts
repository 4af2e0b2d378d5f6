import { FAULTS, GatewayError, type Reason } from "../errors.ts";
import type { Log } from "../log.ts";
import { errorResponse, onOneLine, scanMessage, type Envelope } from "../protocol/json-rpc.ts";
import type { Link, LinkEnd, Upstream } from "../upstream/upstream.ts";
import type { ClientStream, ClientStreamEvents } from "./client-stream.ts";
import { Outbox } from "./outbox.ts";
import { Requests } from "./requests.ts";

/** Bounds of one session. Durations in ms. */
export interface SessionLimits {
  /** How often the heartbeat is written to the stream. */
  heartbeatMs: number;
  /** Requests of the client that may be unanswered at once. */
  inFlight: number;
  /** Above this much waiting for the client, the server behind is paused. */
  outboxPauseBytes: number;
  /** Above this much the session ends. */
  outboxMaxBytes: number;
  /** How long a stream may stand still with something to write, plus 1 ms for each 32 bytes that wait. */
  slowReaderMs: number;
  /** How long a session may live without a message either way. */
  idleMs: number;
  /** How long a client may take to send its first message. */
  firstPostMs: number;
  /** How long the client's first message may wait for the server to be started. */
  startMs: number;
  /** How long a request may go without its answer or a sign of progress. */
  requestTimeoutMs: number;
}

/** Why a session ended. */
export type SessionEnd =
  | "client_gone"
  | "slow_reader"
  | "idle"
  | "no_first_message"
  | "owner_conflict"
  | "draining"
  | Exclude<LinkEnd, "closed">;

export interface SessionParts {
  id: string;
  /** Name of the caller whose key opened it. */
  caller: string;
  upstream: Upstream;
  limits: SessionLimits;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
  /** The server was given the client's `initialize`: its `params`, as JSON text. */
  onInitialize(session: Session, params: Buffer): void;
  /** Called once. `left` resolves when nothing of the link is left. */
  onEnd(session: Session, end: SessionEnd, left: Promise<void>): void;
}

/** A reader that lags must take at least 32 KiB a second. */
const SLOW_READER_BYTES_PER_MS = 32;

/**
 * One client's conversation with one MCP server: the link to the server, the outbox with the stream to the client, and
 * the requests in flight. The stream may change under it; the link and the outbox are the session's own.
 */
export class Session implements ClientStreamEvents {
  readonly id: string;
  readonly caller: string;
  readonly #parts: SessionParts;
  readonly #openedAt: number;
  readonly #gone = new AbortController();
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  #link: Link | undefined;
  #opening: Promise<Link> | undefined;
  #isOpen = true;
  #hasBegun = false;
  #activeAt: number;
  #pingAt: number;
  #progressAt = -Infinity;
  #dropped = 0;

  constructor(parts: SessionParts) {
    this.id = parts.id;
    this.caller = parts.caller;
    this.#parts = parts;
    this.#openedAt = this.#activeAt = parts.now();
    this.#pingAt = this.#openedAt + parts.limits.heartbeatMs;
    this.#requests = new Requests(parts.limits.inFlight);
    this.#outbox = new Outbox({
      pauseBytes: parts.limits.outboxPauseBytes,
      maxBytes: parts.limits.outboxMaxBytes,
      now: parts.now,
      onFull: () => this.#link?.pause(),
      onRoom: () => this.#link?.resume(),
      onOverflow: () => this.close("slow_reader"),
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** How many requests of the client are unanswered. */
  get inFlight(): number {
    return this.#requests.inFlight;
  }

  /** Messages of the server that were not forwarded: not JSON-RPC, or answers to nothing. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Gives the session a stream to write to. */
  attach(stream: ClientStream): void {
    this.#outbox.attach(stream);
  }

  /**
   * Gives one message of the client to the server. Resolves, or returns undefined, when the server was given it.
   * Throws or rejects with the fault that kept it from being given; then it was not given.
   */
  deliver(message: Buffer, envelope: Envelope): Promise<void> | undefined {
    if (!this.#isOpen) throw new GatewayError("session_not_found");
    this.#activeAt = this.#parts.now();
    this.#hasBegun = true;
    switch (envelope.kind) {
      case "response":
        return this.#requests.answer(envelope) ? this.#send(message) : undefined;
      case "notification":
        if (envelope.method === "notifications/cancelled" && envelope.paramsEnd > 0) {
          this.#requests.cancel(paramsOf(message, envelope).toString());
        }
        return this.#send(message);
      case "request":
        return this.#request(message, envelope);
    }
  }

  /** Does what is due; called about once a second. Whether that was the heartbeat. */
  beat(now: number): boolean {
    const overdue = this.#overdue(now);
    if (overdue !== undefined) {
      this.close(overdue);
      return false;
    }
    const latest = now - this.#parts.limits.requestTimeoutMs;
    if (this.#progressAt <= latest) for (const id of this.#requests.takeSentBefore(latest)) this.#timeOut(id);
    if (now < this.#pingAt) return false;
    this.#pingAt = now + this.#parts.limits.heartbeatMs;
    this.#outbox.ping();
    return true;
  }

  /**
   * Ends the session and its link. The stream ends after what was written; a slow reader's is cut at once. With
   * `retryMs` the client is told when to reconnect. Safe to call twice.
   */
  close(end: SessionEnd, retryMs?: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (end in FAULTS) {
      for (const id of this.#requests.takeSentBefore(Infinity)) this.#answerWithFault(id, end as Reason);
    }
    if (end === "slow_reader") this.#outbox.cut();
    else this.#outbox.end(retryMs);
    this.#gone.abort();
    this.#parts.onEnd(this, end, this.#closeLink());
  }

  onDrain(): void {
    if (this.#isOpen) this.#outbox.resume();
  }

  onClose(): void {
    this.#outbox.detach();
    this.close("client_gone");
  }

  /** The bound that this session has outlived. */
  #overdue(now: number): SessionEnd | undefined {
    const { limits } = this.#parts;
    if (!this.#hasBegun && now - this.#openedAt >= limits.firstPostMs) return "no_first_message";
    if (this.inFlight === 0 && now - this.#activeAt >= limits.idleMs) return "idle";
    const { blockedSince } = this.#outbox;
    if (blockedSince === undefined) return undefined;
    const allowed = limits.slowReaderMs + this.#outbox.pendingBytes / SLOW_READER_BYTES_PER_MS;
    return now - blockedSince >= allowed ? "slow_reader" : undefined;
  }

  #request(message: Buffer, envelope: Envelope): Promise<void> | undefined {
    this.#requests.enter(envelope, this.#activeAt);
    const given = () => {
      if (envelope.method === "initialize") this.#parts.onInitialize(this, paramsOf(message, envelope));
    };
    const failed = (error: unknown) => {
      this.#requests.leave(envelope);
      throw error;
    };
    const sent = this.#send(message);
    if (sent !== undefined) return sent.then(given, failed);
    given();
    return undefined;
  }

  #send(message: Buffer): Promise<void> | undefined {
    const line = onOneLine(message);
    if (this.#link !== undefined) return this.#link.send(line);
    // The order of these continuations is the order of the messages.
    return this.#open().then((link) => link.send(line));
  }

  #open(): Promise<Link> {
    if (this.#opening !== undefined) return this.#opening;
    const { upstream, limits } = this.#parts;
    const events = {
      onMessage: (message: Buffer) => this.#receive(message),
      onEnd: (end: LinkEnd) => this.#linkEnded(end),
    };
    const signal = AbortSignal.any([this.#gone.signal, AbortSignal.timeout(limits.startMs)]);
    this.#opening = upstream.open(events, signal).then(
      (link) => {
        // Not set before this turn is over, lest a message overtake those that wait for the promise.
        queueMicrotask(() => (this.#link = link));
        return link;
      },
      (error: unknown) => {
        this.#opening = undefined;
        if (!this.#isOpen) throw new GatewayError("session_not_found", { cause: error });
        if (signal.aborted) throw new GatewayError("upstream_queue_full", { cause: error });
        if (error instanceof GatewayError && error.reason === "upstream_start_failed")
          this.close(error.reason);
        throw error;
      },
    );
    return this.#opening;
  }

  #receive(message: Buffer): void {
    if (!this.#isOpen) return;
    const envelope = scanMessage(message);
    if (typeof envelope === "string") return this.#drop(envelope);
    this.#activeAt = this.#parts.now();
    if (envelope.kind === "response") {
      if (!this.#requests.settle(envelope)) return this.#drop("unasked_answer");
    } else if (envelope.kind === "request") {
      this.#requests.ask(envelope);
    } else if (envelope.method === "notifications/progress") {
      this.#progressAt = this.#activeAt;
    }
    this.#outbox.push(onOneLine(message));
  }

  #drop(why: string): void {
    this.#dropped += 1;
    // Told at 1, 2, 4, 8, …: a mad child must not flood the log.
    if ((this.#dropped & (this.#dropped - 1)) === 0) {
      const { log } = this.#parts;
      log.warn({ session: this.id, why, dropped: this.#dropped }, "message of the server not forwarded");
    }
  }

  #timeOut(id: string): void {
    this.#answerWithFault(id, "upstream_timeout");
    const params = `{"requestId":${id},"reason":"timed out at the gateway"}`;
    const cancelled = Buffer.from(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":${params}}`);
    // A server that is stuck cannot be told either.
    this.#link?.send(cancelled)?.catch(() => undefined);
  }

  #answerWithFault(id: string, reason: Reason): void {
    const { rpcCode, message } = FAULTS[reason];
    this.#outbox.push(errorResponse(id, rpcCode, message, reason));
  }

  #linkEnded(end: LinkEnd): void {
    if (end !== "closed") this.close(end);
  }

  async #closeLink(): Promise<void> {
    const link = await this.#opening?.catch(() => undefined);
    await link?.close();
  }
}

function paramsOf(message: Buffer, { paramsStart, paramsEnd }: Envelope): Buffer {
  return message.subarray(paramsStart, paramsEnd);
}
