import { Redis, type Requester } from "@upstash/redis";

import type { Log } from "../log.ts";
import { decodeLease, encodeLease, encodeRecord, recordReader } from "./record-codec.ts";
import { leaseKey, sessionKey, type SessionStore } from "./session-store.ts";
import { StoreFailure } from "./store-failure.ts";
import {
  openUpstashConnection,
  type Reply,
  type UpstashConnection,
  type UpstashPlace,
} from "./upstash-connection.ts";
import { upstashHashVerbs } from "./upstash-hashes.ts";

export interface UpstashSessionStoreOptions extends UpstashPlace {
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
  log: Log;
  /**
   * Milliseconds after which a record that was not found is asked for once more, 0 for never (the default). A Global
   * database's read region may lag behind another instance's write; each second look costs one more command.
   */
  readAgainMs?: number;
}

const KEYS_PER_DEL = 500;
/** One more layer of JSON round each string, for the client to take off: it would read a text such as `123` as a number. */
function quoteStrings(value: unknown): unknown {
  if (typeof value === "string") return JSON.stringify(value);
  return Array.isArray(value) ? value.map(quoteStrings) : value;
}

const quoteReply = ({ result, error }: Reply): Reply =>
  error === undefined ? { result: quoteStrings(result) } : { error };

/** Carries the client's requests. Its own transport drops idle connections after 4 s and puts whole commands into its errors. */
const requesterOver = ({ post }: UpstashConnection): Requester => ({
  request: async <TResult>({ path = [], body }: { path?: string[]; body?: unknown }) => {
    const reply = await post(path, body);
    const quoted = Array.isArray(reply) ? reply.map(quoteReply) : quoteReply(reply);
    return quoted as { result?: TResult; error?: string };
  },
});

/**
 * Session records in Upstash Redis over REST. Every verb costs one billed command (`extend` one a record, `remove` one
 * per 500, `enlist` two, `seat` three, `writeJournals` up to three a change). Throws a ConfigError when `url` is none.
 */
export function openUpstashSessionStore(options: UpstashSessionStoreOptions): SessionStore {
  const { prefix, deadlineMs, log, readAgainMs = 0 } = options;
  const connection = openUpstashConnection(options);
  const { run, ready, close } = connection;
  const redis = new Redis(requesterOver(connection));

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
    ready,
    close,
  };
}
