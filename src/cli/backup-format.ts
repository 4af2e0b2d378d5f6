import { isUtf8 } from "node:buffer";

import type { Entry } from "../session-store/archive.ts";
import { isOurKey, kindOf, KINDS, type Kind } from "./kinds.ts";

export const FORMAT = "mcp-sse-gateway-backup";
export const VERSION = 1;
/** Longest line of a backup, in bytes. A longer one is neither written nor read. */
export const MAX_LINE_BYTES = 128 * 1024 * 1024;

const TEN_YEARS_MS = 10 * 366 * 86_400_000;

/** The first line of a backup. */
export interface Header {
  format: typeof FORMAT;
  version: typeof VERSION;
  /** When it was begun: ISO 8601, UTC. Expiries count from here. */
  at: string;
  /** Where the store was, without its credentials. */
  store: string;
  kinds: Kind[];
}

/** The last line of a backup. */
export interface Trailer {
  /** Entries before it. */
  count: number;
  /** SHA-256 of all lines before it with their ends, in hex. */
  sha256: string;
}

/** What is wrong with a line of a backup, in words. */
export class BadLine extends Error {}

type Members = Record<string, unknown>;

/**
 * An entry as a line. `ttlMs` counts from the header's `at`, so that it is exact however long the backup takes. A hash
 * holds texts (`hash`), or base64 where one of its fields is not UTF-8 (`bytes`).
 */
export function encodeEntry({ key, value, ttlMs }: Entry, sinceMs: number): string {
  const rest = { ttlMs: Math.min(TEN_YEARS_MS, Math.max(1, Math.round(ttlMs + sinceMs))) };
  if (typeof value === "string") return `${JSON.stringify({ k: key, t: "text", v: value, ...rest })}\n`;
  const isText = [...value.values()].every((content) => isUtf8(content));
  const fields = [...value].map(([name, content]) => [name, content.toString(isText ? "utf8" : "base64")]);
  const v = Object.fromEntries(fields) as Members;
  return `${JSON.stringify({ k: key, t: isText ? "hash" : "bytes", v, ...rest })}\n`;
}

/** Reads a line's JSON object. Throws BadLine. */
export function parseLine(line: Buffer): Members {
  if (!isUtf8(line)) throw new BadLine("is not valid UTF-8");
  let value: unknown;
  try {
    value = JSON.parse(line.toString());
  } catch {
    throw new BadLine("is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new BadLine("is not a JSON object");
  return value as Members;
}

/** Reads the first line. Throws BadLine. */
export function readHeader({ format, version, at, store, kinds }: Members): Header {
  if (format !== FORMAT) throw new BadLine("is not the beginning of a backup of mcp-sse-gateway");
  if (typeof version === "number" && version > VERSION)
    throw new BadLine(
      `is of version ${version}, which a newer mcp-sse-gateway made: restore it with that one`,
    );
  if (version !== VERSION) throw new BadLine("has no version that is known");
  if (typeof at !== "string" || !/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(at) || Number.isNaN(Date.parse(at)))
    throw new BadLine("does not say when the backup was made");
  if (typeof store !== "string") throw new BadLine("does not say of which store the backup is");
  const known: readonly unknown[] = KINDS;
  if (!Array.isArray(kinds) || kinds.length === 0 || !kinds.every((kind) => known.includes(kind)))
    throw new BadLine("names kinds of entries that are not known");
  return { format, version: VERSION, at, store, kinds: kinds as Kind[] };
}

/** Reads a line that is an entry. Throws BadLine. */
export function readEntry(line: Members, kinds: readonly Kind[]): Entry {
  const { k, t, v, ttlMs, ...others } = line;
  if (typeof k !== "string") throw new BadLine("is no entry of a backup");
  const kind = kindOf(k);
  if (!isOurKey(k) || kind === undefined) throw new BadLine("has a key that is none of a gateway's");
  if (!kinds.includes(kind)) throw new BadLine("has a key of a kind that the header does not name");
  if (Object.keys(others).length > 0) throw new BadLine("has members that are not known");
  if (!Number.isSafeInteger(ttlMs) || (ttlMs as number) <= 0 || (ttlMs as number) > TEN_YEARS_MS)
    throw new BadLine("has an expiry that is not a number of milliseconds above 0");
  if ((t === "text") !== (kind === "session:"))
    throw new BadLine("has a value of the wrong type for its key");
  return { key: k, value: readValue(t, v), ttlMs: ttlMs as number };
}

function readValue(type: unknown, value: unknown): Entry["value"] {
  if (type === "text") {
    if (typeof value !== "string") throw new BadLine("has a value that is not a text");
    return value;
  }
  if (type !== "hash" && type !== "bytes") throw new BadLine("has a value of a type that is not known");
  if (typeof value !== "object" || value === null || Array.isArray(value) || Object.keys(value).length === 0)
    throw new BadLine("has a value that is not a hash");
  const fields = Object.entries(value).map(([name, content]: [string, unknown]): [string, Buffer] => {
    if (typeof content !== "string") throw new BadLine("has a hash with a field that is not a text");
    if (type === "hash") return [name, Buffer.from(content)];
    const bytes = Buffer.from(content, "base64");
    if (bytes.toString("base64") !== content) throw new BadLine("has a field that is not base64");
    return [name, bytes];
  });
  return new Map(fields);
}

/** Whether the line is meant as the last one. */
export const isTrailer = (line: Members): boolean => "sha256" in line && !("k" in line);

/** Reads the last line. Throws BadLine. */
export function readTrailer({ count, sha256 }: Members): Trailer {
  if (!Number.isSafeInteger(count) || (count as number) < 0)
    throw new BadLine("does not say how many entries there are");
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) throw new BadLine("has no checksum");
  return { count: count as number, sha256 };
}
