import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { eventually } from "../support/eventually.ts";
import { TTL } from "./backend.ts";
import type { Open, OpenOutside } from "./conformance-traces.ts";
import { aLease, aRecord } from "./records.ts";

const seatAll = (count: number): string[] => Array.from({ length: count }, () => randomUUID());

/** What a session store promises of callers' seats, of what stood before a lease, and of a record's version. */
export function describeSeats(open: Open, openOutside: OpenOutside, isOutside: boolean): void {
  test("knows of no seats of a caller that never came, and takes some away without a word", async () => {
    const { one } = await open();
    const caller = randomUUID();
    await one.unseat(caller, [randomUUID()]);
    await one.unseat(caller, []);
    expect(await one.seatsOf(caller)).toEqual(new Map());
  });

  test("counts exactly when a hundred are seated at the same time", async () => {
    const { one, other } = await open();
    const caller = randomUUID();
    const ids = seatAll(100);
    const counts = await Promise.all(
      ids.map((id, at) => (at % 2 ? one : other).seat(caller, id, `owner ${at}`, TTL)),
    );
    expect(counts.toSorted((a, b) => a - b)).toEqual(ids.map((_, at) => at + 1));
    expect(await one.seatsOf(caller)).toEqual(new Map(ids.map((id, at) => [id, `owner ${at}`])));
  });

  test("counts a session that is seated again once, under its later owner", async () => {
    const { one, other } = await open();
    const [caller, id] = [randomUUID(), randomUUID()];
    expect(await one.seat(caller, id, "before", TTL)).toBe(1);
    expect(await other.seat(caller, id, "after", TTL)).toBe(1);
    expect(await one.seat(caller, randomUUID(), "x", TTL)).toBe(2);
    expect((await one.seatsOf(caller)).get(id)).toBe("after");
  });

  test("takes many seats away at once, whether or not they are there, and counts the rest", async () => {
    const { one, other } = await open();
    const caller = randomUUID();
    const ids = seatAll(20);
    const [kept = "", ...gone] = ids;
    await Promise.all(ids.map((id) => one.seat(caller, id, "x", TTL)));
    await other.unseat(caller, [...gone, randomUUID()]);
    await other.unseat(caller, gone);
    expect(await one.seatsOf(caller)).toEqual(new Map([[kept, "x"]]));
    expect(await one.seat(caller, gone[0] ?? "", "x", TTL)).toBe(2);
    await one.unseat(caller, ids);
    expect(await one.seatsOf(caller)).toEqual(new Map());
  });

  test("leaves other callers, and what else has a caller's name, untouched", async () => {
    const { one } = await open();
    const [mine, theirs, id] = [randomUUID(), randomUUID(), randomUUID()];
    await one.seat(mine, id, "x", TTL);
    await one.seat(theirs, id, "y", TTL);
    await one.enlist(mine, id, 1, TTL);
    await one.unseat(mine, [id]);
    await one.delist(theirs, id);
    await one.remove([mine, theirs, id]);
    await one.removeLease(theirs);
    expect(await one.seatsOf(theirs)).toEqual(new Map([[id, "y"]]));
    expect(await one.seatsOf(mine)).toEqual(new Map());
    expect((await one.trace(mine))?.sessions).toEqual([id]);
  });

  test.each([["123"], ["null"], [""], ["__proto__"], ['Zoë "x" \\ 研究 😀\n\0']])(
    "keeps %j as caller, session and owner",
    async (text) => {
      const { one, other } = await open();
      const start = randomUUID();
      await one.seat(start + text, text, text, TTL);
      expect(await other.seatsOf(start + text)).toEqual(new Map([[text, text]]));
      await other.unseat(start + text, [text]);
      expect((await one.seatsOf(start + text)).size).toBe(0);
    },
  );

  test.concurrent("lets seats vanish when their seconds are over, unless another session was seated", async (context) => {
    const { one, other } = await open("mcp:", context.onTestFinished);
    const [left, kept] = [randomUUID(), randomUUID()];
    await one.seat(left, "a", "x", 1);
    await one.seat(kept, "a", "x", 1);
    expect(await other.seat(kept, "b", "x", TTL)).toBe(2);
    await eventually(async () => expect((await one.seatsOf(left)).size).toBe(0));
    expect((await one.seatsOf(kept)).size).toBe(2);
    expect(await one.seat(left, "b", "x", TTL)).toBe(1);
  });

  test("tells the lease that stood there before", async () => {
    const { one, other } = await open();
    const first = aLease({ look: true, relay: "http://[fd12::1]:3000" });
    const second = aLease({ id: first.id, state: "draining" });
    expect(await one.putLease(first, TTL)).toBeUndefined();
    expect(await other.putLease(second, TTL)).toEqual(first);
    expect(await one.putLease(second, TTL)).toEqual(second);
    await one.removeLease(first.id);
    expect(await other.putLease(first, TTL)).toBeUndefined();
  });

  test("keeps a record's version, key and ending sign for sign, and replaces by them", async () => {
    const { one, other } = await open();
    const record = aRecord({ rev: 7, key: 'k"é', ending: true });
    await one.create(record, TTL);
    expect(await other.get(record.id)).toStrictEqual(record);
    const { ending: _, ...rest } = record;
    const next = { ...rest, rev: 8 };
    expect(await other.replace({ ...record, rev: 6 }, next, TTL)).toBe(false);
    expect(await other.replace(record, next, TTL)).toBe(true);
    expect(await one.get(record.id)).toStrictEqual(next);
  });

  test.runIf(isOutside)("keeps seats as a hash that a person can read", async () => {
    const { one, fields, secondsLeft } = await openOutside("staging:mcp:");
    const [caller, id] = [randomUUID(), randomUUID()];
    await one.seat(caller, id, "7f3a9c", TTL);
    expect(await fields(`staging:mcp:caller:${caller}`)).toEqual({ [id]: "7f3a9c" });
    expect(await secondsLeft(`staging:mcp:caller:${caller}`)).toBeGreaterThan(TTL - 10);
  });
}
