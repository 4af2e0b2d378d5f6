import { Redis, type Requester } from "@upstash/redis";
import { Agent } from "undici";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import { withinDeadline } from "./deadline.ts";
import { decodeLease, encodeLease, encodeRecord, recordReader } from "./record-codec.ts";
import { leaseKey, sessionKey, type SessionStore } from "./session-store.ts";
import { replyFailure, StoreFailure, toFailure, unavailable } from "./store-failure.ts";
import { upstashHashVerbs } from "./upstash-hashes.ts";

export interface UpstashSessionStoreOptions {
  /** `UPSTASH_REDIS_REST_URL`. */
  url: string;
  /** `UPSTASH_REDIS_REST_TOKEN`. */
  token: string;
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
  /** Milliseconds that a verb waits at most. */
  deadlineMs: number;
  log: Log;
  /**
   * Milliseconds after which a record that was not found is asked for once more, 0 for never (the default). A Global
   * database's read region may lag behind another instance's write; each second look costs one more command.
   */
  readAgainMs?: number;
}

const KEYS_PER_DEL = 500;
const CONNECTIONS = 32;

const CREDENTIALS_PROBLEM =
  "UPSTASH_REDIS_REST_TOKEN: the database refuses this token; copy URL and token from the same database's REST API tab";

function readUrl(text: string): URL {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  throw new ConfigError([
    "UPSTASH_REDIS_REST_URL: must be the https:// URL of the REST API tab (a redis:// URL belongs in REDIS_URL)",
  ]);
}

/** One more layer of JSON round each string, for the client to take off: it would read a text such as `123` as a number. */
function quoteStrings(value: unknown): unknown {
  if (typeof value === "string") return JSON.stringify(value);
  return Array.isArray(value) ? value.map(quoteStrings) : value;
}

interface Reply {
  result?: unknown;
  error?: string;
}

/**
 * Carries the client's requests over connections that stay open between heartbeats, each with a deadline, none
 * repeated. The client's own transport drops idle connections after 4 s and puts whole commands into its errors.
 */
function createRequester(base: URL, token: string, deadlineMs: number, agent: Agent): Requester {
  const root = base.pathname.replace(/\/+$/, "");
  let syncToken = "";

  async function exchange(path: string, body: unknown): Promise<unknown> {
    const response = await agent.request({
      origin: base.origin,
      path,
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        // Read regions of a Global database catch up to this before they answer.
        ...(syncToken === "" ? {} : { "upstash-sync-token": syncToken }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(deadlineMs),
    });
    const text = await response.body.text();
    const { statusCode, headers } = response;
    if (statusCode === 401) throw new StoreFailure("credentials", "HTTP_401");
    const reply = parseReply(text);
    if (reply === undefined) {
      throw new StoreFailure("unreachable", statusCode === 200 ? "BAD_ANSWER" : `HTTP_${statusCode}`);
    }
    if (!Array.isArray(reply) && reply.error !== undefined) throw answerFailure(statusCode, reply.error);
    if (statusCode !== 200) throw new StoreFailure("unreachable", `HTTP_${statusCode}`);
    const synced = headers["upstash-sync-token"];
    if (typeof synced === "string") syncToken = synced;
    return Array.isArray(reply) ? reply.map(quoteReply) : quoteReply(reply);
  }

  return {
    request: async <TResult>({ path = [], body }: { path?: string[]; body?: unknown }) =>
      (await exchange([root, ...path].join("/") || "/", body)) as { result?: TResult; error?: string },
  };
}

const quoteReply = ({ result, error }: Reply): Reply =>
  error === undefined ? { result: quoteStrings(result) } : { error };

function answerFailure(statusCode: number, text: string): StoreFailure {
  const failure = replyFailure(text);
  // 400 is a command that failed; any other status speaks of the service, whatever the text says.
  if (failure.kind !== "refused" || statusCode === 200 || statusCode === 400) return failure;
  return new StoreFailure("unreachable", `HTTP_${statusCode}`);
}

function parseReply(text: string): Reply | Reply[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function upstashFailure(error: unknown): StoreFailure {
  if (error instanceof Error && error.name === "UpstashError") return replyFailure(error.message);
  if (error instanceof Error && error.name === "TimeoutError")
    return new StoreFailure("unreachable", "TIMEOUT");
  return toFailure(error);
}

/**
 * Session records in Upstash Redis over REST. Every verb costs one billed command (`extend` one a record, `remove` one
 * per 500, `enlist` two, `writeJournals` up to three a change). Throws a ConfigError when `url` is none.
 */
export function openUpstashSessionStore(options: UpstashSessionStoreOptions): SessionStore {
  const { url, token, prefix, deadlineMs, log, readAgainMs = 0 } = options;
  const agent = new Agent({
    keepAliveTimeout: 60_000,
    connections: CONNECTIONS,
    connect: { timeout: deadlineMs, autoSelectFamily: true },
  });
  const redis = new Redis(createRequester(readUrl(url), token.trim(), deadlineMs, agent));
  let closing: Promise<void> | undefined;

  async function run<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (closing) throw new StoreFailure("unreachable", "CLOSED");
      return await withinDeadline(deadlineMs, work());
    } catch (error) {
      throw unavailable(upstashFailure(error));
    }
  }

  async function readText(id: string): Promise<unknown> {
    const text = await redis.exec(["GET", session(id)]);
    if (text !== null || readAgainMs === 0) return text;
    await new Promise((resolve) => setTimeout(resolve, readAgainMs));
    return redis.exec(["GET", session(id)]);
  }

  const decode = recordReader(log);
  const session = (id: string): string => sessionKey(prefix, id);
  const lease = (id: string): string => leaseKey(prefix, id);

  return {
    kind: "upstash",
    create: (record, ttlSeconds) =>
      run(async () => {
        const command = ["SET", session(record.id), encodeRecord(record), "NX", "EX", ttlSeconds] as const;
        return (await redis.exec([...command])) === "OK";
      }),
    get: (id) => run(async () => decode(await readText(id), id)),
    replace: (previous, next, ttlSeconds) =>
      run(async () => {
        const [key, old, text] = [session(previous.id), encodeRecord(previous), encodeRecord(next)];
        // EVAL would be billed three commands.
        return (await redis.exec(["SET", key, text, "IFEQ", old, "EX", ttlSeconds])) === "OK";
      }),
    extend: (ids, ttlSeconds) =>
      run(async () => {
        if (ids.length === 0) return [];
        const batch = redis.pipeline();
        for (const id of ids) batch.getex(session(id), { ex: ttlSeconds });
        const texts = await batch.exec<unknown[]>();
        if (texts.length !== ids.length) throw new StoreFailure("unreachable", "BAD_ANSWER");
        return ids.map((id, at) => decode(texts[at], id));
      }),
    remove: (ids) =>
      run(async () => {
        const removals: Promise<unknown>[] = [];
        for (let at = 0; at < ids.length; at += KEYS_PER_DEL) {
          removals.push(redis.del(...ids.slice(at, at + KEYS_PER_DEL).map(session)));
        }
        await Promise.all(removals);
      }),
    removeIf: (record) =>
      run(async () => (await redis.exec(["DELEX", session(record.id), "IFEQ", encodeRecord(record)])) === 1),
    putLease: (held, ttlSeconds) =>
      run(async () => {
        const command = ["SET", lease(held.id), encodeLease(held), "EX", ttlSeconds, "GET"] as const;
        return decodeLease(await redis.exec([...command]), held.id);
      }),
    getLease: (instanceId) =>
      run(async () => decodeLease(await redis.exec(["GET", lease(instanceId)]), instanceId)),
    removeLease: (instanceId) => run(async () => void (await redis.del(lease(instanceId)))),
    ...upstashHashVerbs(redis, prefix, deadlineMs, run),
    ready: async () => {
      try {
        await run(async () => redis.ping());
      } catch (error) {
        const failure = toFailure(error);
        if (failure.kind !== "credentials") throw error;
        throw new ConfigError([CREDENTIALS_PROBLEM], { cause: failure });
      }
    },
    close: () => (closing ??= agent.destroy().then(() => undefined)),
  };
}
