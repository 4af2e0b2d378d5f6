import { createHash, type Hash } from "node:crypto";
import { open } from "node:fs/promises";
import { type Place, readLine } from "./chain.ts";
import { linesOf, MAX_LINE_BYTES } from "./lines.ts";
import { rotatedFiles } from "./rotated.ts";

/** What was written of lines that were broken off, without line ends. */
export interface Stray {
  bytes: number;
  hash: Hash;
}

/** Where a chain on disk stands. */
export interface Found {
  /** Its last whole line; undefined when there is none. */
  place: Place | undefined;
  stray: Stray;
  /** Whether the present file ends within a line. */
  isMidLine: boolean;
  /** Number of the present file's first line; undefined when it has none. */
  firstSeq: number | undefined;
}

export const noStray = (): Stray => ({ bytes: 0, hash: createHash("sha256") });

/** There is a file that no audit log wrote; it is not touched. */
export class ForeignFileError extends Error {
  readonly code = "EFOREIGN";
}

/** Finds where the chain of `path` stands: by its file, or by the newest that was set aside. */
export async function recover(path: string): Promise<Found> {
  const present = await tailOf(path);
  if (present?.place !== undefined) return { ...present, firstSeq: await firstSeqOf(path) };
  if (present !== undefined && !present.isTornHead) throw new ForeignFileError();
  const newest = (await rotatedFiles(path)).at(-1);
  const before = newest && (await tailOf(newest.path));
  const stray = before?.stray ?? noStray();
  if (present !== undefined) {
    stray.hash.update(present.text);
    stray.bytes += present.text.length;
  }
  return {
    place: before?.place,
    stray,
    isMidLine: present?.isMidLine ?? false,
    firstSeq: undefined,
  };
}

interface Tail {
  place: Place | undefined;
  stray: Stray;
  isMidLine: boolean;
  /** Nothing but the begin of a first line. */
  isTornHead: boolean;
  text: Buffer;
}

/** Undefined when there is no file, or nothing in it. */
async function tailOf(path: string): Promise<Tail | undefined> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    if (size === 0) return undefined;
    // As a rule the last line is whole; only a file that was damaged is read further back.
    for (let length = MAX_LINE_BYTES; ; length *= 8) {
      const start = Math.max(0, size - length);
      const text = Buffer.alloc(size - start);
      await file.read(text, 0, text.length, start);
      const tail = lastOf(text, start === 0);
      if (tail.place !== undefined || start === 0) return tail;
    }
  } finally {
    await file.close();
  }
}

function lastOf(text: Buffer, isWhole: boolean): Tail {
  const isMidLine = text.at(-1) !== 0x0a;
  const strays: Buffer[] = [];
  let place: Place | undefined;
  let end = isMidLine ? text.length : text.length - 1;
  while (end >= 0) {
    const begin = end === 0 ? 0 : text.lastIndexOf(0x0a, end - 1) + 1;
    const line = text.subarray(begin, end);
    const link = readLine(line);
    if (link?.isTrue) {
      place = { seq: link.seq, hash: link.hash };
      break;
    }
    strays.unshift(line);
    end = begin - 1;
  }
  const stray = noStray();
  for (const line of strays) stray.hash.update(line);
  stray.bytes = strays.reduce((sum, line) => sum + line.length, 0);
  const isTornHead = isWhole && text.length < MAX_LINE_BYTES && isBegun(text);
  return { place, stray, isMidLine, isTornHead, text: Buffer.concat(strays) };
}

/** Whether a file without a whole line holds only what was begun of one, perhaps several times. */
const isBegun = (text: Buffer): boolean => {
  const start = '{"seq":';
  return text
    .toString("latin1")
    .split("\n")
    .every((line) => line.startsWith(start) || start.startsWith(line));
};

/** Number of the first line of a file; undefined when it has none. */
export async function firstSeqOf(path: string): Promise<number | undefined> {
  for await (const { bytes } of linesOf(path)) {
    const link = bytes && readLine(bytes);
    if (link) return link.seq;
  }
  return undefined;
}
