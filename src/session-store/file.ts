import { chmod, mkdir } from "node:fs/promises";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import { createCompaction, type CompactionLimits } from "./file-compaction.ts";
import { changeLine } from "./file-format.ts";
import { loadFiles } from "./file-load.ts";
import { takeLock } from "./file-lock.ts";
import { openLogFile, REAL_DISK, type Disk, type LogFile, type Sync } from "./file-log.ts";
import { DIRECTORY_MODE } from "./file-names.ts";
import { repairFiles } from "./file-repair.ts";
import { leaseKey, type SessionStore } from "./session-store.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";
import { createTable } from "./table.ts";
import { tableArchive } from "./table-archive.ts";
import { tableVerbs } from "./table-verbs.ts";

export interface FileSessionStoreOptions {
  /** Made if it is not there. One gateway at a time may have it. */
  directory: string;
  sync: Sync;
  /** Shown in the lock, for whoever looks into it. */
  instanceId?: string | undefined;
  log: Log;
  /** A clock that never goes back, in milliseconds. */
  now?: () => number;
  /** Milliseconds since 1970: expiries are kept as instants of it. */
  utcNow?: () => number;
  /** Records, leases, traces, indexes and journals held at most; past it, whatever adds one rejects. A million by default. */
  maxEntries?: number;
  compaction?: CompactionLimits;
  /** How long a lock of a process that cannot be asked after, as in another container, is watched for signs of life. */
  lockWatchMs?: number;
  disk?: Disk;
}

/** Lines that wait for a disk that hangs; past it, verbs are refused. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
const COMPACTION: CompactionLimits = { factor: 2, minBytes: 4 * 1024 * 1024 };
const LOCK_WATCH_MS = 5000;

/** Fits what the system says into a ConfigError, so that a wrong directory reads as a wrong setting. */
function asConfigError(error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (error instanceof ConfigError || typeof code !== "string") return error;
  return new ConfigError(
    [`SESSION_DIR: the directory cannot be used (${code}). It must be one that this process may write to.`],
    { cause: new StoreFailure("refused", code) },
  );
}

/**
 * Session records in a directory, for one instance: they are held in memory, and every change is in a log before it is
 * acknowledged. Leases that are found belong to processes that ended, since this one holds the directory: they are
 * dropped. Its archive is closed with it, and it with its archive.
 *
 * Rejects with a ConfigError when another process holds the directory, a newer gateway wrote it, or it cannot be used.
 */
export async function openFileSessionStore(
  options: FileSessionStoreOptions,
): Promise<SessionStore & { readonly archive: Archive }> {
  const { directory, instanceId, log, lockWatchMs: watchMs = LOCK_WATCH_MS } = options;
  try {
    if ((await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE })) !== undefined)
      await chmod(directory, DIRECTORY_MODE);
    const lock = await takeLock(directory, { instanceId, watchMs, log });
    try {
      return await openLocked(options, lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  } catch (error) {
    throw asConfigError(error);
  }
}

async function openLocked(
  options: FileSessionStoreOptions,
  lock: Awaited<ReturnType<typeof takeLock>>,
): Promise<SessionStore & { readonly archive: Archive }> {
  const { directory, sync, log, now = () => performance.now(), utcNow = Date.now } = options;
  const { maxEntries = 1_000_000, compaction: limits = COMPACTION, disk = REAL_DISK } = options;
  const offsetMs = (): number => utcNow() - now();
  let file: LogFile | undefined;
  const table = createTable({
    now,
    maxEntries,
    onChange: (change, undo) => file?.append(changeLine(change, offsetMs()), undo),
  });
  const {
    findings,
    log: from,
    lastNumber,
    logBytes: bytes,
    snapshotBytes,
  } = await loadFiles(directory, table, offsetMs());
  const { needsRewrite } = await repairFiles(directory, findings, log);
  const opened = await openLogFile({
    directory,
    sync,
    log,
    disk,
    from,
    lastNumber,
    bytes,
    onWrite: () => compaction.consider(),
  });
  file = opened;
  const compaction = createCompaction({ directory, table, file, offsetMs, limits, snapshotBytes, log });
  for (const [key] of table.walk()) if (key.startsWith(leaseKey("", ""))) table.remove(key);
  await opened.settled().catch(() => undefined);
  if (needsRewrite) await compaction.run();
  let closing: Promise<void> | undefined;

  /** What is answered may rest on changes that are not written yet, so reading verbs wait as well. */
  async function run<T>(work: () => T): Promise<T> {
    if (closing) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    if (!lock.isHeld()) throw unavailable(new StoreFailure("unreachable", "LOCK_LOST"));
    if (opened.queuedBytes() > MAX_QUEUED_BYTES) throw unavailable(new StoreFailure("refused", "BACKLOG"));
    const result = work();
    await opened.settled();
    return result;
  }

  async function ready(): Promise<void> {
    await run(() => undefined);
    if (opened.isFailing()) await opened.tryWriting();
  }

  async function end(): Promise<void> {
    await compaction.close();
    await opened.close();
    await lock.release();
    table.clear();
  }
  const close = (): Promise<void> => (closing ??= end());

  return {
    kind: "file",
    ...tableVerbs(table, run),
    archive: tableArchive(table, run, { ready, close }),
    ready,
    close,
  };
}
