import { constants } from "node:fs";
import { access, type FileHandle, lstat, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { type Lock, takeLock } from "./lock.ts";
import type { Out, Surplus, Written } from "./out.ts";
import { recover } from "./recover.ts";
import { rotatedFiles, rotatedName } from "./rotated.ts";

const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;

export interface FileOutOptions {
  path: string;
  /** A file is set aside before it grows beyond this. */
  maxBytes: number;
  /** Files that are kept beside the present one. 0: all. */
  files: number;
}

/** Another process writes this file. */
class LockedError extends Error {
  readonly code = "ELOCKED";
}

/** A directory, a link, a pipe, a device. */
class NotPlainError extends Error {
  readonly code = "ENOTPLAIN";
}

interface Present {
  file: FileHandle;
  ino: number;
  dev: number;
  size: number;
  /** Number of its first line, once it has one. */
  firstSeq: number | undefined;
}

/** Lines in a file of our own, which is set aside when it is full. */
export function createFileOut({ path, maxBytes, files }: FileOutOptions): Out {
  let lock: Lock | undefined;
  let present: Present | undefined;

  /** Whether the file is still the one that was opened, under its name, and no shorter. */
  async function isAsLeft(left: Present): Promise<boolean> {
    const [seen, isHeld] = await Promise.all([stat(path).catch(() => undefined), lock?.isHeld() ?? false]);
    if (!isHeld || seen?.ino !== left.ino || seen.dev !== left.dev || seen.size < left.size) return false;
    left.size = seen.size;
    return true;
  }

  async function letGo(): Promise<void> {
    const { file } = present ?? {};
    present = undefined;
    await file?.close().catch(() => undefined);
  }

  return {
    isMarked: false,
    async ready(waitMs) {
      if (present !== undefined && (await isAsLeft(present))) return undefined;
      await letGo();
      const seen = await lstat(path).catch(() => undefined);
      if (seen?.isFile() === false) throw new NotPlainError();
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      if (!(await lock?.isHeld())) {
        await lock?.release();
        lock = await takeLock(path, waitMs);
        if (lock === undefined) throw new LockedError();
      }
      const found = await recover(path);
      const file = await open(path, APPEND, 0o600);
      try {
        const { ino, dev, size } = await file.stat();
        present = { file, ino, dev, size, firstSeq: found.firstSeq };
      } catch (error) {
        await file.close();
        throw error;
      }
      return found;
    },
    room: () => maxBytes - (present?.size ?? 0),
    async write(bytes, firstSeq): Promise<Written> {
      const to = present;
      if (to === undefined) return { bytes: 0, error: new Error("not open") };
      to.firstSeq ??= firstSeq;
      let written = 0;
      try {
        while (written < bytes.length) {
          const { bytesWritten } = await to.file.write(bytes, written);
          written += bytesWritten;
          to.size += bytesWritten;
        }
        return { bytes: written };
      } catch (error) {
        return { bytes: written, error: error as Error };
      }
    },
    async rotate() {
      if (present === undefined) return;
      await present.file.datasync();
      const { firstSeq = 0 } = present;
      let again = 0;
      while (await isThere(rotatedName(path, firstSeq, again))) again += 1;
      await rename(path, rotatedName(path, firstSeq, again));
      await letGo();
    },
    async surplus() {
      if (files === 0) return undefined;
      const rotated = await rotatedFiles(path);
      const kept = rotated.at(-files);
      const gone = rotated.slice(0, -files);
      if (kept === undefined || gone.length === 0) return undefined;
      return { paths: gone.map((file) => file.path), keptFrom: kept.firstSeq };
    },
    async remove({ paths }: Surplus) {
      for (const gone of paths) await unlink(gone).catch(() => undefined);
    },
    async close() {
      await present?.file.datasync().catch(() => undefined);
      await letGo();
      await lock?.release();
      lock = undefined;
    },
  };
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
