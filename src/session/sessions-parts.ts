import type { Calls, Events } from "../events.ts";
import type { Log } from "../log.ts";
import type { SessionRecord, SessionStore } from "../session-store/session-store.ts";
import type { Visitor } from "./fingerprint.ts";
import type { Told } from "./handshake.ts";
import type { Servers } from "./servers.ts";
import type { SessionLimits } from "./session-parts.ts";

export interface SessionsParts {
  instanceId: string;
  store: SessionStore;
  servers: Servers;
  /** Sessions that this instance holds at most. */
  maxSessions: number;
  /** Sessions that a caller has at most, on all instances together. */
  maxSessionsOf: (caller: string) => number;
  /** Whether a session may go on that was opened with the key of this id. */
  mayUse: (key: string) => boolean;
  limits: SessionLimits;
  ttlSeconds: number;
  extend: "late" | "always";
  /** `store`: what was accepted outlives this instance, whatever happens to it. */
  durability: "off" | "store";
  /** How long a client should wait before it reconnects, in ms. */
  retryMs: () => number;
  /** Watches the requests of all sessions. */
  calls?: Calls | undefined;
  events: Events;
  log: Log;
  /** Monotonic time in ms; a test has its own. */
  now?: () => number;
}

export interface OpenOptions {
  isReturning?: boolean;
  transport?: SessionRecord["transport"];
  told?: Told | undefined;
  /** The session's id, where a seat was taken for it. */
  id?: string;
}

/** A session that is about to be. */
export interface Creation {
  id: string;
  epoch: number;
  visitor: Visitor;
  transport: SessionRecord["transport"];
  told: Told | undefined;
  ageMs?: number;
}
