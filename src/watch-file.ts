import { createHash } from "node:crypto";
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "./log.ts";

/** Editors and deployments write a file in several steps; this is long enough for most to be done. */
const SETTLE_MS = 200;

/** Where changes are not told, as on a network volume that another machine writes to, they are looked for. */
const LOOK_MS = 5000;

/**
 * Calls `onChange` when what the file holds has changed, and when it is gone or there again. The directory is watched,
 * not the file, so that a file that is put in its place is seen too, also behind a link.
 */
export function watchFile(path: string, onChange: () => void, log: Log, lookMs = LOOK_MS): { close(): void } {
  let seen = digestOf(path);
  let timer: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | undefined;

  function look(): void {
    timer = undefined;
    const now = digestOf(path);
    if (now === seen) return;
    seen = now;
    onChange();
  }
  const looking = setInterval(() => void (timer ??= setTimeout(look, 0).unref()), lookMs).unref();
  function close(): void {
    clearTimeout(timer);
    clearInterval(looking);
    watcher?.close();
  }
  function giveUp(error: unknown): void {
    watcher?.close();
    log.debug({ err: error }, "changes of a file are not told: it is looked at every 5 s");
  }
  try {
    watcher = watch(dirname(path), { persistent: false }, () => {
      // Not put off by each event: somebody may write other files there all the time.
      timer ??= setTimeout(look, SETTLE_MS).unref();
    });
    watcher.on("error", giveUp);
  } catch (error) {
    giveUp(error);
  }
  return { close };
}

/** A file that is read again when it changes. */
export interface RereadFile {
  /** Reads it now. Never rejects. */
  readAgain(): Promise<void>;
  /** Nothing is read any more. Safe to call twice. */
  close(): void;
}

/** Calls `read`, which never rejects, when the file changes: once at a time, and once more after it for what comes meanwhile. */
export function rereadFile(path: string, read: () => Promise<void>, log: Log): RereadFile {
  let isClosed = false;
  let isAsked = false;
  let running: Promise<void> | undefined;

  async function readWhileAsked(): Promise<void> {
    while (isAsked && !isClosed) {
      isAsked = false;
      await read();
    }
    running = undefined;
  }
  function readAgain(): Promise<void> {
    isAsked = true;
    running ??= readWhileAsked();
    return running;
  }
  const watcher = watchFile(path, () => void readAgain(), log);
  return {
    readAgain,
    close() {
      isClosed = true;
      watcher.close();
    },
  };
}

/** Undefined while there is nothing to read. */
function digestOf(path: string): string | undefined {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch {
    return undefined;
  }
}
