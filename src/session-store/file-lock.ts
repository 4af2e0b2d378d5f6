import { randomUUID } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { readFile, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import { asideName, FILE_MODE, fileName, listFiles } from "./file-names.ts";

export interface FileLock {
  /** False once another process has taken the directory, as it may when this one was frozen for long. */
  isHeld(): boolean;
  /** Safe to call twice. */
  release(): Promise<void>;
}

/** Who holds a directory. */
interface Holder {
  /** Of this lock alone. */
  token: string;
  pid: number;
  /** When the process started, in ticks since the machine did; absent where the system does not say. */
  startedAt?: string;
  /** The boot of the machine and the space of process ids: where they are ours too, the pid means what it says. */
  place: string;
  instanceId?: string;
}

/** How often a holder shows that it lives. */
const BEAT_MS = 1000;

const tried = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

/** Its state and the time it started: the third and the 22nd field; the second is a name in brackets that may hold anything. */
function lookAt(pid: number): { state?: string | undefined; startedAt?: string | undefined } {
  const stat = tried(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  const fields = stat?.split(") ").at(-1)?.split(" ");
  return { state: fields?.[0], startedAt: fields?.[19] };
}

function placeOfProcesses(): string {
  const boot = tried(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim());
  const space = tried(() => readlinkSync("/proc/self/ns/pid"));
  return `${boot ?? hostname()} ${space ?? ""}`;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: unknown }).code === "EPERM";
  }
}

function readHolder(text: string): Holder | undefined {
  const found = tried(() => JSON.parse(text) as Partial<Holder> | null);
  const isWhole = typeof found?.token === "string" && Number.isSafeInteger(found.pid);
  return isWhole && typeof found.place === "string" ? (found as Holder) : undefined;
}

/** Whether the holder lives, where it can be known at once. */
function isAlive({ pid, place, startedAt }: Holder): boolean | undefined {
  if (place !== placeOfProcesses()) return undefined;
  if (!isRunning(pid)) return false;
  const now = lookAt(pid);
  // A zombie has ended, and nobody has asked how.
  if (now.state === "Z" || now.state === "X") return false;
  return startedAt === undefined || now.startedAt === undefined ? undefined : startedAt === now.startedAt;
}

/** A lock whose holder cannot be asked after, as one in another container, is stale when nobody touches it. */
async function isBeating(path: string, watchMs: number): Promise<boolean> {
  const touchedAt = async (): Promise<number | undefined> =>
    (await stat(path).catch(() => undefined))?.mtimeMs;
  const before = await touchedAt();
  for (let waited = 0; waited < watchMs; waited += BEAT_MS / 4) {
    await wait(BEAT_MS / 4);
    const now = await touchedAt();
    if (now === undefined) return false;
    if (now !== before) return true;
  }
  return false;
}

const refusal = (holder: Holder | undefined): ConfigError =>
  new ConfigError([
    `SESSION_DIR: ${holder ? `the gateway with process id ${holder.pid}` : "another gateway"} holds this directory. Stop it first, or give this one a directory of its own. Instances that share sessions need Redis or Upstash.`,
  ]);

/** Throws a ConfigError when a lock other than `own` is held by somebody who lives. Answers the last number that is taken. */
async function refuseIfHeld(
  directory: string,
  { own, watchMs, stale }: { own?: number; watchMs: number; stale: Set<string> },
): Promise<number> {
  const { lock } = await listFiles(directory);
  for (const number of lock.filter((each) => each !== own)) {
    const path = join(directory, fileName("lock", number));
    const read = (): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);
    let text = await read();
    // Its maker may not have written into it yet.
    for (let tries = 0; text !== undefined && !readHolder(text) && tries < 5; tries += 1) {
      await wait(20);
      text = await read();
    }
    if (text === undefined || stale.has(text)) continue;
    const holder = readHolder(text);
    if ((holder && isAlive(holder)) ?? (await isBeating(path, watchMs))) throw refusal(holder);
    stale.add(text);
  }
  return lock.at(-1) ?? 0;
}

/**
 * Takes a directory for this process. The lock of one that died is taken over; of many who try, one succeeds.
 *
 * @param options.watchMs how long a lock is watched for signs of life when its process cannot be asked after.
 */
export async function takeLock(
  directory: string,
  options: { instanceId?: string | undefined; watchMs: number; log: Log },
): Promise<FileLock> {
  const { instanceId, watchMs, log } = options;
  const { startedAt } = lookAt(process.pid);
  const holder: Holder = {
    token: randomUUID(),
    pid: process.pid,
    ...(startedAt === undefined ? {} : { startedAt }),
    place: placeOfProcesses(),
    ...(instanceId === undefined ? {} : { instanceId }),
  };
  const text = `${JSON.stringify(holder)}\n`;
  const stale = new Set<string>();
  const number = await claimNumber(directory, text, { watchMs, stale });
  const path = join(directory, fileName("lock", number));
  const remove = (): Promise<void> => unlink(path).catch(() => undefined);
  try {
    // Somebody may have begun to count anew meanwhile. Of two who made a lock and then look, one at least sees the other.
    await refuseIfHeld(directory, { own: number, watchMs, stale });
  } catch (error) {
    await remove();
    throw error;
  }
  await removeOlder(directory, number);
  if (stale.size > 0) log.info("took over the session directory of a process that has ended");

  let held = true;
  async function beat(): Promise<void> {
    const found = await readFile(path, "utf8").catch(() => undefined);
    if (found === text) return utimes(path, new Date(), new Date()).catch(() => undefined);
    if (held)
      log.error(
        "the lock of the session directory is gone or another process's; this one writes to it no more",
      );
    held = false;
  }
  const beating = setInterval(() => void beat(), BEAT_MS).unref();
  let releasing: Promise<void> | undefined;
  async function release(): Promise<void> {
    clearInterval(beating);
    await beat();
    if (held) await remove();
    held = false;
  }
  return { isHeld: () => held, release: () => (releasing ??= release()) };
}

/** Only who holds a newer lock removes old ones: two who find one stale would else remove each other's. */
async function removeOlder(directory: string, number: number): Promise<void> {
  for (const old of (await listFiles(directory)).lock.filter((each) => each < number)) {
    const [name, path] = [fileName("lock", old), join(directory, fileName("lock", old))];
    const text = await readFile(path, "utf8").catch(() => "");
    const isForeign = text !== "" && !readHolder(text);
    await (
      isForeign ? rename(path, join(directory, asideName(directory, name, "foreign"))) : unlink(path)
    ).catch(() => undefined);
  }
}

/** Makes the lock after the last one. Of those who try for one number, one has it. */
async function claimNumber(
  directory: string,
  text: string,
  options: { watchMs: number; stale: Set<string> },
): Promise<number> {
  for (;;) {
    const number = (await refuseIfHeld(directory, options)) + 1;
    const path = join(directory, fileName("lock", number));
    try {
      await writeFile(path, text, { mode: FILE_MODE, flag: "wx" });
      return number;
    } catch (error) {
      if ((error as { code?: unknown }).code === "EEXIST") continue;
      // It may be there and empty, as on a full disk.
      await unlink(path).catch(() => undefined);
      throw error;
    }
  }
}
