import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";

import { onTestFinished } from "vitest";

import { createLog, type Log } from "../../src/log.ts";
import type { Archive } from "../../src/session-store/archive.ts";
import { openFileSessionStore, type FileSessionStoreOptions } from "../../src/session-store/file.ts";
import { stateOf } from "./file-kills.ts";

/** An empty directory that goes with the test. */
export async function newDirectory(finished: typeof onTestFinished = onTestFinished): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "file-store-"));
  finished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A store that is closed with the test. */
export async function openIn(directory: string, over: Partial<FileSessionStoreOptions> = {}) {
  const store = await openFileSessionStore({ directory, sync: "off", log: createLog("silent"), ...over });
  onTestFinished(() => store.close());
  return store;
}

/** A log that remembers. */
export function listen(): {
  log: Log;
  told: () => { level: string; message: string; file?: string; aside?: string }[];
} {
  const out = new PassThrough();
  let text = "";
  out.on("data", (chunk) => (text += String(chunk)));
  const told = () =>
    text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { level: string; message: string });
  return { log: createLog("debug", out), told };
}

/** All that a store has, as texts by key. */
export async function statesOf(archive: Archive): Promise<Record<string, string>> {
  const { entries } = await archive.read({ count: 1_000_000 });
  return Object.fromEntries(entries.map((entry) => [entry.key, stateOf(entry)]));
}

export const namesIn = async (directory: string): Promise<string[]> => (await readdir(directory)).sort();

/** The one file whose name begins so. */
export async function onlyFile(directory: string, start: string): Promise<{ path: string; bytes: Buffer }> {
  const names = (await namesIn(directory)).filter((name) => name.startsWith(start));
  if (names.length !== 1) throw new Error(`${start}: ${names.join(", ")}`);
  const path = join(directory, names[0] ?? "");
  return { path, bytes: await readFile(path) };
}
