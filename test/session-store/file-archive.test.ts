import type * as Files from "node:fs/promises";
import { join } from "node:path";

import { expect, test, vi } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import { aChange, rejectsUnavailable, TTL } from "./backend.ts";
import { listen, namesIn, newDirectory, openIn, statesOf } from "./file-directory.ts";
import { aLease, aRecord } from "./records.ts";

/** Names of files that are gone the next time they are opened, as when a compaction took them. */
const gone = vi.hoisted(() => new Set<string>());

vi.mock("node:fs/promises", async (original) => {
  const files = await original<typeof Files>();
  const open: typeof files.open = (path, ...more) =>
    gone.delete(String(path)) ? files.open(`${String(path)}.gone`, ...more) : files.open(path, ...more);
  return { ...files, open };
});

test("reads all that was acknowledged, leases too, while a gateway serves, and changes nothing", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory);
  await store.create(aRecord(), TTL);
  await store.putLease(aLease(), TTL);
  await store.writeJournals([aChange({ a: "é" })], TTL);
  const names = await namesIn(directory);
  const { log, told } = listen();
  const archive = await readFileArchive(directory, log);
  await archive.ready();
  expect(await statesOf(archive)).toEqual(await statesOf(store.archive));
  for (const { ttlMs } of (await archive.read({ count: 10 })).entries) {
    expect(ttlMs).toBeGreaterThan(TTL * 1000 - 10_000);
    expect(ttlMs).toBeLessThanOrEqual(TTL * 1000);
  }
  expect(await namesIn(directory)).toEqual(names);
  expect(told()).toEqual([]);
  await archive.close();
  await archive.close();
  await rejectsUnavailable(archive.read({ count: 1 }));
});

test("refuses to write, in words that say what to do", async () => {
  const directory = await newDirectory();
  await openIn(directory);
  const archive = await readFileArchive(directory, createLog("silent"));
  const entry = { key: "session:x", value: "{}", ttlMs: 1000 };
  for (const verb of [
    archive.write([entry], "always"),
    archive.swap("{}", entry),
    archive.remove(["session:x"]),
  ]) {
    await expect(verb).rejects.toThrow(ConfigError);
    await expect(verb).rejects.toThrow(/Stop the gateway/);
  }
});

test("looks again when a file went between looking and reading", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory);
  await store.create(aRecord(), TTL);
  gone.add(join(directory, "log.1"));
  const archive = await readFileArchive(directory, createLog("silent"));
  expect(gone.size).toBe(0);
  expect(await statesOf(archive)).toEqual(await statesOf(store.archive));
});

test("says of a directory that is not there, or is none of ours, that it is the setting", async () => {
  const empty = readFileArchive(await newDirectory(), createLog("silent"));
  await expect(empty).rejects.toThrow(/SESSION_DIR: no gateway has kept sessions/);
  const reading = readFileArchive(join(await newDirectory(), "none"), createLog("silent"));
  await expect(reading).rejects.toThrow(ConfigError);
  await expect(reading).rejects.toThrow(/SESSION_DIR: .*ENOENT/);
});

test("reads every acknowledged record while files are compacted under its hands", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory, { compaction: { factor: 0, minBytes: 1 } });
  const { log, told } = listen();
  let isDone = false;
  const created: string[] = [];
  const writing = (async () => {
    while (!isDone) {
      const record = aRecord();
      await store.create(record, TTL);
      created.push(`session:${record.id}`);
    }
  })();
  for (let round = 0; round < 40; round += 1) {
    const known = [...created];
    const archive = await readFileArchive(directory, log);
    const found = await archive.readKeys(known);
    expect(found.filter((entry) => entry === undefined)).toEqual([]);
    await archive.close();
  }
  isDone = true;
  await writing;
  expect(created.length).toBeGreaterThan(40);
  expect(told()).toEqual([]);
});
