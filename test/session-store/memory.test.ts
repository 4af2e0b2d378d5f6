import { expect, test } from "vitest";

import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import { describeSessionStore } from "./conformance.ts";
import { describeArchive } from "./conformance-archive.ts";
import { aChange } from "./backend.ts";
import { aLease, aRecord } from "./records.ts";

describeSessionStore("memory", "inside", async () => {
  const store = createMemorySessionStore();
  return { one: store, other: store };
});

describeArchive("memory", async () => {
  const store = createMemorySessionStore();
  return { archive: store.archive, store };
});

test("counts whole seconds by the clock it is given", async () => {
  let time = 0;
  const store = createMemorySessionStore({ now: () => time });
  const record = aRecord();
  await store.create(record, 2);
  time = 1999;
  expect(await store.get(record.id)).toEqual(record);
  time = 2000;
  expect(await store.get(record.id)).toBeUndefined();
});

test("refuses new entries when it is full of live ones, and takes them when others have expired", async () => {
  let time = 0;
  const store = createMemorySessionStore({ now: () => time, maxEntries: 2 });
  const kept = aRecord();
  await store.create(kept, 100);
  await store.create(aRecord(), 1);
  await expect(store.create(aRecord(), 1)).rejects.toMatchObject({ reason: "store_unavailable" });
  await expect(store.putLease(aLease(), 1)).rejects.toMatchObject({ reason: "store_unavailable" });
  await expect(store.enlist("x", "y", {}, 1)).rejects.toMatchObject({ reason: "store_unavailable" });
  await expect(store.writeJournals([aChange()], 1)).rejects.toMatchObject({ reason: "store_unavailable" });
  expect(await store.extend([kept.id], 100)).toEqual([kept]);
  time = 1000;
  expect(await store.create(aRecord(), 1)).toBe(true);
});
