import { Cluster } from "ioredis";

import { decodeLease, encodeLease, encodeRecord, recordReader } from "./record-codec.ts";
import { openRedisConnection, type RedisPlace } from "./redis-connection.ts";
import { redisHashVerbs } from "./redis-hashes.ts";
import { leaseKey, sessionKey, type SessionStore } from "./session-store.ts";

export interface RedisSessionStoreOptions extends RedisPlace {
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
}

// Redis before 8.4 has no SET … IFEQ and no DELEX.
const REPLACE = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "EX", ARGV[3])
return 1`;
const REMOVE_IF = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

const KEYS_PER_DEL = 500;

/**
 * Session records in Redis, Valkey or a Redis Cluster. It connects in the background and again after each loss, so
 * opening succeeds while Redis is away; it throws a ConfigError when `url` is none, or the CA file cannot be used.
 */
export function openRedisSessionStore(options: RedisSessionStoreOptions): SessionStore {
  const { prefix, log } = options;
  const { client, run, ready, close } = openRedisConnection(options);

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
    ready,
    close,
  };
}
