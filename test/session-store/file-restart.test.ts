import { stat } from "node:fs/promises";
import { join } from "node:path";

import { expect, onTestFinished, test, vi } from "vitest";

import { REAL_DISK } from "../../src/session-store/file-log.ts";
import { sessionKey } from "../../src/session-store/session-store.ts";
import { eventually } from "../support/eventually.ts";
import { aChange, rejectsUnavailable, TTL } from "./backend.ts";
import { namesIn, newDirectory, openIn, statesOf } from "./file-directory.ts";
import { aLease, aRecord } from "./records.ts";

test("keeps records, traces, seats and journals over a restart, and drops leases, whose owners are dead", async () => {
  const directory = await newDirectory();
  const first = await openIn(directory);
  const [kept, changed, gone, lease] = [
    aRecord({ initialize: { a: "\ud800" } }),
    aRecord(),
    aRecord(),
    aLease(),
  ];
  for (const record of [kept, changed, gone]) await first.create(record, TTL);
  await first.replace(changed, { ...changed, epoch: 1 }, TTL);
  await first.remove([gone.id]);
  await first.putLease(lease, TTL);
  await first.enlist("client", kept.id, { name: "x" }, TTL);
  await first.seat("caller", kept.id, "owner", TTL);
  await first.seat("caller", gone.id, "owner", TTL);
  await first.unseat("caller", [gone.id]);
  const journal = aChange({ __proto__x: "é", "": "1", a: "2" });
  await first.writeJournals([journal], TTL);
  await first.writeJournals([{ ...journal, put: new Map(), drop: ["a"] }], TTL);
  await first.archive.write(
    [{ key: "journal:raw:0", ttlMs: 5000, value: new Map([["bytes", Buffer.from([0xff, 0, 0x0a])]]) }],
    "always",
  );
  await first.close();

  const second = await openIn(directory);
  expect(await second.get(kept.id)).toEqual(kept);
  expect(await second.get(changed.id)).toEqual({ ...changed, epoch: 1 });
  expect(await second.get(gone.id)).toBeUndefined();
  expect(await second.getLease(lease.id)).toBeUndefined();
  expect(await second.trace("client")).toEqual({ sessions: [kept.id], initialize: { name: "x" } });
  expect(await second.seatsOf("caller")).toEqual(new Map([[kept.id, "owner"]]));
  expect(await second.readJournal(journal.id, 0)).toEqual(
    new Map([
      ["__proto__x", Buffer.from("é")],
      ["", Buffer.from("1")],
    ]),
  );
  expect(await second.readJournal("raw", 0)).toEqual(new Map([["bytes", Buffer.from([0xff, 0, 0x0a])]]));
});

test("goes on with what was left of each expiry, whatever the clocks of the processes count from", async () => {
  const directory = await newDirectory();
  const [left, touched, seated] = [aRecord(), aRecord(), aRecord()];
  let now = 5_000_000;
  let utc = 1_800_000_000_000;
  const first = await openIn(directory, { now: () => now, utcNow: () => utc });
  for (const record of [left, touched, seated]) await first.create(record, 30);
  await first.seat("caller", seated.id, "owner", 90);
  now += 10_000;
  utc += 10_000;
  await first.extend([touched.id], 60);
  await first.close();
  now = 7;
  utc += 15_000;
  const second = await openIn(directory, { now: () => now, utcNow: () => utc });
  const keys = [left, touched].map(({ id }) => sessionKey("", id));
  const ttls = (await second.archive.readKeys([...keys, "caller:caller"])).map((entry) => entry?.ttlMs);
  expect(ttls).toEqual([5000, 45_000, 65_000]);
  now += 5000;
  expect(await second.get(left.id)).toBeUndefined();
  expect(await second.get(touched.id)).toEqual(touched);
  await second.close();
  utc += 45_000;
  expect(
    Object.keys(await statesOf((await openIn(directory, { now: () => now, utcNow: () => utc })).archive)),
  ).toEqual(["caller:caller"]);
});

test("begins a hash anew that had expired, also for the process that comes after", async () => {
  const directory = await newDirectory();
  let time = 0;
  const clocks = { now: () => time, utcNow: () => time + 1_800_000_000_000 };
  const first = await openIn(directory, clocks);
  await first.seat("caller", "old", "owner", 1);
  time = 1000;
  expect(await first.seat("caller", "new", "owner", 60)).toBe(1);
  await first.close();
  expect(await (await openIn(directory, clocks)).seatsOf("caller")).toEqual(new Map([["new", "owner"]]));
});

test("keeps its files from other users", async () => {
  const directory = join(await newDirectory(), "data", "sessions");
  const store = await openIn(directory, { compaction: { factor: 0, minBytes: 1 } });
  await store.create(aRecord(), TTL);
  await eventually(async () => expect(await namesIn(directory)).toContain("snapshot.2"));
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  for (const name of await namesIn(directory)) {
    const found = await stat(join(directory, name)).catch(() => undefined);
    expect((found?.mode ?? 0o600) & 0o777, name).toBe(0o600);
  }
});

test("writes all changes of a tick at once, and forces them to the disk once", async () => {
  const calls = { write: 0, sync: 0 };
  const disk = {
    ...REAL_DISK,
    write: (...given: Parameters<typeof REAL_DISK.write>) => ((calls.write += 1), REAL_DISK.write(...given)),
    sync: (...given: Parameters<typeof REAL_DISK.sync>) => ((calls.sync += 1), REAL_DISK.sync(...given)),
  };
  const store = await openIn(await newDirectory(), { sync: "always", disk });
  await Promise.all(Array.from({ length: 100 }, () => store.create(aRecord(), TTL)));
  expect(calls).toEqual({ write: 1, sync: 1 });
});

test("forces what was written to the disk once a second, and nothing when nothing was", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  let syncs = 0;
  const disk = {
    ...REAL_DISK,
    sync: (...given: Parameters<typeof REAL_DISK.sync>) => ((syncs += 1), REAL_DISK.sync(...given)),
  };
  const store = await openIn(await newDirectory(), { sync: "second", disk });
  for (const expected of [1, 2]) {
    await Promise.all([store.create(aRecord(), TTL), store.create(aRecord(), TTL)]);
    expect(syncs).toBe(expected - 1);
    await vi.advanceTimersByTimeAsync(1000);
    await vi.advanceTimersByTimeAsync(5000);
    expect(syncs).toBe(expected);
  }
});

test.each(["write", "sync"] as const)(
  "acknowledges nothing, and shows nobody what is not acknowledged, before its %s is done",
  async (step) => {
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const disk = {
      ...REAL_DISK,
      [step]: async (...given: [never, never, never]) => {
        await gate;
        return REAL_DISK[step](...given);
      },
    };
    const store = await openIn(await newDirectory(), { sync: "always", disk });
    const record = aRecord();
    const done: string[] = [];
    const verbs = [
      store.create(record, TTL).then(() => done.push("create")),
      store.get(record.id).then((found) => done.push(`get ${found?.id === record.id}`)),
      store.create(record, TTL).then((isNew) => done.push(`create again ${isNew}`)),
    ];
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(done).toEqual([]);
    go();
    await Promise.all(verbs);
    expect(done).toEqual(["create", "get true", "create again false"]);
  },
);

test("never lets its files outgrow the live data, while verbs go on", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory, { compaction: { factor: 2, minBytes: 50_000 } });
  const pad = "x".repeat(1000);
  const records = Array.from({ length: 20 }, () => aRecord({ initialize: pad }));
  for (const record of records) await store.create(record, TTL);
  for (let epoch = 1; epoch <= 100; epoch += 1) {
    await Promise.all(
      records.map(async (record) => {
        const next = { ...record, epoch };
        expect(await store.replace({ ...record, epoch: epoch - 1 }, next, TTL)).toBe(true);
      }),
    );
  }
  // 2.5 MB were written, of which 25 KB are live: a snapshot of that, and a log of at most twice as much.
  await eventually(async () => {
    const stats = await Promise.all((await namesIn(directory)).map((name) => stat(join(directory, name))));
    expect(stats.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(90_000);
  });
  await store.close();
  const again = await openIn(directory);
  for (const record of records) expect(await again.get(record.id)).toEqual({ ...record, epoch: 100 });
  expect(Object.keys(await statesOf(again.archive))).toHaveLength(20);
});

test("writes what waits when it is closed, and lets go of the directory", async () => {
  const directory = await newDirectory();
  const store = await openIn(directory, { sync: "second" });
  const record = aRecord();
  const creating = store.create(record, TTL);
  await Promise.all([store.close(), store.close()]);
  expect(await creating).toBe(true);
  expect((await namesIn(directory)).filter((name) => name.startsWith("lock"))).toEqual([]);
  expect(await (await openIn(directory)).get(record.id)).toEqual(record);
  await rejectsUnavailable(store.get(record.id));
});
