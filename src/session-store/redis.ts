import { once } from "node:events";

import { Cluster, Redis, type RedisOptions } from "ioredis";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import { withinDeadline } from "./deadline.ts";
import { decodeLease, encodeLease, encodeRecord, recordReader } from "./record-codec.ts";
import { redisHashVerbs } from "./redis-hashes.ts";
import { readRedisUrl, type RedisAddress } from "./redis-url.ts";
import { leaseKey, sessionKey, type SessionStore } from "./session-store.ts";
import { replyFailure, StoreFailure, toFailure, unavailable } from "./store-failure.ts";

export interface RedisSessionStoreOptions {
  /** `redis://`, `rediss://` for TLS, or several with commas between them for a Redis Cluster. */
  url: string;
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
  /** Milliseconds that a verb waits at most. */
  deadlineMs: number;
  log: Log;
}

// Redis before 8.4 has no SET … IFEQ and no DELEX.
const REPLACE = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "EX", ARGV[3])
return 1`;
const REMOVE_IF = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

const KEYS_PER_DEL = 500;

/** Milliseconds until the next attempt to connect: 0.1 s, doubling to about 2 s, and never in step with other instances. */
export const reconnectDelayMs = (attempt: number, random: () => number = Math.random): number =>
  Math.round(Math.min(100 * 2 ** Math.min(attempt - 1, 10), 2000) * (0.75 + random() * 0.5));

/** What ioredis is told about one connection. */
export function redisOptions(address: RedisAddress, deadlineMs: number) {
  const { username, password, tls } = address;
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
    // Railway's private network has names with only an IPv6 address.
    family: 0,
    connectTimeout: deadlineMs,
    commandTimeout: deadlineMs,
    // A peer that vanished without a word is found by commands that stay unanswered.
    socketTimeout: deadlineMs * 3,
    // Above 0, a command whose connection broke waits for its deadline instead of failing at once.
    maxRetriesPerRequest: 0,
    // A command that may have been carried out must never be sent again.
    autoResendUnfulfilledCommands: false,
    connectionName: "mcp-sse-gateway",
  } satisfies RedisOptions;
}

function connect(address: RedisAddress, deadlineMs: number): Redis | Cluster {
  const options = redisOptions(address, deadlineMs);
  const [first] = address.nodes;
  if (address.nodes.length === 1) {
    const retryStrategy = (attempt: number): number => reconnectDelayMs(attempt);
    return new Redis({ ...options, ...first, db: address.db, enableOfflineQueue: false, retryStrategy });
  }
  return new Cluster([...address.nodes], {
    redisOptions: options,
    enableOfflineQueue: false,
    slotsRefreshTimeout: deadlineMs,
    clusterRetryStrategy: (attempt) => reconnectDelayMs(attempt),
    // Above 0, ioredis repeats a command whose connection broke under it.
    retryDelayOnFailover: 0,
    // A certificate names hosts, so their addresses must not be looked up before TLS sees the name.
    ...(address.tls ? { dnsLookup: (host, found) => found(null, host) } : {}),
  });
}

function redisFailure(error: unknown): StoreFailure {
  if (!(error instanceof Error)) return toFailure(error);
  const { lastNodeError } = error as { lastNodeError?: unknown };
  if (lastNodeError !== undefined) return redisFailure(lastNodeError);
  if (error.name === "ReplyError") return replyFailure(error.message);
  if (error.name === "AbortError" || error.message === "Command timed out") {
    return new StoreFailure("unreachable", "TIMEOUT");
  }
  const lost = /^(Connection is closed|Stream isn't writeable|Cluster isn't ready)/.test(error.message);
  if (lost || error.name === "MaxRetriesPerRequestError") {
    return new StoreFailure("unreachable", "DISCONNECTED");
  }
  return toFailure(error);
}

/**
 * Session records in Redis, Valkey or a Redis Cluster. It connects in the background and again after each loss, so
 * opening succeeds while Redis is away; it throws a ConfigError when `url` is none.
 */
export function openRedisSessionStore(options: RedisSessionStoreOptions): SessionStore {
  const { url, prefix, deadlineMs, log } = options;
  const client = connect(readRedisUrl(url), deadlineMs);
  let closed = false;
  /** Why the present outage began; undefined while connected. */
  let outage: StoreFailure | undefined;

  client.on("error", (error) => {
    const failure = redisFailure(error);
    // An outage is told once, but credentials that turn out to be refused are news.
    const known = outage !== undefined && (outage.kind === failure.kind || failure.kind !== "credentials");
    if (!known) outage = failure;
    if (!known && !closed)
      log.warn({ code: failure.code }, "Redis connection lost; connecting again in the background");
  });
  client.on("ready", () => {
    if (outage) log.info("Redis connection is back");
    outage = undefined;
  });

  async function run<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (closed) throw new StoreFailure("unreachable", "CLOSED");
      return await withinDeadline(deadlineMs, work());
    } catch (error) {
      throw unavailable(redisFailure(error));
    }
  }

  /** GETEX of every key: one batch for a single Redis; a cluster sends each to the node of its slot. */
  async function extendAll(keys: readonly string[], ttlSeconds: number): Promise<unknown[]> {
    if (client instanceof Cluster) return Promise.all(keys.map((key) => client.getex(key, "EX", ttlSeconds)));
    const batch = client.pipeline();
    for (const key of keys) batch.getex(key, "EX", ttlSeconds);
    const replies = (await batch.exec()) ?? [];
    return replies.map(([error, text]) => {
      if (error) throw error;
      return text;
    });
  }

  async function removeAll(keys: readonly string[]): Promise<void> {
    const perCommand = client instanceof Cluster ? 1 : KEYS_PER_DEL;
    const removals: Promise<number>[] = [];
    for (let at = 0; at < keys.length; at += perCommand)
      removals.push(client.del(keys.slice(at, at + perCommand)));
    await Promise.all(removals);
  }

  const decode = recordReader(log);
  const session = (id: string): string => sessionKey(prefix, id);
  const lease = (id: string): string => leaseKey(prefix, id);

  return {
    kind: "redis",
    create: (record, ttlSeconds) =>
      run(
        async () =>
          (await client.set(session(record.id), encodeRecord(record), "EX", ttlSeconds, "NX")) === "OK",
      ),
    get: (id) => run(async () => decode(await client.get(session(id)), id)),
    replace: (previous, next, ttlSeconds) =>
      run(async () => {
        const [key, old, text] = [session(previous.id), encodeRecord(previous), encodeRecord(next)];
        return (await client.eval(REPLACE, 1, key, old, text, ttlSeconds)) === 1;
      }),
    extend: (ids, ttlSeconds) =>
      run(async () => {
        const texts = ids.length === 0 ? [] : await extendAll(ids.map(session), ttlSeconds);
        return ids.map((id, at) => decode(texts[at], id));
      }),
    remove: (ids) => run(() => removeAll(ids.map(session))),
    removeIf: (record) =>
      run(async () => (await client.eval(REMOVE_IF, 1, session(record.id), encodeRecord(record))) === 1),
    putLease: (held, ttlSeconds) =>
      run(async () =>
        decodeLease(await client.set(lease(held.id), encodeLease(held), "EX", ttlSeconds, "GET"), held.id),
      ),
    getLease: (instanceId) => run(async () => decodeLease(await client.get(lease(instanceId)), instanceId)),
    removeLease: (instanceId) => run(async () => void (await client.del(lease(instanceId)))),
    ...redisHashVerbs(client, prefix, run),
    ready: async () => {
      try {
        await run(async () => {
          if (outage?.kind === "credentials") throw outage;
          if (client.status !== "ready")
            await once(client, "ready", { signal: AbortSignal.timeout(deadlineMs) });
          // A cluster opens the connection to a node with the first command for it, and rejects others meanwhile.
          const nodes = client instanceof Cluster ? client.nodes("master") : [client];
          await Promise.all(nodes.map((node) => node.ping()));
        });
      } catch (error) {
        const failure = toFailure(error);
        if (failure.kind !== "credentials") throw error;
        throw new ConfigError(["REDIS_URL: the database refuses its user name or password"], {
          cause: failure,
        });
      }
    },
    close: async () => {
      closed = true;
      client.disconnect();
    },
  };
}
