import type { Calls, Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { SessionRecord } from "../session-store/session-store.ts";
import type { LinkEnd, Upstream } from "../upstream/upstream.ts";
import type { ClientStream } from "./client-stream.ts";
import type { Told } from "./handshake.ts";
import type { SessionJournal } from "./journal.ts";
import type { Sent } from "./outbox.ts";
import type { Repeatable } from "./repeatable.ts";
import type { Unanswered } from "./requests.ts";
import type { Session } from "./session.ts";

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
  /** How long a session whose stream was cut waits for its client. 0: it ends with its stream. */
  orphanMs: number;
  /** How long a session may live, counted over all its owners. 0: as long as it is used. */
  maxAgeMs: number;
  /** Age at which a stream is ended for its client to reconnect. 0: never. */
  streamMaxAgeMs: number;
  /** How often within a minute a server that ended by itself is started again. */
  restarts: number;
}

/** Why a session ended. */
export type SessionEnd =
  | "client_gone"
  | "deleted"
  | "server_changed"
  | "slow_reader"
  | "idle"
  | "expired"
  | "key_revoked"
  | "operator"
  | "no_first_message"
  | "owner_conflict"
  | "made_room"
  | "released"
  | "draining"
  | Exclude<LinkEnd, "closed">;

/** What an earlier owner of a session left for the next. */
export interface Inheritance {
  /** Messages that no socket took, oldest first. */
  messages: readonly (Sent & { lane?: string })[];
  unanswered: readonly Unanswered[];
}

/** Where the answer to one request of a Streamable client goes: its POST's own stream, and the lane that it begins. */
export interface Reply {
  lane: string;
  stream: ClientStream;
}

export interface SessionParts {
  id: string;
  /** Grows by one with each owner. */
  epoch: number;
  /** Name of the caller whose key opened it. */
  caller: string;
  /** Id of that key. */
  key: string | undefined;
  /** How old the session was when this owner got it, in ms. */
  ageMs: number;
  /** Name of the MCP server behind. */
  server: string;
  transport: SessionRecord["transport"];
  upstream: Upstream;
  limits: SessionLimits;
  /** What the server must be told, when the client told it to an earlier link. */
  told?: Told;
  repeatable: Repeatable;
  /** Keeps what must outlive this instance. */
  journal?: SessionJournal | undefined;
  /** Watches its requests. */
  calls?: Calls | undefined;
  events: Events;
  log: Log;
  /** Monotonic time in ms. */
  now: () => number;
  /** How long a client should wait before it reconnects, in ms. */
  retryMs: () => number;
  /** The upstream is full: a session that waits for its client should make room for this one's link. */
  makeRoom(): void;
  /** The client told its server something that a fresh link must be told as well. */
  onTold(session: Session, told: Told): void;
  /** A client came back to it, here or to another instance that carries its stream. */
  onAdopted(session: Session, isCarried: boolean): void;
  /** Called once. `left` resolves when nothing of the link is left. */
  onEnd(session: Session, end: SessionEnd, left: Promise<void>): void;
}
