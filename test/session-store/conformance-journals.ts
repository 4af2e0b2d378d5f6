import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { eventually } from "../support/eventually.ts";
import { aChange, rejectsUnavailable, TTL } from "./backend.ts";
import type { Open, OpenOutside } from "./conformance-traces.ts";

/** Texts that a careless codec would change. */
const TEXTS = [
  '{"jsonrpc":"2.0","id":1,"result":{"text":"😀 \\"quoted\\" 研究\\n"}}',
  '{"spaces" :  [ 1.0 , 1e5 ] }\n',
  '"123"',
  "123",
  "0123",
  "12345678901234567890",
  '"null"',
  "null",
  "true",
  '""',
  "",
  "OK",
  "[]",
  "\ufeff{}",
  "\u2028\u2029\0\u007f",
];

const asTexts = (journal: Map<string, Buffer>): Record<string, string> =>
  Object.fromEntries([...journal].map(([name, bytes]) => [name, bytes.toString()]));

/** What a session store promises of sessions' journals. */
export function describeJournals(open: Open, openOutside: OpenOutside, isOutside: boolean): void {
  test("reads a journal that was never written as empty, and removes it without a word", async () => {
    const { one } = await open();
    await one.removeJournal("nobody", 0);
    expect(await one.readJournal("nobody", 0)).toEqual(new Map());
  });

  test("gives back a journal's entries byte for byte, under their names", async () => {
    const { one, other } = await open();
    const names = ["__proto__", "", "0", "constructor", "é 😀", '"', "1"];
    const put = new Map(TEXTS.map((text, at) => [names[at] ?? `r:${at}`, Buffer.from(text)]));
    const change = aChange({}, { put });
    await one.writeJournals([change], TTL);
    const read = await other.readJournal(change.id, change.epoch);
    expect(asTexts(read)).toEqual(asTexts(put));
    for (const [name, bytes] of put) expect(read.get(name)?.equals(bytes), name).toBe(true);
    for (const bytes of read.values()) expect(Buffer.isBuffer(bytes)).toBe(true);
  });

  test("gives back entries of a megabyte each, written in one change", async () => {
    const { one } = await open();
    const unit = '{"a":"é\\n😀"}';
    const texts = Array.from({ length: 3 }, (_, at) => `${at}${unit.repeat((1024 * 1024) / unit.length)}`);
    const change = aChange({ small: "1", a: texts[0] ?? "", b: texts[1] ?? "", c: texts[2] ?? "" });
    await one.writeJournals([change, aChange()], TTL);
    const read = await one.readJournal(change.id, 0);
    expect([...read.keys()].sort()).toEqual(["a", "b", "c", "small"]);
    for (const [name, bytes] of change.put) expect(read.get(name)?.equals(bytes), name).toBe(true);
  });

  test("puts and drops in one change, and leaves the other entries", async () => {
    const { one } = await open();
    const first = aChange({ a: "1", b: "2", c: "3" });
    await one.writeJournals([first], TTL);
    await one.writeJournals([aChange({ b: "20", d: "4" }, { id: first.id, drop: ["a", "unknown"] })], TTL);
    expect(asTexts(await one.readJournal(first.id, 0))).toEqual({ b: "20", c: "3", d: "4" });
  });

  test("drops an entry that one change both puts and drops", async () => {
    const { one } = await open();
    const first = aChange({ a: "1" });
    await one.writeJournals([first], TTL);
    // Large enough for more than one request, where a driver has a limit.
    const put = { a: "x".repeat(950_000), b: "3" };
    await one.writeJournals([aChange(put, { id: first.id, drop: ["a", "b"] })], TTL);
    expect(await one.readJournal(first.id, 0)).toEqual(new Map());
    await one.writeJournals([aChange({ c: put.a, ...put }, { id: first.id, drop: ["a", "b", "c"] })], TTL);
    expect(await one.readJournal(first.id, 0)).toEqual(new Map());
    await one.writeJournals([first], TTL);
    expect(asTexts(await one.readJournal(first.id, 0))).toEqual({ a: "1" });
  });

  test("shows no epoch of a session another one's entries", async () => {
    const { one, other } = await open();
    const id = randomUUID();
    await one.writeJournals([aChange({ a: "old" }, { id, epoch: 1 })], TTL);
    await other.writeJournals([aChange({ b: "new" }, { id, epoch: 11 })], TTL);
    expect(asTexts(await one.readJournal(id, 11))).toEqual({ b: "new" });
    expect(asTexts(await one.readJournal(id, 1))).toEqual({ a: "old" });
    await one.removeJournal(id, 1);
    expect(await other.readJournal(id, 1)).toEqual(new Map());
    expect(asTexts(await other.readJournal(id, 11))).toEqual({ b: "new" });
  });

  test("writes 300 journals in one batch, and nothing for an empty one", async () => {
    const { one } = await open();
    const changes = Array.from({ length: 300 }, (_, at) => aChange({ [`r:${at}`]: `${at}`, gone: "x" }));
    await one.writeJournals(changes, TTL);
    await one.writeJournals(
      changes.map(({ id }, at) => aChange({ last: `${at}` }, { id, drop: ["gone"] })),
      TTL,
    );
    const read = await Promise.all(changes.map(({ id }) => one.readJournal(id, 0)));
    expect(read.map(asTexts)).toEqual(changes.map((_, at) => ({ [`r:${at}`]: `${at}`, last: `${at}` })));
    await one.writeJournals([], TTL);
  });

  test("carries out several changes to one journal in their order", async () => {
    const { one } = await open();
    const id = randomUUID();
    await one.writeJournals(
      [
        aChange({ a: "1", b: "1" }, { id }),
        aChange({ c: "x".repeat(950_000) }, { id, drop: ["a"] }),
        aChange({ a: "3" }, { id, drop: ["b", "c"] }),
      ],
      TTL,
    );
    expect(asTexts(await one.readJournal(id, 0))).toEqual({ a: "3" });
  });

  test("hands out copies of a journal, and keeps one", async () => {
    const { one } = await open();
    const bytes = Buffer.from("kept");
    const change = aChange({}, { put: new Map([["a", bytes]]) });
    await one.writeJournals([change], TTL);
    bytes.write("lost");
    (await one.readJournal(change.id, 0)).get("a")?.write("lost");
    expect(asTexts(await one.readJournal(change.id, 0))).toEqual({ a: "kept" });
  });

  test.concurrent("lets a journal vanish when its seconds are over, unless a change restarted them", async (context) => {
    const { one } = await open("mcp:", context.onTestFinished);
    const [left, put, dropped, touched, never] = [aChange(), aChange(), aChange(), aChange(), aChange()];
    await one.writeJournals([left, put, aChange({ a: "1", b: "2" }, { id: dropped.id }), touched], 1);
    expect((await one.readJournal(left.id, 0)).size).toBe(1);
    await one.writeJournals(
      [
        aChange({ more: "1" }, { id: put.id }),
        aChange({}, { id: dropped.id, drop: ["a"] }),
        aChange({}, { id: touched.id }),
        aChange({}, { id: never.id }),
      ],
      TTL,
    );
    await eventually(async () => expect((await one.readJournal(left.id, 0)).size).toBe(0));
    expect(asTexts(await one.readJournal(put.id, 0))).toEqual({ entry: "{}", more: "1" });
    expect(asTexts(await one.readJournal(dropped.id, 0))).toEqual({ b: "2" });
    expect(asTexts(await one.readJournal(touched.id, 0))).toEqual({ entry: "{}" });
    expect((await one.readJournal(never.id, 0)).size).toBe(0);
  });

  test.runIf(isOutside)("keeps a journal as a hash with an expiry, also one of many requests", async () => {
    const { one, fields, secondsLeft } = await openOutside("staging:mcp:");
    const change = aChange({ a: '{"é":1}', b: "null" }, { epoch: 7 });
    const large = aChange({ a: "x".repeat(1e6), b: "y".repeat(1e6) });
    await one.writeJournals([change, large], TTL);
    expect(await fields(`staging:mcp:journal:${change.id}:7`)).toEqual({ a: '{"é":1}', b: "null" });
    for (const { id, epoch } of [change, large])
      expect(await secondsLeft(`staging:mcp:journal:${id}:${epoch}`)).toBeGreaterThan(TTL - 10);
  });

  test.runIf(isOutside)("rejects a batch of which one journal cannot be written", async () => {
    const { one, plant, peek } = await openOutside();
    const [good, bad] = [aChange(), aChange()];
    const key = `mcp:journal:${bad.id}:0`;
    await plant(key, "a text where a hash should be");
    await rejectsUnavailable(one.writeJournals([good, bad], TTL));
    await rejectsUnavailable(one.readJournal(bad.id, 0));
    expect(await peek(key)).toBe("a text where a hash should be");
  });
}
