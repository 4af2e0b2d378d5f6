import { unlink } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import { changeLine, endLine, headerLine } from "./file-format.ts";
import { failureOf, type LogFile } from "./file-log.ts";
import { fileName, listFiles, syncDirectory, writeWhole } from "./file-names.ts";
import { StoreFailure } from "./store-failure.ts";
import type { Change, Slot, Table } from "./table.ts";

/** When the log is written anew: when it is larger than both. */
export interface CompactionLimits {
  /** So many times what the last snapshot has. */
  factor: number;
  minBytes: number;
}

export interface CompactionOptions {
  directory: string;
  table: Table;
  file: LogFile;
  /** What makes an instant of UTC of one of the table's clock, now. */
  offsetMs: () => number;
  limits: CompactionLimits;
  snapshotBytes: number;
  log: Log;
}

/** Bytes that are made before the verbs have their turn. */
const SLICE_BYTES = 256 * 1024;

const changeOf = (key: string, { value, expiresAt }: Slot): Change =>
  typeof value === "string"
    ? { kind: "text", key, text: value, expiresAt }
    : { kind: "hash", key, put: value, drop: [], expiresAt, isFresh: true };

/**
 * Writes the live data into a snapshot, so that older logs can go. Verbs go on meanwhile, and the snapshot may have a
 * part of what they do: all of it is in the log that was begun before, and each of its lines says what is, not what is
 * added, so that reading it over a newer state ends in the same.
 */
export function createCompaction(options: CompactionOptions) {
  const { directory, table, file, offsetMs, limits, log } = options;
  let { snapshotBytes } = options;
  let running: Promise<void> | undefined;
  let isClosed = false;
  /** After a failure it is tried again when the log has grown. */
  let notBelowBytes = 0;

  /** Rejects when a write failed meanwhile: the snapshot may have what was undone then. */
  async function checkWrites(failuresBefore: number): Promise<void> {
    await file.settled().catch(() => undefined);
    await file.sync();
    if (file.failures() !== failuresBefore) throw new StoreFailure("refused", "UNDONE");
    if (isClosed) throw new StoreFailure("unreachable", "CLOSED");
  }

  async function writeSnapshot(number: number, failuresBefore: number): Promise<number> {
    let written = 0;
    await writeWhole(directory, fileName("snapshot", number), async (snapshot) => {
      let [slice, sliceBytes, entries] = [[headerLine("snapshot")], 0, 0];
      const until = table.lastPlace();
      async function writeSlice(): Promise<void> {
        const content = Buffer.concat(slice);
        [slice, sliceBytes] = [[], 0];
        written += content.length;
        await snapshot.appendFile(content);
      }
      for (const [key, slot] of table.walk()) {
        if (slot.place > until || isClosed) break;
        const line = changeLine(changeOf(key, slot), offsetMs());
        slice.push(line);
        entries += 1;
        if ((sliceBytes += line.length) >= SLICE_BYTES) await writeSlice();
      }
      slice.push(endLine(entries));
      await writeSlice();
      await checkWrites(failuresBefore);
    });
    return written;
  }

  async function removeOlder(number: number): Promise<void> {
    const { snapshot, log: logs } = await listFiles(directory);
    for (const [kind, numbers] of [
      ["snapshot", snapshot],
      ["log", logs],
    ] as const) {
      for (const old of numbers.filter((each) => each < number))
        await unlink(join(directory, fileName(kind, old)));
    }
    await syncDirectory(directory);
  }

  async function compact(): Promise<void> {
    const failuresBefore = file.failures();
    try {
      const { number, bytesBefore } = await file.rotate();
      snapshotBytes = await writeSnapshot(number, failuresBefore);
      file.forget(bytesBefore);
      notBelowBytes = 0;
      await removeOlder(number);
    } catch (error) {
      notBelowBytes = file.bytes() + limits.minBytes;
      if (!isClosed)
        log.warn(
          { code: failureOf(error).code },
          "the session log could not be compacted; it is tried again when it has grown",
        );
    }
  }

  function start(): Promise<void> {
    running ??= compact().finally(() => {
      running = undefined;
      consider();
    });
    return running;
  }

  /** Compacts in the background when the log has outgrown the live data. */
  function consider(): void {
    const limit = Math.max(limits.minBytes, limits.factor * snapshotBytes, notBelowBytes);
    if (!isClosed && !running && file.bytes() > limit) void start();
  }

  return {
    /** Compacts now. Never rejects. */
    run: start,
    consider,
    /** Ends the one that runs without its snapshot. */
    close: async (): Promise<void> => {
      isClosed = true;
      await running;
    },
  };
}
