import type { Told } from "./handshake.ts";
import type { Sendable } from "./outbox.ts";
import type { SessionEnd } from "./session-parts.ts";

/** What an exchange asks and tells its session. */
export interface ExchangeEvents {
  /** Sends a message to the client; with a lane it is about the request that waits there. */
  push(message: Buffer, sendable: Sendable, lane?: string): void;
  /** Whether the client listens to this lane now. */
  hasStream(lane: string): boolean;
  /** The client waits no more for what this lane was to bring. */
  leaveLane(lane: string): void;
  /** What this lane is to bring comes later; its client may come again for it. */
  restLane(lane: string): void;
  /** The client's server was told something that a fresh link must be told as well. */
  tell(told: Told): void;
  /** The server has ended for good. */
  end(end: SessionEnd): void;
}
