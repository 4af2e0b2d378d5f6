import { randomUUID } from "node:crypto";

import { describe, expect, test, vi } from "vitest";

import { eventually } from "../support/eventually.ts";
import { aChange, rejectsUnavailable } from "./backend.ts";
import { away, Stage } from "./mirrored.ts";
import { aLease, aRecord } from "./records.ts";

const TTL = 600;
const never = (): Promise<void> => new Promise(() => undefined);
const ours = (keys: string[]): string[] => keys.filter((key) => !/^mirror-mark/.test(key));

describe("the mirror", () => {
  test("has what the primary has, after every kind of write", async () => {
    const stage = new Stage();
    const store = stage.open();
    const [kept, gone, dropped] = [aRecord(), aRecord(), aRecord()];
    const [lease, ended] = [aLease(), aLease()];
    const next = { ...kept, epoch: 1 };
    const [journal, over] = [aChange({ a: "1", b: "2" }), aChange()];
    for (const record of [kept, gone, dropped]) await store.create(record, TTL);
    await store.replace(kept, next, TTL);
    await store.removeIf(gone);
    await store.remove([dropped.id]);
    for (const each of [lease, ended]) await store.putLease(each, TTL);
    await store.removeLease(ended.id);
    await store.enlist("client", kept.id, { a: 1 }, TTL);
    await store.enlist("client", gone.id, { a: 2 }, TTL);
    await store.delist("client", gone.id);
    await store.seat("caller", kept.id, "owner", TTL);
    await store.seat("caller", gone.id, "owner", TTL);
    await store.unseat("caller", [gone.id]);
    await store.writeJournals([journal, over], TTL);
    await store.writeJournals([{ ...journal, put: new Map(), drop: ["a"] }], TTL);
    await store.removeJournal(over.id, 0);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    expect(ours(await stage.other.keys())).toEqual(await stage.one.keys());
    const mirror = stage.other.bare;
    expect(await mirror.get(kept.id)).toEqual(next);
    expect(await mirror.getLease(lease.id)).toEqual(lease);
    expect(await mirror.trace("client")).toEqual({ sessions: [kept.id], initialize: { a: 2 } });
    expect(await mirror.seatsOf("caller")).toEqual(new Map([[kept.id, "owner"]]));
    expect(await mirror.readJournal(journal.id, 0)).toEqual(new Map([["b", Buffer.from("2")]]));
  });

  test("is written to in the order in which the primary was, key by key", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.other.trouble = async () => new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
    const record = aRecord();
    await store.create(record, TTL);
    for (let rev = 1; rev <= 30; rev += 1) {
      const was = rev === 1 ? record : { ...record, rev: rev - 1 };
      await store.replace(was, { ...record, rev }, TTL);
      await store.writeJournals([aChange({ last: `${rev}` }, { id: record.id })], TTL);
    }
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    expect((await stage.other.bare.get(record.id))?.rev).toBe(30);
    expect(String((await stage.other.bare.readJournal(record.id, 0)).get("last"))).toBe("30");
    // Each by the one command that it needs when nothing is missing.
    expect(stage.other.calls.filter((verb) => verb === "replace")).toHaveLength(30);
    expect(stage.other.calls).not.toContain("get");
  });

  test("costs one command for each record that is extended", async () => {
    const stage = new Stage();
    const store = stage.open();
    const records = Array.from({ length: 50 }, () => aRecord());
    for (const record of records) await store.create(record, TTL);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    stage.other.calls.length = 0;
    await store.extend(
      records.map(({ id }) => id),
      TTL * 2,
    );
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    expect(stage.other.calls).toEqual(["extend"]);
  });

  test("is given a record that it lacks when that is extended", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord({ rev: 2 });
    await stage.one.bare.create(record, TTL);
    await store.extend([record.id], TTL);
    await eventually(async () => expect(await stage.other.bare.get(record.id)).toEqual(record));
  });

  test("never has a newer record overwritten by a write that comes late", async () => {
    const stage = new Stage();
    const [late, quick] = [stage.open(), stage.open({ instanceId: "other" })];
    const record = aRecord();
    await late.create(record, TTL);
    await eventually(() => expect(late.mirrorState().queued).toBe(0));
    stage.other.trouble = away;
    const mine = { ...record, rev: 1 };
    await late.replace(record, mine, TTL);
    await stage.pass(1, late);
    stage.other.trouble = () => undefined;
    const theirs = { ...record, owner: "other", epoch: 1 };
    await quick.replace(mine, theirs, TTL);
    await eventually(async () => expect(await stage.other.bare.get(record.id)).toEqual(theirs));
    await stage.pass(1, late);
    await eventually(() => expect(late.mirrorState().queued).toBe(0));
    expect(await stage.other.bare.get(record.id)).toEqual(theirs);
  });

  test("is waited for by nobody, and told of as behind, when it never answers", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.other.trouble = (verb) => (verb === "readKeys" ? undefined : never());
    const records = Array.from({ length: 40 }, () => aRecord());
    for (const record of records) expect(await store.create(record, TTL)).toBe(true);
    expect(await store.get(records[0]?.id ?? "")).toEqual(records[0]);
    stage.time += 7000;
    expect(store.mirrorState()).toMatchObject({ queued: 40, lagSeconds: 7, isReading: false });
  });

  test("gets what waited when it is back after it was away", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.other.trouble = away;
    const records = Array.from({ length: 100 }, () => aRecord());
    for (const record of records) await store.create(record, TTL);
    await stage.pass(3, store);
    expect(store.mirrorState()).toMatchObject({ queued: 100, dropped: 0 });
    stage.other.trouble = () => undefined;
    await stage.pass(4, store);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    expect(ours(await stage.other.keys())).toHaveLength(100);
    expect(store.mirrorState()).toMatchObject({ state: "closed", dropped: 0 });
  });

  test("is spared while it is away", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.other.trouble = away;
    for (let at = 0; at < 300; at += 1) await store.create(aRecord(), TTL);
    await stage.pass(10, store);
    expect(stage.other.calls.length).toBeLessThan(150);
  });

  test("loses the oldest writes when too many wait, and is put right without a whole comparison", async () => {
    const stage = new Stage();
    const store = stage.open({ queueLimit: 20, syncSeconds: 0 });
    await store.get(randomUUID());
    await stage.pass(3, store);
    const gone = aRecord();
    await store.create(gone, TTL);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    stage.other.trouble = away;
    await store.remove([gone.id]);
    const records = Array.from({ length: 50 }, () => aRecord());
    for (const record of records) await store.create(record, TTL);
    expect(store.mirrorState()).toMatchObject({ queued: 20, dropped: 31 });
    stage.other.trouble = () => undefined;
    await stage.pass(20, store);
    expect(await stage.other.keys()).toEqual(await stage.one.keys());
  });

  test("is no concern of a caller: what it refuses is left out and told as dropped", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.other.trouble = (verb) => {
      if (verb === "create") throw new Error("a bug of the mirror's driver");
    };
    expect(await store.create(aRecord(), TTL)).toBe(true);
  });
});

describe("reads", () => {
  test("come from the mirror while the primary is down, and writes reject", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord();
    const lease = aLease();
    const journal = aChange();
    await store.create(record, TTL);
    await store.putLease(lease, TTL);
    await store.enlist("client", record.id, {}, TTL);
    await store.seat("caller", record.id, "owner", TTL);
    await store.writeJournals([journal], TTL);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    stage.one.trouble = away;
    for (let round = 0; round < 10; round += 1) {
      expect(await store.get(record.id)).toEqual(record);
      expect(await store.getLease(lease.id)).toEqual(lease);
      expect((await store.trace("client"))?.sessions).toEqual([record.id]);
      expect((await store.seatsOf("caller")).size).toBe(1);
      expect((await store.readJournal(journal.id, 0)).size).toBe(1);
      await rejectsUnavailable(store.replace(record, { ...record, rev: 1 }, TTL));
      await rejectsUnavailable(store.extend([record.id], TTL));
      await rejectsUnavailable(store.putLease(lease, TTL));
    }
    expect(store.state()).toBe("open");
    expect(store.mirrorState().isReading).toBe(true);
    expect(await stage.other.bare.get(record.id)).toEqual(record);
  });

  test("never come from the mirror because the primary has nothing", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord();
    await stage.other.bare.create(record, TTL);
    expect(await store.get(record.id)).toBeUndefined();
    expect(stage.other.calls).not.toContain("get");
  });

  test("say of what neither can know that they cannot, and not that it is not there", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord();
    await store.create(record, TTL);
    await eventually(() => expect(store.mirrorState().queued).toBe(0));
    stage.one.trouble = away;
    // The mirror may lag behind.
    await expect(store.get(randomUUID())).rejects.toMatchObject({ reason: "store_unavailable" });
    await expect(store.getLease("i-late")).rejects.toMatchObject({ reason: "store_unavailable" });
    expect(await store.get(record.id)).toEqual(record);
    stage.one.empty();
    stage.one.trouble = () => undefined;
    stage.time += 5000;
    await store.ready();
    await store.putLease(aLease(), TTL);
    await expect(store.get(record.id)).rejects.toMatchObject({ reason: "store_unavailable" });
    await eventually(async () => {
      await stage.pass(1, store);
      expect(await store.get(record.id)).toEqual(record);
    });
    expect(await store.get(randomUUID())).toBeUndefined();
  });

  test("reject as the primary does while both are down", async () => {
    const stage = new Stage();
    const store = stage.open();
    stage.one.trouble = away;
    stage.other.trouble = away;
    await rejectsUnavailable(store.get(randomUUID()));
  });

  test("go to the mirror before the primary was ever reached", async () => {
    const stage = new Stage();
    const record = aRecord();
    await stage.other.bare.create(record, TTL);
    stage.one.trouble = away;
    expect(await stage.open().get(record.id)).toEqual(record);
  });
});

describe("after an outage", () => {
  test("a primary that comes back empty is given all that it lost, and both are alike", async () => {
    const stage = new Stage();
    const store = stage.open();
    const back = vi.fn();
    store.onPrimaryBack(back);
    const records = Array.from({ length: 450 }, () => aRecord());
    for (const record of records) await store.create(record, TTL);
    await store.seat("caller", "id", "owner", TTL);
    await stage.pass(5, store);
    expect(store.mirrorState().divergent).toBe(0);
    stage.one.trouble = away;
    await rejectsUnavailable(store.extend(["x"], TTL));
    stage.one.empty();
    stage.one.trouble = () => undefined;
    await stage.pass(20, store);
    expect(back).toHaveBeenCalledOnce();
    expect(store.mirrorState()).toMatchObject({ divergent: 0, isReading: false });
    expect(await stage.one.keys()).toEqual(await stage.other.keys());
    expect((await stage.one.keys()).filter((key) => key.startsWith("session:"))).toHaveLength(450);
  });

  test("a primary that was emptied between two verbs is noticed, and the mirror keeps all", async () => {
    const stage = new Stage();
    const store = stage.open({ syncSeconds: 10 });
    for (let at = 0; at < 30; at += 1) await store.create(aRecord(), TTL);
    await stage.pass(5, store);
    stage.one.empty();
    await stage.pass(30, store);
    expect((await stage.one.keys()).filter((key) => key.startsWith("session:"))).toHaveLength(30);
    expect(store.mirrorState().divergent).toBe(0);
  });

  test("a primary that is emptied while the two are compared takes nothing with it", async () => {
    const stage = new Stage();
    const store = stage.open({ syncSeconds: 10 });
    for (let at = 0; at < 30; at += 1) await store.create(aRecord(), TTL);
    await stage.pass(5, store);
    let pages = 0;
    stage.one.trouble = (verb) => {
      // It had all it should have when the comparison began.
      if (verb === "read" && (pages += 1) === 1) stage.one.empty();
    };
    await stage.pass(60, store);
    expect(pages).toBeGreaterThan(0);
    expect((await stage.other.keys()).filter((key) => key.startsWith("session:"))).toHaveLength(30);
    expect((await stage.one.keys()).filter((key) => key.startsWith("session:"))).toHaveLength(30);
  });

  test("an older copy in the primary gives way to the newer one of the mirror", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord({ epoch: 3 });
    await stage.one.bare.create(record, TTL);
    await stage.other.bare.create({ ...record, epoch: 4 }, TTL);
    await store.get(record.id);
    await stage.pass(10, store);
    expect((await stage.one.bare.get(record.id))?.epoch).toBe(4);
    expect(store.mirrorState().divergent).toBe(0);
  });

  test("a session whose removal was given up for a full queue does not come back", async () => {
    const stage = new Stage();
    const store = stage.open({ queueLimit: 1 });
    const [gone, kept] = [aRecord(), aRecord()];
    await store.create(gone, TTL);
    await stage.pass(5, store);
    stage.other.trouble = away;
    await store.remove([gone.id]);
    await store.create(kept, TTL);
    stage.one.trouble = away;
    await rejectsUnavailable(store.extend(["x"], TTL));
    stage.one.empty();
    stage.one.trouble = stage.other.trouble = () => undefined;
    await stage.pass(20, store);
    expect(await stage.one.bare.get(gone.id)).toBeUndefined();
    expect(await stage.other.bare.get(gone.id)).toBeUndefined();
    expect(await stage.one.bare.get(kept.id)).toEqual(kept);
  });

  test("expiries are what was left of them", async () => {
    const stage = new Stage();
    const store = stage.open();
    const record = aRecord();
    await store.create(record, 100);
    await stage.pass(5, store);
    await stage.pass(45, store);
    stage.one.trouble = away;
    await rejectsUnavailable(store.extend(["x"], TTL));
    stage.one.empty();
    stage.one.trouble = () => undefined;
    await stage.pass(5, store);
    const [entry] = await stage.one.bare.archive.readKeys([`session:${record.id}`]);
    expect(entry?.ttlMs).toBe(45_000);
  });
});

describe("a comparison", () => {
  test("fills a mirror that is new, and tells how many keys differed", async () => {
    const stage = new Stage();
    for (let at = 0; at < 30; at += 1) await stage.one.bare.create(aRecord(), TTL);
    await stage.one.bare.writeJournals([aChange()], TTL);
    const store = stage.open({ syncSeconds: 0 });
    await store.get(randomUUID());
    await stage.pass(1, store);
    expect(store.mirrorState().divergent).toBe(31);
    await stage.pass(5, store);
    expect(store.mirrorState().divergent).toBe(0);
    expect(await stage.other.keys()).toEqual(await stage.one.keys());
  });

  test("removes from the mirror what the primary has no more", async () => {
    const stage = new Stage();
    const store = stage.open({ syncSeconds: 10 });
    const stale = aRecord();
    await store.get(stale.id);
    await stage.pass(5, store);
    await stage.other.bare.create(stale, TTL);
    await stage.pass(30, store);
    expect(await stage.other.bare.get(stale.id)).toBeUndefined();
    expect(store.mirrorState().divergent).toBe(0);
  });

  test("lets the primary's hashes count", async () => {
    const stage = new Stage();
    const store = stage.open();
    await stage.one.bare.seat("caller", "a", "owner", TTL);
    await stage.other.bare.seat("caller", "b", "owner", TTL);
    await store.get("x");
    await stage.pass(10, store);
    expect(await stage.other.bare.seatsOf("caller")).toEqual(new Map([["a", "owner"]]));
  });

  test("is made by one of several instances, and all know its figure", async () => {
    const stage = new Stage();
    const [one, other] = [stage.open(), stage.open({ instanceId: "other" })];
    await one.get("x");
    await other.get("x");
    await stage.pass(4, one);
    const before = stage.one.calls.length;
    await stage.pass(4, other);
    expect(other.mirrorState().divergent).toBe(0);
    expect(stage.one.calls.length).toBe(before);
  });

  test("rests while the primary is down", async () => {
    const stage = new Stage();
    const store = stage.open({ syncSeconds: 10 });
    await store.get("x");
    await stage.pass(5, store);
    stage.one.trouble = away;
    await rejectsUnavailable(store.extend(["x"], TTL));
    const reads = vi.fn();
    stage.other.trouble = (verb) => void (verb === "read" && reads());
    await stage.pass(60, store);
    expect(reads).not.toHaveBeenCalled();
  });
});
