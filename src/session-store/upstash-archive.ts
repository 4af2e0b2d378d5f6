import type { Log } from "../log.ts";
import type { Archive, Entry } from "./archive.ts";
import { cutUp, holdsHash, patternOf, pxOf } from "./redis-entries.ts";
import { StoreFailure, toFailure } from "./store-failure.ts";
import {
  commandFailure,
  openUpstashConnection,
  TOO_LARGE,
  type Reply,
  type UpstashPlace,
} from "./upstash-connection.ts";
import { billOf, planWrites, type Command, type Write } from "./upstash-writes.ts";

export interface UpstashArchiveOptions extends UpstashPlace {
  /** What every key begins with, such as `mcp:`. */
  prefix: string;
  log: Log;
}

const KEYS_PER_READ = 100;
const KEYS_PER_DEL = 500;

const badAnswer = (): StoreFailure => new StoreFailure("unreachable", "BAD_ANSWER");

/**
 * Upstash over REST as keys and values, on connections of its own; the deadline is for each request. To read, a text
 * costs one billed command and a hash two, and each hundred texts one more; to write, a text one and a hash three or four.
 * A hash above 900 KB is written in parts, the first with its expiry. A key that never expires, or holds another type than
 * its kind has, is no gateway's: it is not met, and `absent` leaves it. Throws a ConfigError when `url` is none.
 */
export function openUpstashArchive(options: UpstashArchiveOptions): Archive {
  const { prefix } = options;
  const { post, run, ready, close } = openUpstashConnection(options);
  let commands = 0;

  /** The answer to each command of a request. */
  async function send(path: Write["path"], batch: readonly Command[]): Promise<Reply[]> {
    const replies = await run(async () => {
      commands += batch.length;
      const answer = await post([path], batch);
      if (!Array.isArray(answer) || answer.length !== batch.length) throw badAnswer();
      return answer;
    });
    for (const [at, command] of batch.entries()) commands += billOf(command, replies[at]?.result) - 1;
    return replies;
  }

  /** As `send`, and rejects with the first command's error. */
  async function carryOut(path: Write["path"], batch: readonly Command[]): Promise<unknown[]> {
    const replies = await send(path, batch);
    return run(async () =>
      replies.map(({ result, error }) => {
        if (error !== undefined) throw commandFailure(error);
        return result;
      }),
    );
  }

  async function readBatch(keys: readonly string[]): Promise<(Entry | undefined)[]> {
    const texts = keys.filter((key) => !holdsHash(key));
    const hashes = keys.filter(holdsHash);
    const batch: Command[] = [
      ...keys.map((key) => ["PTTL", prefix + key]),
      ...hashes.map((key) => ["HGETALL", prefix + key]),
      ...(texts.length === 0 ? [] : [["MGET", ...texts.map((key) => prefix + key)]]),
    ];
    const replies = await send("pipeline", batch);
    return run(async () => {
      const results = replies.map(resultOf);
      const found = new Map(hashes.map((key, at) => [key, results[keys.length + at]]));
      const mget: unknown = texts.length === 0 ? [] : results.at(-1);
      if (!Array.isArray(mget) || mget.length !== texts.length) throw badAnswer();
      for (const [at, key] of texts.entries()) found.set(key, mget[at]);
      return keys.map((key, at) => entryOf(key, found.get(key), Number(results[at])));
    });
  }

  /** Asks for fewer keys at a time where the answer would be larger than the database gives. */
  async function readWithin(keys: readonly string[]): Promise<(Entry | undefined)[]> {
    try {
      return await readBatch(keys);
    } catch (error) {
      if (keys.length === 1 || toFailure(error).code !== TOO_LARGE) throw error;
      const half = Math.ceil(keys.length / 2);
      return [...(await readWithin(keys.slice(0, half))), ...(await readWithin(keys.slice(half)))];
    }
  }

  async function readKeys(keys: readonly string[]): Promise<(Entry | undefined)[]> {
    const found: (Entry | undefined)[] = [];
    for (const batch of cutUp(keys, KEYS_PER_READ, Infinity, () => 0))
      found.push(...(await readWithin(batch)));
    return found;
  }

  async function write({ path, commands: batch, told, rest }: Write): Promise<boolean[]> {
    const results = batch.length === 0 ? [] : await carryOut(path, batch);
    const written = told.map((at) =>
      typeof at === "boolean" ? at : results[at] === "OK" || results[at] === 1,
    );
    // A rest is that of a hash which had the request for itself.
    if (written.every(Boolean)) for (const command of rest) await carryOut("pipeline", [command]);
    return written;
  }

  return {
    get commands() {
      return commands;
    },
    read: async ({ cursor, count, under = "" }) => {
      const command = ["SCAN", cursor ?? "0", "MATCH", patternOf(prefix + under), "COUNT", count];
      const [page] = await carryOut("pipeline", [command]);
      const { next, keys } = await run(async () => pageOf(page));
      const entries = await readKeys(keys.map((key) => key.slice(prefix.length)));
      return { entries: entries.filter((entry) => entry !== undefined), cursor: next };
    },
    readKeys,
    write: async (entries, when) => {
      const written: boolean[] = [];
      for (const each of planWrites(entries, prefix, when)) written.push(...(await write(each)));
      return written;
    },
    swap: async (previous, entry) => {
      const command = ["SET", prefix + entry.key, entry.value, "IFEQ", previous, "PX", pxOf(entry)];
      return (await carryOut("pipeline", [command]))[0] === "OK";
    },
    remove: async (keys) => {
      for (const batch of cutUp(keys, KEYS_PER_DEL, Infinity, () => 0))
        await carryOut("pipeline", [["DEL", ...batch.map((key) => prefix + key)]]);
    },
    ready,
    close,
  };
}

/** Undefined for a key of another type than was asked for. */
function resultOf({ result, error }: Reply): unknown {
  if (error !== undefined && !error.startsWith("WRONGTYPE")) throw commandFailure(error);
  return result;
}

function pageOf(page: unknown): { next: string | undefined; keys: string[] } {
  const [next, keys]: unknown[] = Array.isArray(page) ? page : [];
  if (!Array.isArray(keys) || keys.some((key) => typeof key !== "string")) throw badAnswer();
  return { next: String(next) === "0" ? undefined : String(next), keys: keys as string[] };
}

/** The entry in two answers; undefined when the key is absent, never expires or is of another type. */
function entryOf(key: string, held: unknown, ttlMs: number): Entry | undefined {
  if (!(ttlMs > 0)) return undefined;
  if (typeof held === "string") return { key, value: held, ttlMs };
  if (!Array.isArray(held) || held.length === 0) return undefined;
  const value = new Map<string, Buffer>();
  for (let at = 0; at + 1 < held.length; at += 2)
    value.set(String(held[at]), Buffer.from(String(held[at + 1])));
  return { key, value, ttlMs };
}
