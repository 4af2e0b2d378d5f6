import { Cluster } from "ioredis";

import type { Archive, Entry } from "./archive.ts";
import { openRedisConnection, type RedisPlace } from "./redis-connection.ts";
import {
  cutUp,
  flatten,
  holdsHash,
  patternOf,
  pxOf,
  SWAP_TEXT,
  WRITE_ABSENT_HASH,
  WRITE_HASH,
} from "./redis-entries.ts";
import { scan } from "./redis-scan.ts";

export interface RedisArchiveOptions extends RedisPlace {
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
}

type Command = readonly [name: string, key: string, ...rest: (string | Buffer)[]];

const KEYS_PER_BATCH = 500;
const BYTES_PER_BATCH = 4_000_000;

const sizeOf = ({ value }: Entry): number =>
  typeof value === "string"
    ? value.length
    : [...value].reduce((sum, [name, bytes]) => sum + name.length + bytes.length, 0);

/**
 * Redis, Valkey or a Redis Cluster as keys and values, on a connection of its own; the deadline is for each batch. An
 * entry costs two commands to read (and SCAN's share) and one to write. A key that never expires, or holds another type
 * than its kind has, is no gateway's: it is not met, and `absent` leaves it. Opens and throws as `openRedisSessionStore`.
 */
export function openRedisArchive(options: RedisArchiveOptions): Archive {
  const { prefix } = options;
  const { client, run, ready, close } = openRedisConnection(options);
  let commands = 0;

  /** The reply to each command, or its error; in a cluster each goes to the node of its slot. */
  async function send(batch: readonly Command[]): Promise<unknown[]> {
    commands += batch.length;
    if (client instanceof Cluster) {
      const sent = await Promise.allSettled(batch.map(([name, ...rest]) => client.callBuffer(name, ...rest)));
      return sent.map((each): unknown => (each.status === "fulfilled" ? each.value : each.reason));
    }
    const pipeline = client.pipeline();
    for (const [name, ...rest] of batch) pipeline.callBuffer(name, ...rest);
    return ((await pipeline.exec()) ?? []).map(([error, reply]) => error ?? reply);
  }

  /** As `send`, and rejects with the first error. */
  async function carryOut(batch: readonly Command[]): Promise<unknown[]> {
    const replies = await send(batch);
    for (const reply of replies) if (reply instanceof Error) throw reply;
    return replies;
  }

  async function readBatch(keys: readonly string[]): Promise<(Entry | undefined)[]> {
    const replies = await send(
      keys.flatMap((key): Command[] => [
        [holdsHash(key) ? "HGETALL" : "GET", prefix + key],
        ["PTTL", prefix + key],
      ]),
    );
    return keys.map((key, at) => entryOf(key, replies[2 * at], replies[2 * at + 1]));
  }

  async function readKeys(keys: readonly string[]): Promise<(Entry | undefined)[]> {
    const found: (Entry | undefined)[] = [];
    for (const batch of cutUp(keys, KEYS_PER_BATCH, Infinity, () => 0))
      found.push(...(await run(() => readBatch(batch))));
    return found;
  }

  function writeCommand(entry: Entry, isAbsent: boolean): Command {
    const key = prefix + entry.key;
    if (typeof entry.value === "string")
      return ["SET", key, entry.value, "PX", pxOf(entry), ...(isAbsent ? ["NX"] : [])];
    // Redis has no hash without fields.
    if (entry.value.size === 0) return isAbsent ? ["EVAL", "return 0", "1", key] : ["DEL", key];
    const script = isAbsent ? WRITE_ABSENT_HASH : WRITE_HASH;
    return ["EVAL", script, "1", key, pxOf(entry), ...flatten(entry.value)];
  }

  return {
    get commands() {
      return commands;
    },
    read: async ({ cursor, count, under = "" }) => {
      const page = await run(() => {
        commands += 1;
        return scan(client, cursor, patternOf(prefix + under), count);
      });
      const entries = await readKeys(page.keys.map((key) => key.slice(prefix.length)));
      return { entries: entries.filter((entry) => entry !== undefined), cursor: page.cursor };
    },
    readKeys,
    write: async (entries, when) => {
      const written: boolean[] = [];
      for (const batch of cutUp(entries, KEYS_PER_BATCH, BYTES_PER_BATCH, sizeOf)) {
        const replies = await run(() =>
          carryOut(batch.map((entry) => writeCommand(entry, when === "absent"))),
        );
        written.push(...replies.map((reply) => when === "always" || reply === 1 || String(reply) === "OK"));
      }
      return written;
    },
    swap: (previous, entry) =>
      run(async () => {
        const command: Command = [
          "EVAL",
          SWAP_TEXT,
          "1",
          prefix + entry.key,
          previous,
          entry.value,
          pxOf(entry),
        ];
        return (await carryOut([command]))[0] === 1;
      }),
    remove: async (keys) => {
      const perCommand = client instanceof Cluster ? 1 : KEYS_PER_BATCH;
      for (const batch of cutUp(keys, KEYS_PER_BATCH, Infinity, () => 0)) {
        const removals = cutUp(
          batch.map((key) => prefix + key),
          perCommand,
          Infinity,
          () => 0,
        );
        await run(() => carryOut(removals.map(([first = "", ...rest]) => ["DEL", first, ...rest])));
      }
    },
    ready,
    close,
  };
}

/** The entry in two replies; undefined when the key is absent, never expires or is of another type. */
function entryOf(key: string, held: unknown, ttl: unknown): Entry | undefined {
  for (const reply of [held, ttl])
    if (reply instanceof Error && !reply.message.startsWith("WRONGTYPE")) throw reply;
  const ttlMs = Number(ttl);
  if (!(ttlMs > 0)) return undefined;
  if (Buffer.isBuffer(held)) return { key, value: held.toString(), ttlMs };
  if (!Array.isArray(held) || held.length === 0) return undefined;
  const flat = held as Buffer[];
  const value = new Map<string, Buffer>();
  for (let at = 0; at + 1 < flat.length; at += 2) value.set(String(flat[at]), flat[at + 1] as Buffer);
  return { key, value, ttlMs };
}
