/** What other instances must know of a session. Small; no key, no token and no message body is in it. */
export interface SessionRecord {
  /** Version of this shape. A record of another version is treated as absent and left alone. */
  v: 1;
  /** The session's id, a UUID. */
  id: string;
  /** Id of the instance that holds the link and the stream. */
  owner: string;
  /** Grows by one with each change of owner. */
  epoch: number;
  /** Grows by one each time its owner changes it. With `epoch` it says which of two copies is the newer. Absent: 0. */
  rev?: number;
  /** Name of the caller whose key opened the session. */
  caller: string;
  /** Id of the API key that opened it, so that it ends when that key is revoked. It says nothing of the key. */
  key?: string;
  /** Name of the MCP server behind. */
  server: string;
  /** How its client speaks to us. */
  transport: "sse" | "streamable";
  /** ISO 8601, UTC. */
  createdAt: string;
  /** Whom a returning client is recognised by. */
  client: { userAgent: string; address: string; clientId?: string };
  /** Parameters of the client's `initialize` request, once it has sent one. */
  initialize?: unknown;
  /** Parameters of its last `logging/setLevel`, which a fresh link must be told. */
  logLevel?: unknown;
  /** Resources that it has subscribed to, for the same reason. */
  subscriptions?: string[];
  /** The owner has let go of the session: the next instance that a client reaches may claim it. */
  released?: true;
  /** An operator has asked for its end: no instance takes it up, and its owner ends it as soon as it looks. */
  ending?: true;
}

/** An instance's sign of life. A record whose owner has no lease belongs to a dead instance. */
export interface Lease {
  v: 1;
  /** The instance's id. */
  id: string;
  /** ISO 8601, UTC: when the instance started. */
  startedAt: string;
  state: "serving" | "draining";
  /** How other instances reach this one: `Relay.address`. Absent when the relay is off. */
  relay?: string;
  /** Somebody changed records of this instance, and it should look at them: it finds this when it renews its lease. */
  look?: true;
}

/** What is known of a client that may come back: the sessions it had, and how it introduced itself last. */
export interface ClientTrace {
  /**
   * Ids of sessions that were opened and not closed, the newest first, a hundred at most; an instance that died may have
   * left some that are gone.
   */
  sessions: string[];
  /** Parameters of its last `initialize`. */
  initialize: unknown;
}

/**
 * Changes to one session's journal: what must outlive its owner. Entries have names, and keep no order. The journal
 * belongs to one epoch, so that an owner that was taken for dead and wakes writes where nobody reads.
 */
export interface JournalChange {
  id: string;
  epoch: number;
  /** Entries to write, by name. Each is valid UTF-8. */
  put: ReadonlyMap<string, Buffer>;
  /** Names of entries to remove. */
  drop: readonly string[];
}

/**
 * Where session records and instance leases live. Every driver passes `test/session-store/conformance.ts`.
 *
 * A record vanishes `ttlSeconds` after it was last written or extended, so an instance that dies leaves nothing
 * behind. Expiries are whole seconds. Every verb rejects with `store_unavailable` when the store cannot be reached or
 * does not answer within the driver's deadline; none waits longer, and none is repeated by the driver after it may
 * have been carried out. Records that are handed out are copies.
 */
export interface SessionStore {
  /** The word that `SESSION_STORE` has for this driver. */
  readonly kind: "memory" | "file" | "redis" | "upstash";
  /** Writes the record if its id is free. False when a record with this id exists. */
  create(record: SessionRecord, ttlSeconds: number): Promise<boolean>;
  /** The record, or undefined when it is absent, expired, damaged or of another version. */
  get(id: string): Promise<SessionRecord | undefined>;
  /** Writes `next` and restarts its expiry if exactly `previous` is stored. False, and nothing written, otherwise. */
  replace(previous: SessionRecord, next: SessionRecord, ttlSeconds: number): Promise<boolean>;
  /** Restarts the expiry of each and returns what is stored, in the order asked: one command a record, one batch for all. */
  extend(ids: readonly string[], ttlSeconds: number): Promise<(SessionRecord | undefined)[]>;
  /** Removes records, whether or not they exist. One command for up to 500. */
  remove(ids: readonly string[]): Promise<void>;
  /** Removes the record if exactly this one is stored. False otherwise. */
  removeIf(record: SessionRecord): Promise<boolean>;
  /** Writes or renews an instance's lease. The lease that stood there before, if any. One command. */
  putLease(lease: Lease, ttlSeconds: number): Promise<Lease | undefined>;
  /** The lease of an instance, or undefined when it has none: the instance is dead. */
  getLease(instanceId: string): Promise<Lease | undefined>;
  removeLease(instanceId: string): Promise<void>;
  /** Notes a session under a client's fingerprint, with the client's `initialize`, and restarts the expiry of that client's trace. */
  enlist(fingerprint: string, sessionId: string, initialize: unknown, ttlSeconds: number): Promise<void>;
  /** What is known of a client, or undefined. One command. */
  trace(fingerprint: string): Promise<ClientTrace | undefined>;
  /** Forgets a session of a client; how the client introduced itself stays until it expires. */
  delist(fingerprint: string, sessionId: string): Promise<void>;
  /**
   * Notes a session of a caller and the instance that owns it, and restarts the expiry of that caller's index. How many
   * sessions are noted then, this one included: exact even when many instances do it at once. Three commands, one batch.
   */
  seat(caller: string, sessionId: string, owner: string, ttlSeconds: number): Promise<number>;
  /** Forgets sessions of a caller. One command. */
  unseat(caller: string, sessionIds: readonly string[]): Promise<void>;
  /** The noted sessions of a caller, by id, with their owners; an owner that died may have left some that are gone. One command. */
  seatsOf(caller: string): Promise<Map<string, string>>;
  /**
   * Carries out changes to journals in one batch, at most three commands each, and restarts their expiry; a change of
   * nothing does only that. An entry that is both put and dropped is dropped. A batch that is rejected may have been
   * carried out in part. Do not write to a journal while another write to it is under way: which is last is not said.
   */
  writeJournals(changes: readonly JournalChange[], ttlSeconds: number): Promise<void>;
  /** All entries of a journal, by name; empty when there is none. One command. */
  readJournal(id: string, epoch: number): Promise<Map<string, Buffer>>;
  removeJournal(id: string, epoch: number): Promise<void>;
  /** Resolves when the store can serve. Rejects with `store_unavailable`, or with a ConfigError when it refuses our credentials. */
  ready(): Promise<void>;
  /** Lets go of connections and timers. Safe to call twice. */
  close(): Promise<void>;
}

/** Key of a session record under the prefix: `mcp:session:<id>` by default. */
export const sessionKey = (prefix: string, id: string): string => `${prefix}session:${id}`;

/** Key of an instance lease under the prefix: `mcp:instance:<id>` by default. */
export const leaseKey = (prefix: string, instanceId: string): string => `${prefix}instance:${instanceId}`;

/** Key of a client's trace under the prefix: `mcp:client:<fingerprint>` by default, a hash. */
export const clientKey = (prefix: string, fingerprint: string): string => `${prefix}client:${fingerprint}`;

/** Key of a session's journal under the prefix: `mcp:journal:<id>:<epoch>` by default, a hash. */
export const journalKey = (prefix: string, id: string, epoch: number): string =>
  `${prefix}journal:${id}:${epoch}`;

/** Key of a caller's index of sessions under the prefix: `mcp:caller:<name>` by default, a hash of owners by session id. */
export const callerKey = (prefix: string, caller: string): string => `${prefix}caller:${caller}`;

/** Which of two copies of a record is the newer: above 0 when `one` is. The record's own count decides, never a clock. */
export const compareVersions = (one: SessionRecord, other: SessionRecord): number =>
  one.epoch - other.epoch || (one.rev ?? 0) - (other.rev ?? 0);
