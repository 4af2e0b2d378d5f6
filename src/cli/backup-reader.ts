import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { PassThrough } from "node:stream";

import type { Entry } from "../session-store/archive.ts";
import {
  BadLine,
  isTrailer,
  MAX_LINE_BYTES,
  parseLine,
  readEntry,
  readHeader,
  readTrailer,
  type Header,
} from "./backup-format.ts";
import { CommandError, EXIT, usage } from "./command-error.ts";
import { packingOf, type Packing } from "./compression.ts";
import { splitLines } from "./split-lines.ts";

/** A backup file that is open. */
export interface BackupFile {
  /**
   * Reads it from the beginning, piece by piece, and checks every line, the count and the checksum. The last piece has
   * come only when all is right: what was read before that is not to be trusted. Rejects with what is wrong and where.
   */
  pieces(): AsyncGenerator<BackupPiece, void, void>;
  close(): Promise<void>;
}

/** Some entries of a backup, in its order. */
export interface BackupPiece {
  header: Header;
  entries: Entry[];
  /** Bytes of the lines so far, unpacked. */
  bytes: number;
}

const CHUNK_BYTES = 128 * 1024;
const PIECE_ENTRIES = 1000;
const PIECE_BYTES = 4 * 1024 * 1024;

const refuse = (line: number, words: string): CommandError =>
  new CommandError(EXIT.failed, `The backup is refused: line ${line} ${words}.`);

/** Opens a backup, which is read more than once: so it is a file, never a pipe. */
export async function openBackup(path: string, maxLineBytes = MAX_LINE_BYTES): Promise<BackupFile> {
  const packing = knownPackingOf(path);
  const file = await openFile(path);

  async function* pieces(): AsyncGenerator<BackupPiece, void, void> {
    const sum = createHash("sha256");
    let header: Header | undefined;
    let count = 0;
    let ended = false;
    let line = 1;
    let bytes = 0;
    let piece: Entry[] = [];
    let pieceBytes = 0;

    /** Takes in a line. */
    function take(text: Buffer): void {
      if (ended) throw new BadLine("follows the backup's end");
      const members = parseLine(text.subarray(0, -1));
      if (header === undefined) header = readHeader(members);
      else if (isTrailer(members)) {
        const trailer = readTrailer(members);
        if (trailer.count !== count)
          throw new BadLine(`says that there are ${trailer.count} entries, and there are ${count}`);
        if (trailer.sha256 !== sum.copy().digest("hex"))
          throw new BadLine(
            "has a checksum that is not that of the lines before it: one of them was changed",
          );
        ended = true;
        return;
      } else {
        piece.push(readEntry(members, header.kinds));
        count++;
      }
      sum.update(text);
    }

    try {
      for await (const text of splitLines(readUnpacked(file, packing), maxLineBytes)) {
        if (text.at(-1) !== 0x0a) throw new BadLine("is cut off");
        take(text);
        line++;
        bytes += text.length;
        pieceBytes += text.length;
        if (header === undefined || (piece.length < PIECE_ENTRIES && pieceBytes < PIECE_BYTES)) continue;
        yield { header, entries: piece, bytes };
        piece = [];
        pieceBytes = 0;
      }
      if (header === undefined) throw new BadLine("is not there: the file is empty");
      if (!ended) throw new BadLine("is not there: the file ends before the backup does, it was cut off");
    } catch (error) {
      if (!(error instanceof BadLine)) throw error;
      throw refuse(line, error.message);
    }
    yield { header, entries: piece, bytes };
  }

  return { pieces, close: () => file.close() };
}

function knownPackingOf(path: string): Packing | "plain" {
  const packing = packingOf(path);
  if (packing !== "unknown") return packing;
  throw usage("This Node has no zstd: use Node 22.15 or newer, or unpack the file.");
}

async function* chunksOf(file: FileHandle): AsyncGenerator<Buffer, void, void> {
  let position = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** The file's bytes, unpacked. What follows the packed data is damage. */
async function* readUnpacked(
  file: FileHandle,
  packing: Packing | "plain",
): AsyncGenerator<Buffer, void, void> {
  if (packing === "plain") return yield* chunksOf(file);
  const { size } = await file.stat();
  const unpack = packing.unpack();
  const out = new PassThrough();
  const done = pipeline(chunksOf(file), unpack, out);
  // The failure is told where the bytes are read.
  done.catch(() => undefined);
  try {
    yield* out as AsyncIterable<Buffer>;
    await done;
  } catch {
    throw new BadLine("cannot be unpacked: the file is damaged or cut off");
  }
  if ((unpack as unknown as { bytesWritten: number }).bytesWritten !== size)
    throw new BadLine("is not the end of the file: something foreign follows the packed data");
}

async function openFile(path: string): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw usage("There is no file at what --in names.");
    throw usage(`The file that --in names cannot be read (${code ?? "unknown"}).`);
  }
  const stat = await file.stat();
  if (stat.isFile()) return file;
  await file.close();
  throw usage("What --in names is not a file. A backup is read twice, so a pipe will not do.");
}
