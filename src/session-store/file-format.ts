import { isUtf8 } from "node:buffer";
import { crc32 } from "node:zlib";

import type { Change, Hash } from "./table.ts";

/** Which files a directory has: the state at a moment, and what happened since. Those of a number belong together. */
export type FileKind = "snapshot" | "log";

export const FORMAT_VERSION = 1;

const HEADER = /^mcp-sse-gateway sessions (\d{1,9}) (snapshot|log)$/;

/** The first line of a file of ours. */
export const headerLine = (kind: FileKind): Buffer =>
  Buffer.from(`mcp-sse-gateway sessions ${FORMAT_VERSION} ${kind}\n`);

/** No header of ours is longer. */
export const HEADER_BYTES = 64;

/** The version that a first line names, or undefined when it is none of ours. */
export function readHeader(line: string, kind: FileKind): number | undefined {
  const found = HEADER.exec(line);
  return found?.[2] === kind ? Number(found[1]) : undefined;
}

/** What a line says: something that happened, nothing at all, or how many lines a whole snapshot has. */
export type Line = { change: Change } | { entries: number } | "nothing";

type Field = [name: string, text: string] | [name: string, base64: string, isBase64: 1];

const fieldsOf = (hash: Hash): Field[] =>
  [...hash].map(([name, bytes]) =>
    isUtf8(bytes) ? [name, bytes.toString()] : [name, bytes.toString("base64"), 1],
  );

function partsOf(change: Change, offsetMs: number): unknown[] {
  const { kind, key } = change;
  const at = (instant: number): number => Math.floor(instant + offsetMs);
  switch (kind) {
    case "text":
      return ["text", key, at(change.expiresAt), change.text];
    case "touch":
      return ["touch", key, at(change.expiresAt)];
    case "gone":
      return ["gone", key];
    case "hash": {
      const expiresAt = change.expiresAt === undefined ? null : at(change.expiresAt);
      return [change.isFresh ? "hash" : "fields", key, expiresAt, fieldsOf(change.put), change.drop];
    }
  }
}

/** A line: a checksum in eight hexadecimal digits, a space, and JSON. */
function lineOf(parts: unknown[]): Buffer {
  const json = Buffer.from(JSON.stringify(parts));
  const sum = crc32(json).toString(16).padStart(8, "0");
  return Buffer.concat([Buffer.from(`${sum} `), json, Buffer.from("\n")]);
}

/**
 * The line of a change.
 *
 * @param offsetMs what makes an instant of UTC, in milliseconds since 1970, of one of the table's clock.
 */
export const changeLine = (change: Change, offsetMs: number): Buffer => lineOf(partsOf(change, offsetMs));

/** Says nothing: it is written to see whether it can be. */
export const NOTHING_LINE = lineOf(["nothing"]);

/** The last line of a snapshot. */
export const endLine = (entries: number): Buffer => lineOf(["end", entries]);

/** What a line says, its end of line left off; undefined when it is damaged. Never throws. */
export function readLine(line: Buffer, offsetMs: number): Line | undefined {
  const json = line.subarray(9);
  if (line[8] !== 0x20 || line.toString("latin1", 0, 8) !== crc32(json).toString(16).padStart(8, "0"))
    return undefined;
  try {
    return meaningOf(JSON.parse(json.toString()), offsetMs);
  } catch {
    return undefined;
  }
}

/** A line whose checksum is right was written by us, so that its parts need no second look. */
function meaningOf(parts: unknown, offsetMs: number): Line | undefined {
  const [kind, key, instant] = parts as [string, string, number | null];
  const expiresAt = (instant ?? 0) - offsetMs;
  switch (kind) {
    case "text":
      return { change: { kind, key, expiresAt, text: (parts as string[])[3] ?? "" } };
    case "touch":
      return { change: { kind, key, expiresAt } };
    case "gone":
      return { change: { kind, key } };
    case "hash":
    case "fields": {
      const [, , , fields, drop] = parts as [string, string, number | null, Field[], string[]];
      const put = new Map(
        fields.map(([name, text, isBase64]) => [name, Buffer.from(text, isBase64 ? "base64" : "utf8")]),
      );
      const until = instant === null ? {} : { expiresAt };
      return { change: { kind: "hash", key, put, drop, isFresh: kind === "hash", ...until } };
    }
    case "end":
      return { entries: (parts as number[])[1] ?? 0 };
    case "nothing":
      return "nothing";
    default:
      return undefined;
  }
}
