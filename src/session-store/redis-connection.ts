import { once } from "node:events";

import { Cluster, Redis, type RedisOptions } from "ioredis";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import { withinDeadline } from "./deadline.ts";
import { certificateProblem, readCertificates } from "./redis-certificate.ts";
import { readRedisUrl, type RedisAddress } from "./redis-url.ts";
import { replyFailure, StoreFailure, toFailure, unavailable } from "./store-failure.ts";

export interface RedisPlace {
  /** As `readRedisUrl` reads it. */
  url: string;
  /** File of the authority that signed the server's certificate, in PEM; those that Node trusts by default. */
  caFile?: string | undefined;
  /** Milliseconds that a verb waits at most. */
  deadlineMs: number;
  log: Log;
  /** What the URL was given as, for errors; REDIS_URL by default. */
  name?: string;
}

export interface RedisConnection {
  readonly client: Redis | Cluster;
  /** Carries out `work` by the deadline, and turns its errors into `store_unavailable`. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** As `SessionStore.ready`. */
  ready(): Promise<void>;
  /** Lets go of the connections; `run` rejects from then on. Safe to call twice. */
  close(): Promise<void>;
}

/** Milliseconds until the next attempt to connect: 0.1 s, doubling to about 2 s, and never in step with other instances. */
export const reconnectDelayMs = (attempt: number, random: () => number = Math.random): number =>
  Math.round(Math.min(100 * 2 ** Math.min(attempt - 1, 10), 2000) * (0.75 + random() * 0.5));

/**
 * What ioredis is told about one connection.
 *
 * @param ca certificates of authorities, as `readCertificates` gives them; those that Node trusts by default.
 */
export function redisOptions(address: RedisAddress, deadlineMs: number, ca?: string) {
  const { nodes, master, username, password, tls } = address;
  const secure = ca === undefined ? {} : { ca };
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: secure } : {}),
    ...(master === undefined
      ? {}
      : { sentinels: [...nodes], name: master, sentinelCommandTimeout: deadlineMs }),
    ...(master !== undefined && tls ? { enableTLSForSentinelMode: true, sentinelTLS: secure } : {}),
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

function connect(address: RedisAddress, deadlineMs: number, ca?: string): Redis | Cluster {
  const options = redisOptions(address, deadlineMs, ca);
  const { nodes, master, db, tls } = address;
  if (nodes.length === 1 || master !== undefined) {
    return new Redis({
      ...options,
      ...(master === undefined ? nodes[0] : {}),
      db,
      enableOfflineQueue: false,
      retryStrategy: reconnectDelayMs,
      sentinelRetryStrategy: reconnectDelayMs,
    });
  }
  return new Cluster([...nodes], {
    redisOptions: options,
    enableOfflineQueue: false,
    slotsRefreshTimeout: deadlineMs,
    clusterRetryStrategy: (attempt) => reconnectDelayMs(attempt),
    // Above 0, ioredis repeats a command whose connection broke under it.
    retryDelayOnFailover: 0,
    // A certificate names hosts, so their addresses must not be looked up before TLS sees the name.
    ...(tls ? { dnsLookup: (host, found) => found(null, host) } : {}),
  });
}

/** Why a node cannot be connected to, of which a cluster says only that it cannot. Undefined when it can. */
function askNode(address: RedisAddress, deadlineMs: number, ca?: string): Promise<unknown> {
  const options = { ...redisOptions(address, deadlineMs, ca), ...address.nodes[0] };
  const node = new Redis({ ...options, retryStrategy: () => null });
  return new Promise((resolve) => {
    node.once("error", resolve);
    node.once("ready", () => resolve(undefined));
    node.once("end", () => resolve(undefined));
  }).finally(() => node.disconnect());
}

function redisFailure(error: unknown): StoreFailure {
  if (!(error instanceof Error)) return toFailure(error);
  const { lastNodeError } = error as { lastNodeError?: unknown };
  if (lastNodeError !== undefined) return redisFailure(lastNodeError);
  if (error.name === "ReplyError") return replyFailure(error.message);
  if (error.name === "AbortError" || error.message === "Command timed out") {
    return new StoreFailure("unreachable", "TIMEOUT");
  }
  if (error.message.startsWith("All sentinels are unreachable"))
    return new StoreFailure("unreachable", "SENTINELS");
  const lost = /^(Connection is closed|Stream isn't writeable|Cluster isn't ready)/.test(error.message);
  if (lost || error.name === "MaxRetriesPerRequestError") {
    return new StoreFailure("unreachable", "DISCONNECTED");
  }
  return toFailure(error);
}

/** What is wrong and will not mend by waiting, in plain words; undefined when it may. */
function verdict({ kind, code }: StoreFailure): string | undefined {
  if (kind === "credentials") return "the database refuses its user name or password";
  const problem = certificateProblem(code);
  return problem && `the server is not trusted: ${problem} (${code})`;
}

/**
 * Connects to Redis, Valkey, a Redis Cluster or a master behind sentinels, in the background and again after each loss,
 * so opening succeeds while Redis is away. Throws a ConfigError when the URL is none, or the CA file cannot be used.
 */
export function openRedisConnection({
  url,
  caFile,
  deadlineMs,
  log,
  name = "REDIS_URL",
}: RedisPlace): RedisConnection {
  const address = readRedisUrl(url, name);
  const ca = address.tls && caFile !== undefined ? readCertificates(caFile) : undefined;
  const client = connect(address, deadlineMs, ca);
  let closed = false;
  /** An outage is told once when it begins and once when it ends. */
  let isAway = false;
  /** What will not mend by waiting, told once. A cluster may be ready while one of its nodes is refused. */
  let refusal: StoreFailure | undefined;
  let asking: Promise<void> | undefined;

  function noteFailure(error: unknown): void {
    const failure = redisFailure(error);
    const words = verdict(failure);
    if (closed || refusal || (words === undefined && isAway)) return;
    isAway ||= client.status !== "ready";
    if (words === undefined) {
      log.warn({ code: failure.code }, "Redis connection lost; connecting again in the background");
    } else {
      refusal = failure;
      log.error({ code: failure.code }, `${name}: ${words}; trying again in the background`);
    }
  }

  client.on("error", (error) => {
    noteFailure(error);
    if (client instanceof Cluster && address.tls && !closed)
      asking ??= askNode(address, deadlineMs, ca).then((cause) => {
        asking = undefined;
        if (cause !== undefined) noteFailure(cause);
      });
  });
  client.on("node error", (error: unknown) => {
    if (verdict(redisFailure(error)) !== undefined) noteFailure(error);
  });
  client.on("ready", () => {
    if (isAway) log.info("Redis connection is back");
    isAway = false;
    if (client instanceof Redis) refusal = undefined;
  });

  async function run<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (closed) throw new StoreFailure("unreachable", "CLOSED");
      return await withinDeadline(deadlineMs, work());
    } catch (error) {
      throw unavailable(redisFailure(error));
    }
  }

  async function ping(): Promise<void> {
    if (client.status !== "ready") {
      if (refusal) throw refusal;
      await once(client, "ready", { signal: AbortSignal.timeout(deadlineMs) });
    }
    // A cluster opens the connection to a node with the first command for it, and rejects others meanwhile.
    const nodes = client instanceof Cluster ? client.nodes("master") : [client];
    await Promise.all(nodes.map((node) => node.ping()));
  }

  return {
    client,
    run,
    ready: async () => {
      try {
        await run(ping);
        refusal = undefined;
      } catch (error) {
        await asking;
        const failure = refusal ?? toFailure(error);
        const words = verdict(failure);
        if (words === undefined) throw error;
        throw new ConfigError([`${name}: ${words}`], { cause: failure });
      }
    },
    close: async () => {
      closed = true;
      client.disconnect();
    },
  };
}
