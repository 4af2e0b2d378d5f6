import { hash, scryptSync } from "node:crypto";

/** One API key, as its digest: the key itself is forgotten once it is read. */
export interface ApiKey {
  /** Names the key in records, events and lists, and says nothing of it. */
  id: string;
  /** Whom the key names. Several keys may name one caller. */
  caller: string;
  /** SHA-256 of the key. */
  digest: Buffer;
  /** When it opens nothing any more, in ms since 1970. Undefined: never. */
  expiresAt?: number;
}

/** SHA-256: enough for keys that were drawn at random, and quick enough for every request. */
export function digestOf(key: string): Buffer {
  // As hexadecimal text it costs a third of what Node takes to answer a buffer.
  return Buffer.from(hash("sha256", key, "hex"), "hex");
}

/** 2 MiB and some milliseconds for each key at start, and for whoever sees an id and guesses keys for it. */
const STRETCH = { N: 2048, r: 8, p: 1 };

/**
 * The id of a key that has none of its own, the same on every instance. It is made of the digest alone, so that another
 * key never comes by it, and slowly, because a short key might be guessed from it.
 */
export function idOfDigest(digest: Buffer): string {
  return `e_${scryptSync(digest, "mcp-sse-gateway key id", 4, STRETCH).toString("hex")}`;
}
