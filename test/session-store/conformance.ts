import { randomUUID } from "node:crypto";

import { describe, expect, onTestFinished, test } from "vitest";

import { eventually } from "../support/eventually.ts";
import { everyVerb, rejectsUnavailable, TTL, type Backend } from "./backend.ts";
import { describeJournals } from "./conformance-journals.ts";
import { describeSeats } from "./conformance-seats.ts";
import { describeTraces } from "./conformance-traces.ts";
import { aLease, aRecord } from "./records.ts";

/**
 * The promises of a session store.
 *
 * @param connect gives stores that are ready, with keys under the given prefix.
 * @param where the backend lives; one in this process has no keys to look at and cannot be unplugged.
 */
export function describeSessionStore(
  name: string,
  where: "inside" | "outside",
  connect: (prefix: string) => Promise<Backend>,
): void {
  const isOutside = where === "outside";

  async function open(prefix = "mcp:", finished: typeof onTestFinished = onTestFinished): Promise<Backend> {
    const backend = await connect(prefix);
    finished(async () => {
      await Promise.all([backend.one.close(), backend.other.close()]);
      await backend.end?.();
    });
    return backend;
  }

  async function openOutside(prefix?: string) {
    const { one, outside } = await open(prefix);
    if (!outside) throw new Error("a backend outside this process has to give `outside`");
    return { one, ...outside };
  }

  describe(`the session store: ${name}`, () => {
    test("knows nothing of an unknown id", async () => {
      const { one } = await open();
      expect(await one.get(randomUUID())).toBeUndefined();
      expect(await one.getLease(randomUUID())).toBeUndefined();
      expect(await one.extend([randomUUID()], TTL)).toEqual([undefined]);
      expect(await one.removeIf(aRecord())).toBe(false);
      expect(await one.replace(aRecord(), aRecord(), TTL)).toBe(false);
    });

    test("gives back what was created, sign for sign", async () => {
      const { one } = await open();
      const record = aRecord({
        caller: 'Zoë "the key" \\ 研究\r\n\u2028\0',
        owner: "123",
        server: "true",
        epoch: Number.MAX_SAFE_INTEGER,
        client: { userAgent: "null", address: "0123" },
        initialize: {
          clientInfo: { name: "line one\nline two", version: "1.0" },
          capabilities: {
            roots: {},
            experimental: { "10": 1, "9": [1.5, "1.5", null, true, "OK"], __proto: "x" },
          },
          lone: "\ud800",
        },
      });
      expect(await one.create(record, TTL)).toBe(true);
      expect(await one.get(record.id)).toEqual(record);
    });

    test.each([[null], ["OK"], [0], [false], [""], [[]]])("keeps an initialize of %j", async (initialize) => {
      const { one } = await open();
      const record = aRecord({ initialize });
      await one.create(record, TTL);
      expect(await one.get(record.id)).toStrictEqual(record);
    });

    test("refuses to create a record whose id is taken, and leaves it as it was", async () => {
      const { one, other } = await open();
      const record = aRecord();
      await one.create(record, TTL);
      expect(await other.create({ ...record, owner: "thief" }, TTL)).toBe(false);
      expect(await one.get(record.id)).toEqual(record);
    });

    test("lets one of many openers create an id", async () => {
      const { one, other } = await open();
      const id = randomUUID();
      const tries = Array.from({ length: 20 }, (_, at) =>
        (at % 2 ? one : other).create(aRecord({ id, owner: `${at}` }), TTL),
      );
      expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1);
    });

    test("replaces exactly what was seen, also after it went through another opener", async () => {
      const { one, other } = await open();
      const record = aRecord({ initialize: { b: 1, a: { "2": "x", "1": "y" }, text: "é\n" } });
      await one.create(record, TTL);
      const seen = await other.get(record.id);
      const claimed = { ...record, owner: "other", epoch: 1 };
      expect(seen && (await other.replace(seen, claimed, TTL))).toBe(true);
      expect(await one.get(record.id)).toEqual(claimed);
    });

    test("replaces nothing when another record is stored", async () => {
      const { one, other } = await open();
      const record = aRecord();
      await one.create(record, TTL);
      const [mine, theirs] = [
        { ...record, owner: "one", epoch: 1 },
        { ...record, owner: "other", epoch: 1 },
      ];
      const wins = await Promise.all([one.replace(record, mine, TTL), other.replace(record, theirs, TTL)]);
      expect(wins.filter(Boolean)).toHaveLength(1);
      expect(await one.get(record.id)).toEqual(wins[0] ? mine : theirs);
      expect(await one.replace(record, { ...record, epoch: 9 }, TTL)).toBe(false);
    });

    test("extends in the order asked, with gaps, and does not raise the dead", async () => {
      const { one } = await open();
      const [first, second, gone] = [aRecord(), aRecord(), aRecord()];
      await Promise.all([first, second, gone].map((record) => one.create(record, TTL)));
      await one.remove([gone.id]);
      expect(await one.extend([second.id, gone.id, first.id], TTL)).toEqual([second, undefined, first]);
      expect(await one.get(gone.id)).toBeUndefined();
      expect(await one.extend([], TTL)).toEqual([]);
    });

    test("extends a thousand records at once", async () => {
      const { one } = await open();
      const records = Array.from({ length: 1000 }, (_, at) => aRecord({ epoch: at }));
      await Promise.all(records.slice(0, 100).map((record) => one.create(record, TTL)));
      const found = await one.extend(
        records.map(({ id }) => id),
        TTL,
      );
      expect(found.slice(0, 101)).toEqual([...records.slice(0, 100), undefined]);
      expect(found).toHaveLength(1000);
    });

    test.concurrent("lets a record vanish when its seconds are over, unless it was replaced or extended", async (context) => {
      const { one, other } = await open("mcp:", context.onTestFinished);
      const [left, replaced, extended] = [aRecord(), aRecord(), aRecord()];
      await Promise.all([left, replaced, extended].map((record) => one.create(record, 1)));
      expect(await one.get(left.id)).toEqual(left);
      const next = { ...replaced, epoch: 1 };
      await one.replace(replaced, next, TTL);
      await one.extend([extended.id], TTL);
      await eventually(async () => expect(await one.get(left.id)).toBeUndefined());
      expect(await other.get(left.id)).toBeUndefined();
      expect(await one.get(replaced.id)).toEqual(next);
      expect(await one.get(extended.id)).toEqual(extended);
      expect(await one.create(left, TTL)).toBe(true);
    });

    test.concurrent("lets a lease vanish when its seconds are over, unless it was renewed", async (context) => {
      const { one, other } = await open("mcp:", context.onTestFinished);
      const [dead, alive] = [aLease(), aLease()];
      await Promise.all([one.putLease(dead, 1), one.putLease(alive, 1)]);
      await one.putLease({ ...alive, state: "draining" }, TTL);
      await eventually(async () => expect(await other.getLease(dead.id)).toBeUndefined());
      expect(await other.getLease(alive.id)).toEqual({ ...alive, state: "draining" });
    });

    test("removes a record only if exactly this one is stored", async () => {
      const { one, other } = await open();
      const record = aRecord();
      await one.create(record, TTL);
      expect(await other.removeIf({ ...record, epoch: 1 })).toBe(false);
      expect(await one.get(record.id)).toEqual(record);
      expect(await other.removeIf(record)).toBe(true);
      expect(await one.get(record.id)).toBeUndefined();
      expect(await other.removeIf(record)).toBe(false);
    });

    test("removes 1,200 records in one go, and none again", async () => {
      const { one } = await open();
      const ids = Array.from({ length: 1200 }, () => randomUUID());
      const [first = "", last = ""] = [ids[0], ids[1199]];
      const kept = aRecord();
      await Promise.all([first, last].map((id) => one.create(aRecord({ id }), TTL)));
      await one.create(kept, TTL);
      await one.remove(ids);
      expect(await one.extend([first, last, kept.id], TTL)).toEqual([undefined, undefined, kept]);
      await one.remove(ids);
      await one.remove([]);
    });

    test("keeps, shows and removes leases, beside a record of the same id", async () => {
      const { one, other } = await open();
      const lease = aLease();
      await one.putLease(lease, TTL);
      await one.create(aRecord({ id: lease.id }), TTL);
      expect(await other.getLease(lease.id)).toEqual(lease);
      await other.removeLease(lease.id);
      expect(await one.getLease(lease.id)).toBeUndefined();
      expect(await one.get(lease.id)).toBeDefined();
      await one.removeLease(lease.id);
    });

    test("takes 200 records at the same time", async () => {
      const { one, other } = await open();
      const records = Array.from({ length: 200 }, (_, at) => aRecord({ epoch: at }));
      const created = await Promise.all(
        records.map((record, at) => (at % 2 ? one : other).create(record, TTL)),
      );
      expect(created.every(Boolean)).toBe(true);
      expect(await Promise.all(records.map(({ id }) => one.get(id)))).toEqual(records);
    });

    test("hands out copies", async () => {
      const { one } = await open();
      const record = { ...aRecord(), initialize: { clientInfo: { name: "before" } } };
      const kept = structuredClone(record);
      await one.create(record, TTL);
      record.client.address = "changed";
      const got = await one.get(record.id);
      (got as { initialize: typeof record.initialize }).initialize.clientInfo.name = "changed";
      expect(await one.get(record.id)).toEqual(kept);
    });

    test.runIf(isOutside).each([["mcp:"], ["staging:mcp:"], [""]])(
      "keeps readable JSON under the prefix %j",
      async (prefix) => {
        const { one, peek } = await openOutside(prefix);
        const [record, lease] = [aRecord({ initialize: { a: 1 } }), aLease()];
        await one.create(record, TTL);
        await one.putLease(lease, TTL);
        expect(JSON.parse((await peek(`${prefix}session:${record.id}`)) ?? "")).toEqual(record);
        expect(JSON.parse((await peek(`${prefix}instance:${lease.id}`)) ?? "")).toEqual(lease);
      },
    );

    test.runIf(isOutside).each([
      ["no JSON", () => "{"],
      ["a lone word", () => "OK"],
      ["a number", () => "123"],
      ["a list", () => "[]"],
      ["another version", (id: string) => JSON.stringify({ ...aRecord({ id }), v: 2 })],
      ["another record", () => JSON.stringify(aRecord())],
      ["a missing member", (id: string) => JSON.stringify({ ...aRecord({ id }), owner: undefined })],
      ["a member of the wrong type", (id: string) => JSON.stringify({ ...aRecord({ id }), epoch: "1" })],
    ])("reads %s as absent, and leaves it alone", async (_, textFor) => {
      const { one, plant, peek } = await openOutside();
      const id = randomUUID();
      const key = `mcp:session:${id}`;
      const text = textFor(id);
      await plant(key, text);
      await plant(`mcp:instance:${id}`, text);
      expect(await one.get(id)).toBeUndefined();
      expect(await one.getLease(id)).toBeUndefined();
      expect(await one.extend([id], TTL)).toEqual([undefined]);
      expect(await one.removeIf(aRecord({ id }))).toBe(false);
      expect(await one.create(aRecord({ id }), TTL)).toBe(false);
      expect(await peek(key)).toBe(text);
    });

    test.runIf(isOutside)("rejects every verb with store_unavailable once it is unplugged", async () => {
      const { one, unplug } = await openOutside();
      await unplug();
      await Promise.all(everyVerb(one).map(([, call]) => rejectsUnavailable(call())));
    });

    describeTraces(open, openOutside, isOutside);
    describeSeats(open, openOutside, isOutside);
    describeJournals(open, openOutside, isOutside);

    test("rejects every verb with store_unavailable once it is closed, and closes twice", async () => {
      const { one } = await open();
      await one.close();
      await expect(one.close()).resolves.toBeUndefined();
      await Promise.all(everyVerb(one).map(([, call]) => rejectsUnavailable(call())));
    });
  });
}
