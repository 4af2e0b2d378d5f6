import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { createLog } from "../../src/log.ts";
import type { Archive, Entry } from "../../src/session-store/archive.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import { listFiles } from "../../src/session-store/file-names.ts";
import { openFileSessionStore, type FileSessionStoreOptions } from "../../src/session-store/file.ts";

/** Fields of a hash as a text that compares. */
export const fieldsState = (fields: Iterable<readonly [string, string]>): string =>
  JSON.stringify([...fields].sort(([one], [other]) => (one < other ? -1 : 1)));

/** What a key holds, as a text that compares: fields of a hash in their order by name. */
export const stateOf = ({ value }: Entry): string =>
  typeof value === "string"
    ? value
    : fieldsState([...value].map(([name, bytes]) => [name, bytes.toString()]));

export interface KillFigures {
  kills: number;
  acknowledged: number;
  /** Kills that found a snapshot half made, and those that left a torn line. */
  inCompaction: number;
  torn: number;
  /** Kills before the store was open. */
  inOpening: number;
  /** What broke a promise, in words. */
  broken: string[];
}

type Options = Pick<FileSessionStoreOptions, "sync" | "compaction">;
type Said = { n: number; to: [string, string | null][] } | { done: number };

const WRITER = fileURLToPath(new URL("../fixtures/file-store-writer.mjs", import.meta.url));

/** What the writer says on standard error once its store is open. */
const OPEN = "the store is open\n";

/** What is known to be in the store: acknowledged states, and those that were asked for and not acknowledged. */
class Model {
  readonly states = new Map<string, string>();
  readonly asked = new Map<number, [string, string | null][]>();
  acknowledged = 0;

  take(said: Said): void {
    if ("n" in said) this.asked.set(said.n, said.to);
    if (!("done" in said)) return;
    for (const [key, state] of this.asked.get(said.done) ?? []) this.set(key, state);
    this.asked.delete(said.done);
    this.acknowledged += 1;
  }

  private set(key: string, state: string | null): void {
    if (state === null) this.states.delete(key);
    else this.states.set(key, state);
  }

  /** Compares, and takes over what became of changes that nobody heard of. */
  compare(found: ReadonlyMap<string, string>): string[] {
    const maybe = new Map([...this.asked.values()].flat());
    this.asked.clear();
    const broken: string[] = [];
    for (const key of new Set([...this.states.keys(), ...found.keys(), ...maybe.keys()])) {
      const [is, was] = [found.get(key), this.states.get(key)];
      if (is === was) continue;
      if (!maybe.has(key) || (maybe.get(key) ?? undefined) !== is)
        broken.push(`${key} is ${is === undefined ? "lost" : was === undefined ? "back" : "another"}`);
      this.set(key, is ?? null);
    }
    return broken;
  }
}

async function readAll(archive: Archive): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let cursor: string | undefined;
  do {
    const page = await archive.read({ count: 1000, cursor });
    for (const entry of page.entries) {
      if (entry.ttlMs > 3_600_000 || entry.ttlMs < 3_000_000)
        throw new Error(`${entry.key} lives ${entry.ttlMs} ms`);
      found.set(entry.key, stateOf(entry));
    }
    cursor = page.cursor;
  } while (cursor !== undefined);
  await archive.close();
  return found;
}

/** The last line may be half of one. */
function readSaid(line: string): Said | undefined {
  try {
    return JSON.parse(line) as Said;
  } catch {
    return undefined;
  }
}

/** Runs the writer and kills it some time after it was started, or after it has opened its store. */
async function runAndKill(
  directory: string,
  options: Options,
  model: Model,
  when: { after: "start" | "open"; ms: number },
): Promise<{ opened: boolean; stderr: string }> {
  // What it says goes to a file, which takes all and does not end with it.
  const path = `${directory}.said`;
  const said = await open(path, "w");
  const args = ["--import", "tsx", WRITER, directory, JSON.stringify(options)];
  const child = spawn(process.execPath, args, { stdio: ["pipe", said.fd, "pipe"] });
  const closed = once(child, "close");
  let stderr = "";
  const opening = new Promise<void>((resolve) => {
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      if (stderr.includes(OPEN)) resolve();
    });
  });
  if (when.after === "open") await Promise.race([opening, closed]);
  await wait(when.ms);
  child.kill("SIGKILL");
  await closed;
  await said.close();
  if (child.signalCode !== "SIGKILL") stderr += `ended by itself with ${child.exitCode}`;
  for (const line of (await readFile(path, "utf8")).split("\n")) {
    const heard = readSaid(line);
    if (heard) model.take(heard);
  }
  await rm(path);
  return { opened: stderr.includes(OPEN), stderr };
}

/**
 * Kills a process that writes, again and again, at random moments, and compares what the next one finds with what was
 * acknowledged.
 */
export async function killWriters(kills: number, options: Options): Promise<KillFigures> {
  const directory = await mkdtemp(join(tmpdir(), "file-kills-"));
  const model = new Model();
  const figures: KillFigures = { kills, acknowledged: 0, inCompaction: 0, torn: 0, inOpening: 0, broken: [] };
  const silent = createLog("silent");
  let newestLog = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    const inOpening = kill % 10 === 9;
    const when = inOpening
      ? ({ after: "start", ms: 250 + Math.random() * 150 } as const)
      : ({ after: "open", ms: Math.random() * 60 } as const);
    const { opened, stderr } = await runAndKill(directory, options, model, when);
    if (!opened) figures.inOpening += 1;
    if (/not complete|damaged|not ours|in full|by itself|Error/.test(stderr)) figures.broken.push(stderr);
    if (stderr.includes("cut short")) figures.torn += 1;
    const { log, snapshot, unfinished } = await listFiles(directory);
    const newest = log.at(-1) ?? 0;
    const isHalfMade = newest > newestLog && kill > 0 && !snapshot.includes(newest);
    if (isHalfMade || unfinished.length > 0) figures.inCompaction += 1;
    newestLog = newest;
    figures.broken.push(...model.compare(await readAll(await readFileArchive(directory, silent))));
  }
  const last = await openFileSessionStore({ directory, sync: "off", log: silent });
  figures.broken.push(...model.compare(await readAll(last.archive)));
  figures.acknowledged = model.acknowledged;
  await rm(directory, { recursive: true });
  return figures;
}
