import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import { headerLine, NOTHING_LINE } from "./file-format.ts";
import { fileName, writeWhole } from "./file-names.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";

/** When what was written is forced to the disk: before a verb answers, once a second, or when the system does it. */
export type Sync = "always" | "second" | "off";

/** What is done to the file, so that a test can let it fail. */
export interface Disk {
  /** Answers how many bytes were written, which may be fewer. */
  write(file: FileHandle, bytes: Buffer, position: number): Promise<number>;
  truncate(file: FileHandle, length: number): Promise<void>;
  sync(file: FileHandle): Promise<void>;
}

export const REAL_DISK: Disk = {
  write: async (file, bytes, position) => (await file.write(bytes, 0, bytes.length, position)).bytesWritten,
  truncate: (file, length) => file.truncate(length),
  sync: (file) => file.datasync(),
};

export interface LogFileOptions {
  directory: string;
  sync: Sync;
  log: Log;
  disk: Disk;
  /** The log to go on with, where its last whole line ends; absent: a new one of number `lastNumber + 1`. */
  from: { number: number; end: number } | undefined;
  lastNumber: number;
  /** Bytes of all logs since the last snapshot. */
  bytes: number;
  /** Is told after each write. */
  onWrite(): void;
}

/** The log of changes. */
export type LogFile = Awaited<ReturnType<typeof openLogFile>>;

interface Batch {
  lines: Buffer[];
  undos: (() => void)[];
  /** Settles when its lines are where they shall be. */
  written: Promise<void>;
  settle(error?: unknown): void;
}

const SYNC_EVERY_MS = 1000;

function createBatch(): Batch {
  const { promise, resolve, reject } = withResolvers();
  // A line may have nobody who waits for it.
  promise.catch(() => undefined);
  const settle = (error?: unknown): void => (error === undefined ? resolve() : reject(error));
  return { lines: [], undos: [], written: promise, settle };
}

function withResolvers() {
  let resolve: () => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<void>((onDone, onError) => {
    resolve = onDone;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** What the system said, without its words: they have paths in them. */
export const failureOf = (error: unknown): StoreFailure => {
  const { code } = error as { code?: unknown };
  return new StoreFailure("refused", typeof code === "string" ? code : "EIO");
};

/**
 * Appends lines: all of a tick, and all that came while others were written, in one write. When a write fails, its
 * lines are cut off again and they, with all that came after them, are undone: what memory has is what the file has.
 */
export async function openLogFile(options: LogFileOptions) {
  const { directory, sync, log, disk, onWrite } = options;
  let { lastNumber, bytes } = options;
  const { from } = options;
  let { file, end } = await (from ? openLog(from.number, from.end) : createLog(lastNumber + 1));
  let queued: Batch | undefined;
  let flying: Batch | undefined;
  let queuedBytes = 0;
  /** The end of the file may hold bytes that nobody was promised. */
  let isTorn = false;
  let isUnsynced = false;
  let failures = 0;
  let isFailing = false;
  let isSyncFailing = false;
  let lane: Promise<unknown> = Promise.resolve();

  async function createLog(number: number): Promise<{ file: FileHandle; end: number }> {
    const header = headerLine("log");
    await writeWhole(directory, fileName("log", number), (fresh) => fresh.writeFile(header));
    lastNumber = number;
    return openLog(number, header.length);
  }

  async function openLog(number: number, length: number): Promise<{ file: FileHandle; end: number }> {
    return { file: await open(join(directory, fileName("log", number)), "r+"), end: length };
  }

  /** One thing at a time is done to the file. */
  function inLane<T>(work: () => Promise<T>): Promise<T> {
    const result = lane.then(work);
    lane = result.catch(() => undefined);
    return result;
  }

  async function cut(): Promise<void> {
    await disk.truncate(file, end);
    isTorn = false;
  }

  async function write(content: Buffer): Promise<void> {
    if (isTorn) await cut();
    try {
      for (let at = 0, wrote = 0; at < content.length; at += wrote) {
        wrote = await disk.write(file, content.subarray(at), end + at);
        if (wrote === 0) throw new StoreFailure("refused", "EIO");
      }
      isUnsynced = true;
      if (sync === "always") await syncNow();
      end += content.length;
      bytes += content.length;
    } catch (error) {
      isTorn = true;
      await cut().catch(() => undefined);
      throw error;
    }
  }

  async function syncNow(): Promise<void> {
    if (!isUnsynced) return;
    isUnsynced = false;
    try {
      await disk.sync(file);
    } catch (error) {
      isUnsynced = true;
      throw error;
    }
  }

  function noteOutcome(error?: unknown): void {
    if (error !== undefined) failures += 1;
    if (error !== undefined && !isFailing)
      log.error(
        { code: failureOf(error).code },
        "the session file cannot be written; what needs it is refused",
      );
    if (error === undefined && isFailing) log.info("the session file can be written again");
    isFailing = error !== undefined;
  }

  function noteSync(error?: unknown): void {
    if (error !== undefined && !isSyncFailing)
      log.error(
        { code: failureOf(error).code },
        "the session file cannot be forced to the disk; what was written lately is lost if the machine stops",
      );
    isSyncFailing = error !== undefined;
  }

  async function flush(): Promise<void> {
    const batch = queued;
    if (!batch) return;
    [flying, queued] = [batch, undefined];
    const content = Buffer.concat(batch.lines);
    try {
      await write(content);
      queuedBytes -= content.length;
      noteOutcome();
      batch.settle();
    } catch (error) {
      // What came meanwhile may rest on what has failed.
      const failed = [batch, queued].filter((each) => each !== undefined);
      queued = undefined;
      queuedBytes = 0;
      for (const undo of failed.flatMap(({ undos }) => undos).reverse()) undo();
      noteOutcome(error);
      for (const each of failed) each.settle(unavailable(failureOf(error)));
    }
    flying = undefined;
    onWrite();
  }

  const syncing =
    sync === "second"
      ? setInterval(() => void syncNow().then(() => noteSync(), noteSync), SYNC_EVERY_MS).unref()
      : undefined;

  return {
    /** Bytes of all logs since the last snapshot. */
    bytes: (): number => bytes,
    /** Bytes that wait to be written. */
    queuedBytes: (): number => queuedBytes,
    /** How many writes have failed. */
    failures: (): number => failures,
    isFailing: (): boolean => isFailing,
    append(line: Buffer, undo: () => void): void {
      if (!queued) setImmediate(() => void inLane(flush));
      queued ??= createBatch();
      queued.lines.push(line);
      queued.undos.push(undo);
      queuedBytes += line.length;
    },
    /** Resolves when all that was appended is written; rejects with `store_unavailable` when it was undone. */
    settled: (): Promise<void> => (queued ?? flying)?.written ?? Promise.resolve(),
    /** Writes a line that says nothing. Rejects with `store_unavailable` when that fails. */
    tryWriting: () =>
      inLane(async () => {
        const error = await write(NOTHING_LINE).then(
          () => undefined,
          (caught: unknown) => caught,
        );
        noteOutcome(error);
        if (error !== undefined) throw unavailable(failureOf(error));
      }),
    /**
     * Begins a new log. Its number, from which on every change goes there, and the bytes of the logs before it. Writes
     * wait for no disk meanwhile.
     */
    async rotate(): Promise<{ number: number; bytesBefore: number }> {
      const next = await createLog(lastNumber + 1);
      const before = await inLane(async () => {
        if (isTorn) await cut();
        const old = { file, isUnsynced, bytes };
        ({ file, end, isUnsynced } = { ...next, isUnsynced: false });
        return old;
      }).catch(async (error: unknown) => {
        await next.file.close();
        throw error;
      });
      if (before.isUnsynced) await disk.sync(before.file).then(() => noteSync(), noteSync);
      await before.file.close();
      return { number: lastNumber, bytesBefore: before.bytes };
    },
    /** Forces to the disk what was written. */
    sync: syncNow,
    /** Bytes that belong to an older snapshot count no more. */
    forget: (count: number): void => void (bytes -= count),
    /** Writes what waits, and forces it to the disk. */
    close: async (): Promise<void> => {
      clearInterval(syncing);
      await inLane(flush);
      await inLane(async () => {
        await syncNow().catch(noteSync);
        await file.close();
      });
    },
  };
}
