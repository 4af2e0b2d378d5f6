import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";

import { CommandError, EXIT } from "./command-error.ts";
import type { Output } from "./parts.ts";

/**
 * Writes a file that is there only when it is whole: under another name first, then renamed over what stood there. Only
 * its owner may read it. On a failure nothing is left behind.
 */
export async function writeWhole(path: string, source: Readable, pack?: Transform): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomUUID().slice(0, 8)}.part`);
  try {
    const file = await open(beside, "wx", 0o600);
    try {
      const out = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
        for await (const chunk of chunks) await file.appendFile(chunk);
      };
      await (pack ? pipeline(source, pack, out) : pipeline(source, out));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    source.destroy();
    await rm(beside, { force: true });
    throw asWords(error);
  }
}

/** Writes to a stream that stays open. */
export async function writeOut(output: Output, source: Readable, pack?: Transform): Promise<void> {
  try {
    await (pack ? pipeline(source, pack, output, { end: false }) : pipeline(source, output, { end: false }));
  } catch (error) {
    throw asWords(error);
  }
}

function asWords(error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || (syscall === undefined && !code.startsWith("ERR_STREAM"))) return error;
  const why: Record<string, string> = {
    ENOENT: "its directory does not exist",
    EACCES: "its directory may not be written to",
    EISDIR: "it is a directory",
    ENOSPC: "the disk is full",
    EPIPE: "who reads it went away",
  };
  return new CommandError(EXIT.failed, `The output cannot be written: ${why[code] ?? code}.`);
}
