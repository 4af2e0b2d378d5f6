import { existsSync } from "node:fs";
import { open, readdir, rename, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import type { FileKind } from "./file-format.ts";

export const FILE_MODE = 0o600;
export const DIRECTORY_MODE = 0o700;

/** The numbers of a directory's files by their kind, lowest first. */
export interface Listing {
  snapshot: number[];
  log: number[];
  lock: number[];
  /** Names of what was being made when a process ended. */
  unfinished: string[];
  /** Names of torn ends that were set aside, oldest first. */
  torn: string[];
}

export const fileName = (kind: FileKind | "lock", number: number): string => `${kind}.${number}`;

export async function listFiles(directory: string): Promise<Listing> {
  const listing: Listing = { snapshot: [], log: [], lock: [], unfinished: [], torn: [] };
  for (const name of await readdir(directory)) {
    const found = /^(snapshot|log|lock)\.(\d{1,15})$/.exec(name);
    if (found) listing[found[1] as FileKind | "lock"].push(Number(found[2]));
    else if (/^(snapshot|log)\.\d{1,15}\.new$/.test(name)) listing.unfinished.push(name);
    else if (/^log\.\d{1,15}\.torn-/.test(name)) listing.torn.push(name);
  }
  for (const numbers of [listing.snapshot, listing.log, listing.lock])
    numbers.sort((one, other) => one - other);
  const timeOf = (name: string): string => name.slice(name.indexOf("-"));
  listing.torn.sort((one, other) => (timeOf(one) < timeOf(other) ? -1 : 1));
  return listing;
}

/** Makes names and removals in a directory outlast a loss of power. Not every system can. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** Makes a file under a name that it has only once all of it is written and on the disk. */
export async function writeWhole(
  directory: string,
  name: string,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const unfinished = join(directory, `${name}.new`);
  const file = await open(unfinished, "w", FILE_MODE);
  try {
    try {
      await write(file);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(unfinished, join(directory, name));
  } catch (error) {
    await unlink(unfinished).catch(() => undefined);
    throw error;
  }
  await syncDirectory(directory);
}

/** A name that is free, for what is set aside: `log.7.torn-20261121T101500.123Z`. */
export function asideName(directory: string, name: string, word: "torn" | "damaged" | "foreign"): string {
  const time = new Date().toISOString().replaceAll(/[-:]/g, "");
  const free = (count: number): string => {
    const wanted = `${name}.${word}-${time}${count === 0 ? "" : `-${count}`}`;
    return existsSync(join(directory, wanted)) ? free(count + 1) : wanted;
  };
  return free(0);
}
