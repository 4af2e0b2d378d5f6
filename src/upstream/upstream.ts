import type { Reason } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";

/** Why a link ended: `closed` when we asked for it, else the fault that ended it. */
export type LinkEnd = "closed" | Extract<Reason, `upstream_${string}`>;

/** What a link tells its session. Nothing is called after `onEnd`. */
export interface LinkEvents {
  /** Whose the link is, where one client has many: those of the same owner are one client's. Else it is nobody else's. */
  readonly owner?: unknown;
  /**
   * One message from the server: a JSON text without line breaks, valid UTF-8. The bytes belong to the receiver and are
   * not changed afterwards. With `envelope` it was looked into already, and this is what was seen.
   */
  onMessage(message: Buffer, envelope?: Envelope): void;
  /**
   * The server has ended the stream on which it was to answer this request, and goes on with another one later: its
   * client may be told to do the same. `id` is the request's, as JSON text.
   */
  onRest?(id: string): void;
  /** Called exactly once, when nothing more will come. */
  onEnd(end: LinkEnd): void;
}

/**
 * One session's connection to an MCP server. Every kind passes `test/upstream/conformance.ts`.
 *
 * Messages keep their order in each direction. A message is given to the server at most once.
 */
export interface Link {
  /**
   * Gives one message to the server: a JSON text without line breaks. Returns undefined when the server's end took it
   * at once, else a promise that resolves when it did. Rejects with `upstream_busy` when the server does not read, and
   * then has given nothing; with `upstream_exited` when the link has ended. `envelope` is what `scanMessage` has seen in
   * it, from whom has looked.
   */
  send(message: Buffer, envelope?: Envelope): Promise<void> | undefined;
  /** Stops taking messages from the server, so that its own output blocks; what is read already may still come. */
  pause(): void;
  resume(): void;
  /** Ends the link and all that belongs to it. Resolves when nothing of it is left. Safe to call twice. */
  close(): Promise<void>;
}

/** An MCP server that we front: opens one link for each session. */
export interface Upstream {
  /** The server's name, as in `SessionRecord.server`. */
  readonly name: string;
  /** Whether a link that is opened now would wait until another one ends. */
  readonly isFull: boolean;
  /**
   * Opens a link. Rejects with `upstream_start_failed` when the server cannot be started, and with
   * `upstream_queue_full` when too many wait to be started. `signal` gives up the wait.
   */
  open(events: LinkEvents, signal: AbortSignal): Promise<Link>;
  /** Ends every link that is still open. Safe to call twice. */
  close(): Promise<void>;
}
