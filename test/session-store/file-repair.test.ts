import { copyFile, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { readFileArchive } from "../../src/session-store/file-archive.ts";
import { eventually } from "../support/eventually.ts";
import { aChange, TTL } from "./backend.ts";
import { listen, namesIn, newDirectory, onlyFile, openIn, statesOf } from "./file-directory.ts";
import { aRecord } from "./records.ts";

/** A directory whose log has a line for each of these records. */
async function withRecords(count: number) {
  const directory = await newDirectory();
  const store = await openIn(directory);
  const records = Array.from({ length: count }, (_, at) => aRecord({ initialize: { name: `é${at}` } }));
  for (const record of records) await store.create(record, TTL);
  await store.close();
  return { directory, records, ...(await onlyFile(directory, "log.")) };
}

const linesOf = (bytes: Buffer): string[] => bytes.toString("latin1").split("\n");

test("cut anywhere, a log gives all lines before, and nothing of the one that is cut", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory);
  const record = aRecord();
  const journal = aChange({ a: "1", b: "é" });
  const states = [await statesOf(store.archive)];
  const steps: (() => Promise<unknown>)[] = [
    () => store.create(record, TTL),
    () => store.replace(record, { ...record, epoch: 1 }, TTL),
    () => store.writeJournals([journal], TTL),
    () => store.seat("caller", record.id, "owner", TTL),
    () => store.writeJournals([{ ...journal, put: new Map(), drop: ["a"] }], TTL),
    () => store.unseat("caller", [record.id]),
    () => store.extend([record.id], TTL),
    () => store.remove([record.id]),
  ];
  for (const step of steps) {
    await step();
    states.push(await statesOf(store.archive));
  }
  await store.close();
  const { bytes } = await onlyFile(directory, "log.");
  const cut = await newDirectory();
  const headerEnd = bytes.indexOf("\n") + 1;
  for (let length = headerEnd; length <= bytes.length; length += 1) {
    // The ends of lines, and what is round them, are where it may go wrong; between them every few bytes will do.
    const isNearEnd = bytes.subarray(length - 2, length + 2).includes("\n");
    if (!isNearEnd && length % 11 !== 0) continue;
    await writeFile(join(cut, "log.1"), bytes.subarray(0, length));
    const archive = await readFileArchive(cut, createLog("silent"));
    const lines = bytes.subarray(headerEnd, length).toString("latin1").split("\n").length - 1;
    expect(await statesOf(archive), `cut at ${length}`).toEqual(states[lines]);
  }
});

test("cuts off a torn end, sets it aside, tells it once, and goes on", async () => {
  const { directory, records, path, bytes } = await withRecords(3);
  await truncate(path, bytes.length - 7);
  const { log, told } = listen();
  const store = await openIn(directory, { log });
  expect(Object.keys(await statesOf(store.archive))).toHaveLength(2);
  const next = aRecord();
  await store.create(next, TTL);
  await store.close();
  const torn = await onlyFile(directory, "log.1.torn-");
  expect(`${torn.bytes.toString("latin1")}`).toBe(linesOf(bytes)[3]?.slice(0, -6));
  expect((await stat(torn.path)).mode & 0o777).toBe(0o600);
  expect(told()).toMatchObject([
    { level: "warn", file: "log.1", aside: expect.stringContaining("log.1.torn-") },
  ]);
  const again = listen();
  const second = await openIn(directory, { log: again.log });
  expect(await second.get(next.id)).toEqual(next);
  expect(await second.get(records[2]?.id ?? "")).toBeUndefined();
  expect(again.told()).toEqual([]);
});

test("keeps the newest ten torn ends", async () => {
  const directory = await newDirectory();
  for (let kill = 0; kill < 12; kill += 1) {
    const store = await openIn(directory);
    await store.create(aRecord(), TTL);
    await store.close();
    const { path, bytes } = await onlyFile(directory, "log.1").catch(async () => ({
      path: join(directory, "log.1"),
      bytes: await readFile(join(directory, "log.1")),
    }));
    await writeFile(path, Buffer.concat([bytes, Buffer.from(`torn ${kill}`)]));
  }
  await (await openIn(directory)).close();
  const torn = (await namesIn(directory)).filter((name) => name.includes("torn"));
  expect(torn).toHaveLength(10);
  expect((await readFile(join(directory, torn.at(-1) ?? ""))).toString()).toBe("torn 11");
});

test("keeps all that can be read round damage in the middle, and sets the damage aside for good", async () => {
  const { directory, records, path, bytes } = await withRecords(5);
  const lines = linesOf(bytes);
  const at = bytes.indexOf(lines[2] ?? "", "latin1");
  const damaged = Buffer.from(bytes);
  damaged[at + 100] = (damaged[at + 100] ?? 0) ^ 1;
  damaged[at + (lines[2]?.length ?? 0) + 1 + 3] = 0x7a;
  await writeFile(path, damaged);
  const { log, told } = listen();
  const store = await openIn(directory, { log });
  for (const [index, record] of records.entries())
    expect(await store.get(record.id)).toEqual(index === 1 || index === 2 ? undefined : record);
  await store.close();
  const aside = await onlyFile(directory, "log.1.damaged-");
  expect(
    aside.bytes.equals(damaged.subarray(at, at + (lines[2]?.length ?? 0) + (lines[3]?.length ?? 0) + 2)),
  ).toBe(true);
  expect(told()).toMatchObject([{ level: "error", file: "log.1" }]);
  const again = listen();
  expect(Object.keys(await statesOf((await openIn(directory, { log: again.log })).archive))).toHaveLength(3);
  expect(again.told()).toEqual([]);
});

test("tells of a snapshot that is not whole, and keeps what can be read", async () => {
  const { directory, path } = await withRecords(6);
  // A damaged line is what makes it write a snapshot at once.
  await writeFile(path, `${(await readFile(path, "latin1")).replace("\n", "\nx\n")}`, "latin1");
  await (await openIn(directory)).close();
  const snapshot = await onlyFile(directory, "snapshot.");
  const lines = linesOf(snapshot.bytes);
  await writeFile(snapshot.path, `${lines.slice(0, 4).join("\n")}\n${lines[4]?.slice(0, 20)}`, "latin1");
  const { log, told } = listen();
  const store = await openIn(directory, { log });
  expect(Object.keys(await statesOf(store.archive))).toHaveLength(3);
  expect(told().map(({ level }) => level)).toContain("error");
  await store.close();
  const again = listen();
  await openIn(directory, { log: again.log });
  expect(again.told()).toEqual([]);
});

test("renames files and directories of others under its names, tells it, and never writes over them", async () => {
  const { directory, records } = await withRecords(1);
  await writeFile(join(directory, "log.4"), "a diary\nof somebody\n");
  await writeFile(join(directory, "snapshot.9"), "");
  await mkdir(join(directory, "snapshot.3"));
  await writeFile(join(directory, "notes.txt"), "not under our names");
  const { log, told } = listen();
  const store = await openIn(directory, { log, compaction: { factor: 0, minBytes: 1 } });
  expect(await store.get(records[0]?.id ?? "")).toEqual(records[0]);
  await store.create(aRecord(), TTL);
  await eventually(async () => expect((await namesIn(directory)).join()).toMatch(/snapshot\.\d+,/));
  await store.close();
  expect((await onlyFile(directory, "log.4.foreign-")).bytes.toString()).toBe("a diary\nof somebody\n");
  expect((await onlyFile(directory, "snapshot.9.foreign-")).bytes).toHaveLength(0);
  expect((await namesIn(directory)).join()).toMatch(/notes\.txt.*snapshot\.3\.foreign-/);
  expect(
    told()
      .map(({ level, file }) => `${level} ${file}`)
      .sort(),
  ).toEqual(["warn log.4", "warn snapshot.3", "warn snapshot.9"]);
  expect(Object.keys(await statesOf((await openIn(directory)).archive))).toHaveLength(2);
});

test("refuses files of a newer format, and leaves them as they are", async () => {
  const { directory, path, bytes } = await withRecords(2);
  const newer = Buffer.from(bytes.toString("latin1").replace(" 1 log", " 2 log"), "latin1");
  await writeFile(path, newer);
  const names = await namesIn(directory);
  const { log, told } = listen();
  const opening = openIn(directory, { log });
  await expect(opening).rejects.toThrow(ConfigError);
  await expect(opening).rejects.toThrow(/SESSION_DIR: .*format 2/);
  await expect(readFileArchive(directory, log)).rejects.toThrow(/format 2/);
  expect(await namesIn(directory)).toEqual(names);
  expect((await readFile(path)).equals(newer)).toBe(true);
  expect(told()).toEqual([]);
});

test("removes what a process that was killed had begun to make", async () => {
  const { directory, path, records } = await withRecords(2);
  await copyFile(path, join(directory, "snapshot.2.new"));
  await copyFile(path, join(directory, "log.2.new"));
  const store = await openIn(directory);
  expect(Object.keys(await statesOf(store.archive))).toHaveLength(records.length);
  expect((await namesIn(directory)).filter((name) => name.endsWith(".new"))).toEqual([]);
});

test("says of a directory that cannot be used that it is the setting", async () => {
  const file = join(await newDirectory(), "file");
  await writeFile(file, "");
  for (const directory of [file, join(file, "below")]) {
    await expect(openIn(directory)).rejects.toThrow(
      /^SESSION_DIR: the directory cannot be used \((EEXIST|ENOTDIR)\)/,
    );
    await expect(readFileArchive(directory, createLog("silent"))).rejects.toThrow(ConfigError);
  }
});
