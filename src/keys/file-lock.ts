import { randomBytes } from "node:crypto";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const LOOK_AGAIN_MS = 20;
/** What is locked for takes milliseconds; only an older lock is looked at for being left behind. */
const STALE_MS = 2000;

/**
 * Waits until no other process holds the lock at `path`, and resolves with what gives it back; undefined when it is
 * still held after `waitMs`. One that a process of this machine left behind when it was killed is cleared away. Rejects
 * with the system's error when there can be no such file.
 */
export async function lockFile(path: string, waitMs: number): Promise<(() => void) | undefined> {
  const mine = `${hostname()} ${process.pid} ${randomBytes(8).toString("hex")}\n`;
  const until = performance.now() + waitMs;
  for (;;) {
    if (writeNew(path, mine)) {
      return () => {
        if (readOrNothing(path) === mine) rmSync(path);
      };
    }
    clearLeftBehind(path);
    if (performance.now() > until) return undefined;
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Whether the file was not there and is now. */
function writeNew(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function clearLeftBehind(path: string): void {
  const held = readOrNothing(path);
  const [, host, pid, token] = /^(\S+) (\d+) ([0-9a-f]{16})\n$/.exec(held ?? "") ?? [];
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
  if (host !== hostname() || age < STALE_MS || isRunning(Number(pid))) return;
  // Of all that find it left behind one may clear it away, or one might take the lock that came after it.
  const right = `${path}.${token}`;
  if (!writeNew(right, "")) return;
  if (readOrNothing(path) === held) rmSync(path);
  rmSync(right);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

function readOrNothing(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
