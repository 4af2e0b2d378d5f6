import { readFileSync, readlinkSync } from "node:fs";
import { lstat, lutimes, readlink, symlink, unlink } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const BEAT_MS = 2000;
/** An owner that cannot be looked at is gone when its lock was not renewed for so long. */
const STALE_MS = 10_000;
const LOOK_AGAIN_MS = 200;
/** Long enough for another who takes the same dead lock to be done with it. */
const SETTLE_MS = 50;

/** The right to write a file, until it is let go or its owner dies. */
export interface Lock {
  /** Whether it is still ours: a process that stood still for long may have lost it. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

/**
 * Takes the lock of a file: a symbolic link beside it that names its owner, for making one is a single step, even on a
 * full disk. Waits up to `waitMs` for another owner; undefined when that is still there. Rejects when no link can be made.
 */
export async function takeLock(path: string, waitMs: number): Promise<Lock | undefined> {
  const link = `${path}.lock`;
  const owner = ownerNow();
  const deadline = performance.now() + waitMs;
  while (!(await take(link, owner))) {
    if (performance.now() >= deadline) return undefined;
    await sleep(LOOK_AGAIN_MS);
  }
  const beat = setInterval(() => {
    const now = new Date();
    // A lock that is gone is found by who asks for it.
    lutimes(link, now, now).catch(() => undefined);
  }, BEAT_MS).unref();
  const isHeld = async () => (await ownerOf(link)) === owner;
  async function release(): Promise<void> {
    clearInterval(beat);
    if (await isHeld()) await unlink(link).catch(() => undefined);
  }
  return { isHeld, release };
}

async function take(link: string, owner: string): Promise<boolean> {
  if (await make(link, owner)) return true;
  const other = await ownerOf(link);
  if (other !== undefined) {
    if (await isAlive(other, link)) return false;
    await unlink(link).catch(() => undefined);
  }
  if (!(await make(link, owner))) return false;
  await sleep(SETTLE_MS);
  return (await ownerOf(link)) === owner;
}

async function make(link: string, owner: string): Promise<boolean> {
  try {
    await symlink(owner, link);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

const ownerOf = (link: string): Promise<string | undefined> => readlink(link).catch(() => undefined);

/** Where processes have the numbers that they have here; then the process's number, and when it began. */
const ownerNow = (): string => `${placeNow()}/${process.pid}/${begunAt(process.pid)}/${counter++}`;
let counter = 0;

function placeNow(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}-${readlinkSync("/proc/self/ns/pid").replace(/\D/g, "")}`;
  } catch {
    return hostname();
  }
}

/** In the kernel's ticks; 0 where that cannot be seen. */
function begunAt(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  } catch {
    return 0;
  }
}

async function isAlive(owner: string, link: string): Promise<boolean> {
  const [place, pid, begun] = owner.split("/");
  if (place === placeNow()) return isRunning(Number(pid)) && begunAt(Number(pid)) === Number(begun);
  const seen = await lstat(link).catch(() => undefined);
  return seen !== undefined && Date.now() - seen.mtimeMs < STALE_MS;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
