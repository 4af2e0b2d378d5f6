import { stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { expect, test } from "vitest";

import { REAL_DISK, type Disk } from "../../src/session-store/file-log.ts";
import { eventually } from "../support/eventually.ts";
import { aChange, TTL } from "./backend.ts";
import { listen, namesIn, newDirectory, openIn, statesOf } from "./file-directory.ts";
import { aLease, aRecord } from "./records.ts";

const full = (): Error => Object.assign(new Error("no space left on device"), { code: "ENOSPC" });

/** A disk that takes a part of what is written and then has no room, while it is full. */
function fillableDisk(): Disk & { isFull: boolean; canTruncate: boolean } {
  const disk = {
    isFull: false,
    canTruncate: true,
    sync: REAL_DISK.sync,
    async write(file: FileHandle, bytes: Buffer, position: number) {
      if (!disk.isFull) return REAL_DISK.write(file, bytes, position);
      await REAL_DISK.write(file, bytes.subarray(0, bytes.length - 5), position);
      throw full();
    },
    async truncate(file: FileHandle, length: number) {
      if (!disk.canTruncate) throw full();
      await REAL_DISK.truncate(file, length);
    },
  };
  return disk;
}

const refused = { reason: "store_unavailable", cause: { kind: "refused", code: "ENOSPC" } };

test.each([
  ["can", true],
  ["cannot", false],
])(
  "refuses what a full disk does not take, undoes it, and recovers: the part written %s be cut off",
  async (_, canTruncate) => {
    const directory = await newDirectory();
    const disk = fillableDisk();
    const { log, told } = listen();
    const store = await openIn(directory, { disk, log });
    const [kept, removed, fresh, lease] = [aRecord(), aRecord(), aRecord(), aLease()];
    const journal = aChange({ a: "1", b: "2" });
    await store.create(kept, TTL);
    await store.create(removed, TTL);
    await store.putLease(lease, TTL);
    await store.writeJournals([journal], TTL);
    await store.seat("caller", "session", "owner", TTL);
    await store.enlist("client", "session", 1, TTL);
    const before = await statesOf(store.archive);

    Object.assign(disk, { isFull: true, canTruncate });
    await expect(store.ready()).resolves.toBeUndefined();
    const verbs = (): Promise<unknown>[] => [
      store.create(fresh, TTL),
      store.replace(kept, { ...kept, epoch: 1 }, TTL),
      store.replace({ ...kept, epoch: 1 }, { ...kept, epoch: 2 }, TTL),
      store.remove([removed.id]),
      store.removeLease(lease.id),
      store.writeJournals([{ ...journal, put: new Map([["a", Buffer.from("9")]]), drop: ["b"] }], TTL),
      store.writeJournals([{ ...journal, put: new Map(), drop: ["a"] }], TTL),
      store.seat("caller", "other", "owner", TTL),
      store.unseat("caller", ["session", "other"]),
      store.seat("caller", "anew", "owner", TTL),
      store.removeJournal(journal.id, 0),
      store.extend([kept.id], 1),
      store.get(fresh.id),
    ];
    for (const verb of verbs()) await expect(verb).rejects.toMatchObject(refused);
    await expect(store.create(fresh, TTL)).rejects.toMatchObject(refused);
    expect(await statesOf(store.archive)).toEqual(before);
    expect((await store.archive.readKeys([`session:${kept.id}`]))[0]?.ttlMs).toBeGreaterThan(1000);
    await expect(store.ready()).rejects.toMatchObject(refused);

    Object.assign(disk, { isFull: false, canTruncate: true });
    await store.ready();
    expect(await store.create(fresh, TTL)).toBe(true);
    const after = await statesOf(store.archive);
    expect(Object.keys(after)).toHaveLength(Object.keys(before).length + 1);
    await store.close();
    expect(told().map(({ message }) => message)).toEqual([
      "the session file cannot be written; what needs it is refused",
      "the session file can be written again",
    ]);

    const again = listen();
    const reopened = await openIn(directory, { log: again.log });
    delete after[`instance:${lease.id}`];
    expect(await statesOf(reopened.archive)).toEqual(after);
    expect(again.told()).toEqual([]);
  },
);

test("undoes what came while a write was failing, since it may rest on what failed", async () => {
  let fail: () => void = () => undefined;
  const disk: Disk = { ...REAL_DISK };
  const store = await openIn(await newDirectory(), { disk });
  const record = aRecord();
  const writing = new Promise<void>((begun) => {
    disk.write = () => new Promise((_, reject) => (begun(), (fail = () => reject(full()))));
  });
  const first = expect(store.create(record, TTL)).rejects.toMatchObject(refused);
  await writing;
  const second = expect(store.replace(record, { ...record, epoch: 1 }, TTL)).rejects.toMatchObject(refused);
  fail();
  await Promise.all([first, second]);
  Object.assign(disk, REAL_DISK);
  expect(await store.get(record.id)).toBeUndefined();
  expect(await store.create(record, TTL)).toBe(true);
});

test("does not acknowledge what cannot be forced to the disk, with sync always", async () => {
  const directory = await newDirectory();
  const disk: Disk = { ...REAL_DISK, sync: () => Promise.reject(full()) };
  const store = await openIn(directory, { disk, sync: "always" });
  const record = aRecord();
  await expect(store.create(record, TTL)).rejects.toMatchObject(refused);
  expect(await store.get(record.id)).toBeUndefined();
  Object.assign(disk, REAL_DISK);
  await store.close();
  expect(await (await openIn(directory)).get(record.id)).toBeUndefined();
});

test("never takes what was undone into a snapshot", async () => {
  const directory = await newDirectory();
  const disk = fillableDisk();
  const store = await openIn(directory, { disk, compaction: { factor: 0, minBytes: 1 } });
  const pad = "x".repeat(2000);
  const kept = Array.from({ length: 300 }, () => aRecord({ initialize: pad }));
  for (let round = 0; round < 20; round += 1) {
    const part = kept.slice(round * 15, round * 15 + 15);
    await Promise.all(part.map((record) => store.create(record, TTL)));
    disk.isFull = true;
    await expect(store.create(aRecord(), TTL)).rejects.toMatchObject(refused);
    disk.isFull = false;
  }
  const states = await statesOf(store.archive);
  expect(Object.keys(states)).toHaveLength(300);
  await store.close();
  expect(await statesOf((await openIn(directory)).archive)).toEqual(states);
});

test("compacts again once it could not", async () => {
  const directory = await newDirectory();
  const disk = fillableDisk();
  const { log, told } = listen();
  const store = await openIn(directory, { disk, log, compaction: { factor: 0, minBytes: 1000 } });
  const truncate = disk.truncate;
  // A failed write in the midst of it is what stops a compaction.
  const failing = async (): Promise<void> => {
    disk.isFull = true;
    await store.create(aRecord(), TTL).catch(() => undefined);
    disk.isFull = false;
  };
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(Array.from({ length: 5 }, () => store.create(aRecord(), TTL)));
    if (round < 10) await failing();
  }
  expect(truncate).toBe(disk.truncate);
  let records = 150;
  await eventually(async () => {
    // It is tried again when the log has grown, and the last that failed may have ended after all these writes.
    records += Number(await store.create(aRecord(), TTL));
    expect((await namesIn(directory)).filter((name) => /^(log|snapshot)\./.test(name))).toHaveLength(2);
  });
  expect(told().every(({ level }) => level !== "fatal")).toBe(true);
  expect(Object.keys(await statesOf(store.archive))).toHaveLength(records);
});

test("counts what is written while an older log is forced to the disk as the new log's", async () => {
  const directory = await newDirectory();
  const disk: Disk = { ...REAL_DISK };
  const store = await openIn(directory, { disk, compaction: { factor: 0, minBytes: 10_000 } });
  const record = aRecord({ initialize: "x".repeat(1000) });
  const rewrite = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += 1) await store.replace(record, record, TTL);
  };
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const forcing = new Promise<void>((begun) => {
    disk.sync = async (file) => {
      begun();
      await gate;
      return REAL_DISK.sync(file);
    };
  });
  await store.create(record, TTL);
  await Promise.all([forcing, rewrite(20)]);
  await rewrite(20);
  go();
  // A snapshot of one record, and a log that has not outgrown its limit: the 20 KB of the meantime are gone.
  await eventually(async () => {
    const sizes = (await namesIn(directory)).map(async (name) => (await stat(join(directory, name))).size);
    expect((await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)).toBeLessThan(15_000);
  });
});
