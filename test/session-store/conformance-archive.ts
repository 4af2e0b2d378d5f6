import { randomUUID } from "node:crypto";

import { describe, expect, onTestFinished, test } from "vitest";

import type { Archive, Entry } from "../../src/session-store/archive.ts";
import {
  callerKey,
  clientKey,
  journalKey,
  leaseKey,
  sessionKey,
  type SessionStore,
} from "../../src/session-store/session-store.ts";
import { rejectsUnavailable, TTL } from "./backend.ts";
import { aLease, aRecord } from "./records.ts";

/** A store under test, as an archive and as a session store, both with keys under the same prefix. */
export interface ArchiveBackend {
  archive: Archive;
  /** Another archive over the same backend and prefix, where there may be two. */
  other?: Archive;
  store: SessionStore;
  /** Takes the backend away; only of one outside this process. */
  unplug?: () => Promise<void>;
  /** Ends whatever is neither archive nor store. */
  end?: () => Promise<void>;
}

const TTL_MS = TTL * 1000;

/** Texts that a codec on the way might take for something else. */
const TEXTS = [
  "",
  "123",
  "-0",
  "1e3",
  "9007199254740993",
  "true",
  "null",
  "OK",
  '"quoted"',
  "[1,2]",
  '{"a":1}',
  "\\",
  "a\r\nb\n",
  "\0",
  "\u2028\u2029",
  "Zoë 研究 😀 é",
  " padded ",
  "__proto__",
];

const aText = (value: string = randomUUID(), over: Partial<Entry> = {}): Entry & { value: string } => ({
  key: sessionKey("", randomUUID()),
  ttlMs: TTL_MS,
  ...over,
  value,
});

const aHash = (fields: Record<string, string>, over: Partial<Entry> = {}): Entry => ({
  key: journalKey("", randomUUID(), 0),
  ttlMs: TTL_MS,
  ...over,
  value: new Map(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text)])),
});

/** A form of an entry that compares well and fast: its fields as texts, without its expiry. */
const plain = (entry: Entry | undefined): unknown =>
  entry && [
    entry.key,
    typeof entry.value === "string"
      ? entry.value
      : new Map([...entry.value].map(([name, bytes]) => [name, bytes.toString()])),
  ];

const byKey = (entries: readonly Entry[]): Map<string, unknown> =>
  new Map(entries.map((entry) => [entry.key, plain(entry)]));

/** All that a walk meets, with `between` done after each page. */
async function walk(
  archive: Archive,
  options: { count?: number; under?: string } = {},
  between: (page: number) => Promise<unknown> = async () => undefined,
): Promise<Entry[]> {
  const met: Entry[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < 10_000; page += 1) {
    const read = await archive.read({ count: 50, ...options, cursor });
    met.push(...read.entries);
    if (read.cursor === undefined) return met;
    cursor = read.cursor;
    await between(page);
  }
  throw new Error("the walk has no end");
}

/**
 * The promises of an archive.
 *
 * @param connect gives an archive and a session store that are ready, empty under the given prefix.
 */
export function describeArchive(name: string, connect: (prefix?: string) => Promise<ArchiveBackend>): void {
  async function open(
    prefix = `t${randomUUID()}:`,
  ): Promise<Required<Pick<ArchiveBackend, "other">> & ArchiveBackend> {
    const backend = await connect(prefix);
    onTestFinished(async () => {
      await Promise.all([backend.archive.close(), backend.other?.close(), backend.store.close()]);
      await backend.end?.();
    });
    return { ...backend, other: backend.other ?? backend.archive };
  }

  describe(`the archive: ${name}`, () => {
    test("finds nothing in an empty store", async () => {
      const { archive } = await open();
      expect(await walk(archive)).toEqual([]);
      expect(await archive.readKeys([sessionKey("", "x"), clientKey("", "x")])).toEqual([
        undefined,
        undefined,
      ]);
    });

    test("takes empty input", async () => {
      const { archive } = await open();
      expect(await archive.readKeys([])).toEqual([]);
      expect(await archive.write([], "always")).toEqual([]);
      expect(await archive.write([], "absent")).toEqual([]);
      await archive.remove([]);
    });

    test("meets all that a session store wrote, of every kind, with its expiry", async () => {
      const { archive, store } = await open();
      const [record, lease] = [aRecord(), aLease()];
      await store.create(record, TTL);
      await store.putLease(lease, TTL);
      await store.enlist("client 1", record.id, { a: 1 }, TTL);
      await store.seat("Zoë", record.id, "owner", TTL);
      const put = new Map([["1", Buffer.from("{}")]]);
      await store.writeJournals([{ id: record.id, epoch: 3, put, drop: [] }], TTL);
      const met = await walk(archive);
      expect(new Set(met.map(({ key }) => key))).toEqual(
        new Set([
          sessionKey("", record.id),
          leaseKey("", lease.id),
          clientKey("", "client 1"),
          callerKey("", "Zoë"),
          journalKey("", record.id, 3),
        ]),
      );
      for (const { ttlMs } of met) {
        expect(ttlMs).toBeGreaterThan(TTL_MS - 10_000);
        expect(ttlMs).toBeLessThanOrEqual(TTL_MS);
      }
      const session = met.find(({ key }) => key === sessionKey("", record.id));
      expect(typeof session?.value === "string" && JSON.parse(session.value)).toEqual(record);
    });

    test("writes what a session store then reads as its own", async () => {
      const [from, to] = [await open(), await open()];
      const [record, lease] = [aRecord({ rev: 4, key: "k", initialize: { a: "é" } }), aLease()];
      await from.store.create(record, TTL);
      await from.store.putLease(lease, TTL);
      await from.store.enlist("client", record.id, { name: "x" }, TTL);
      await from.store.seat("caller", record.id, "owner", TTL);
      const put = new Map(TEXTS.map((text, at) => [`${at}`, Buffer.from(text)]));
      await from.store.writeJournals([{ id: record.id, epoch: 0, put, drop: [] }], TTL);
      const written = await to.archive.write(await walk(from.archive), "absent");
      expect(written).toEqual([true, true, true, true, true]);
      expect(await to.store.get(record.id)).toEqual(record);
      expect(await to.store.getLease(lease.id)).toEqual(lease);
      expect(await to.store.trace("client")).toEqual({ sessions: [record.id], initialize: { name: "x" } });
      expect(await to.store.seatsOf("caller")).toEqual(new Map([[record.id, "owner"]]));
      expect(await to.store.readJournal(record.id, 0)).toEqual(put);
      const next = { ...record, epoch: 1 };
      expect(await to.store.replace(record, next, TTL)).toBe(true);
    });

    test.each(["always", "absent"] as const)(
      "keeps texts and hashes sign for sign, written %s",
      async (when) => {
        const { archive, other } = await open();
        const fields = Object.fromEntries(
          TEXTS.map((text, at) => [text === "__proto__" ? text : `${at}${text}`, text]),
        );
        const entries = [
          ...TEXTS.map((text) => aText(text)),
          aText("kept as it is", { key: "moving" }),
          aHash(fields),
          aHash({ "": "" }),
          aHash(fields, { key: clientKey("", "a:b:é 😀") }),
          aHash({ a: "1" }, { key: callerKey("", 'Zoë "x" *?[]\\') }),
        ];
        expect(await archive.write(entries, when)).toEqual(entries.map(() => true));
        const keys = entries.map(({ key }) => key);
        expect((await other.readKeys(keys)).map(plain)).toEqual(entries.map(plain));
        expect(byKey(await walk(other))).toEqual(byKey(entries));
      },
    );

    test("answers keys in the order asked, with gaps", async () => {
      const { archive } = await open();
      const [one, two] = [aText(), aHash({ a: "1" })];
      await archive.write([one, two], "always");
      const read = await archive.readKeys([two.key, sessionKey("", "gone"), one.key, two.key]);
      expect(read.map(plain)).toEqual([plain(two), undefined, plain(one), plain(two)]);
    });

    test("keeps expiries within a second, and lets entries end by them", async () => {
      const { archive, store } = await open();
      const ttls = [2500, 61_234, 86_400_000, 30 * 86_400_000];
      const entries = ttls.flatMap((ttlMs) => [aText("x", { ttlMs }), aHash({ a: "1" }, { ttlMs })]);
      const brief = [aText("x", { ttlMs: 1 }), aHash({ a: "1" }, { ttlMs: 1 })];
      await archive.write([...entries, ...brief], "absent");
      for (const [at, read] of (await archive.readKeys(entries.map(({ key }) => key))).entries()) {
        const asked = entries[at]?.ttlMs ?? 0;
        expect(read?.ttlMs).toBeGreaterThan(asked - 1000);
        expect(read?.ttlMs).toBeLessThanOrEqual(asked);
      }
      await expect.poll(() => archive.readKeys(brief.map(({ key }) => key))).toEqual([undefined, undefined]);
      expect((await walk(archive)).length).toBe(entries.length);
      await store.ready();
    });

    test("writes where a key is free, answers where it is not, and leaves that as it was", async () => {
      const { archive, other } = await open();
      const [text, hash] = [aText("before", { ttlMs: 30_000 }), aHash({ a: "before" }, { ttlMs: 30_000 })];
      await archive.write([text, hash], "absent");
      const fresh = [aText(), aHash({ b: "1" })];
      const again = [aText("after", { key: text.key }), aHash({ b: "after" }, { key: hash.key }), ...fresh];
      expect(await other.write(again, "absent")).toEqual([false, false, true, true]);
      const [first, second] = await archive.readKeys([text.key, hash.key]);
      expect([first, second].map(plain)).toEqual([text, hash].map(plain));
      expect(first?.ttlMs).toBeLessThanOrEqual(30_000);
      expect(second?.ttlMs).toBeLessThanOrEqual(30_000);
    });

    test("replaces texts, hashes and expiries when told to; a hash is not merged", async () => {
      const { archive, other } = await open();
      const [text, hash] = [aText("before"), aHash({ a: "1", b: "2" })];
      await archive.write([text, hash], "always");
      const next = [
        aText("after", { key: text.key, ttlMs: 20_000 }),
        aHash({ b: "3" }, { key: hash.key, ttlMs: 20_000 }),
      ];
      expect(await other.write(next, "always")).toEqual([true, true]);
      const read = await archive.readKeys([text.key, hash.key]);
      expect(read.map(plain)).toEqual(next.map(plain));
      for (const entry of read) expect(entry?.ttlMs).toBeLessThanOrEqual(20_000);
    });

    test("leaves nothing where a hash without fields was written", async () => {
      const { archive } = await open();
      const hash = aHash({ a: "1" });
      await archive.write([hash], "always");
      await archive.write([aHash({}, { key: hash.key }), aHash({})], "always");
      expect(await walk(archive)).toEqual([]);
    });

    test("writes a key that stands twice in one batch in order", async () => {
      const { archive } = await open();
      for (const [one, two] of [
        [aText("1"), aText("2")],
        [aHash({ a: "1" }), aHash({ b: "2" })],
      ] as const) {
        const second = { ...two, key: one.key };
        expect(await archive.write([one, second], "absent")).toEqual([true, false]);
        expect((await archive.readKeys([one.key])).map(plain)).toEqual([plain(one)]);
        await archive.write([one, second], "always");
        expect((await archive.readKeys([one.key])).map(plain)).toEqual([plain(second)]);
      }
    });

    test("lets one of many writers have a free key", async () => {
      const { archive, other } = await open();
      for (const make of [
        (at: number) => aText(`${at}`, { key: "session:x" }),
        (at: number) => aHash({ [`f${at}`]: `${at}` }, { key: "journal:x:0" }),
      ]) {
        const tries = await Promise.all(
          Array.from({ length: 20 }, (_, at) => (at % 2 ? archive : other).write([make(at)], "absent")),
        );
        const winner = tries.findIndex(([written]) => written);
        expect(tries.flat().filter(Boolean)).toHaveLength(1);
        expect((await archive.readKeys([make(0).key])).map(plain)).toEqual([plain(make(winner))]);
      }
    });

    test("swaps a text only for exactly the one that is stored", async () => {
      const { archive, other } = await open();
      const [before, after] = [aText("before"), aText("after", { ttlMs: 20_000 })];
      const next = { ...after, key: before.key };
      expect(await archive.swap("before", next)).toBe(false);
      expect(await archive.readKeys([before.key])).toEqual([undefined]);
      await archive.write([before], "always");
      expect(await other.swap("befor", next)).toBe(false);
      expect((await archive.readKeys([before.key])).map(plain)).toEqual([plain(before)]);
      expect(await other.swap("before", next)).toBe(true);
      const [read] = await archive.readKeys([before.key]);
      expect(plain(read)).toEqual(plain(next));
      expect(read?.ttlMs).toBeLessThanOrEqual(20_000);
      const wins = await Promise.all(
        Array.from({ length: 10 }, (_, at) =>
          (at % 2 ? archive : other).swap("after", aText(`${at}`, { key: before.key })),
        ),
      );
      expect(wins.filter(Boolean)).toHaveLength(1);
    });

    test("swaps texts that look like numbers or are empty", async () => {
      const { archive } = await open();
      const entry = aText("");
      await archive.write([entry], "always");
      for (const [at, text] of TEXTS.slice(1).entries()) {
        expect(await archive.swap(TEXTS[at] ?? "", { ...entry, value: text })).toBe(true);
      }
      expect((await archive.readKeys([entry.key]))[0]?.value).toBe(TEXTS.at(-1));
    });

    test("removes texts and hashes, whether or not they are there", async () => {
      const { archive, other } = await open();
      const [text, hash, kept] = [aText(), aHash({ a: "1" }), aText()];
      await archive.write([text, hash, kept], "always");
      await other.remove([text.key, hash.key, sessionKey("", "gone")]);
      expect(byKey(await walk(archive))).toEqual(byKey([kept]));
      await archive.remove([text.key]);
    });

    test("walks under one kind", async () => {
      const { archive } = await open();
      const [session, journal] = [aText(), aHash({ a: "1" })];
      const caller = aHash({ a: "1" }, { key: callerKey("", "x") });
      await archive.write([session, journal, caller], "always");
      for (const [under, expected] of [
        ["session:", [session]],
        ["journal:", [journal]],
        ["", [session, journal, caller]],
        ["instance:", []],
        ["*", []],
      ] as const) {
        expect(byKey(await walk(archive, { under })), under).toEqual(byKey(expected));
      }
    });

    test("meets every entry that lives through the walk, while others come and go", async () => {
      const { archive, other } = await open();
      const kept = Array.from({ length: 600 }, (_, at) => (at % 3 ? aText() : aHash({ at: `${at}` })));
      const going = Array.from({ length: 400 }, () => aText());
      await archive.write([...kept, ...going], "always");
      const met = await walk(archive, { count: 40 }, async (page) => {
        await other.remove(going.slice(page * 20, page * 20 + 20).map(({ key }) => key));
        await other.write([aText(), aHash({ a: "1" })], "always");
      });
      const found = byKey(met);
      for (const entry of kept) expect(found.get(entry.key)).toEqual(plain(entry));
      expect(met.every(({ ttlMs }) => ttlMs > 0)).toBe(true);
    });

    test("gives pages of about the size asked, not all at once", async () => {
      const { archive } = await open();
      await archive.write(
        Array.from({ length: 500 }, () => aText()),
        "always",
      );
      const { entries, cursor } = await archive.read({ count: 50, under: "session:" });
      expect(entries.length).toBeLessThan(200);
      expect(cursor).toBeDefined();
    });

    test("writes, reads and removes 3,000 entries in one batch", async () => {
      const { archive } = await open();
      const entries = Array.from({ length: 3000 }, (_, at) =>
        at % 2 ? aText(`${at}`) : aHash({ at: `${at}` }),
      );
      const keys = entries.map(({ key }) => key);
      expect((await archive.write(entries, "absent")).every(Boolean)).toBe(true);
      expect((await archive.readKeys(keys)).map(plain)).toEqual(entries.map(plain));
      await archive.remove(keys);
      expect((await archive.readKeys(keys)).every((entry) => entry === undefined)).toBe(true);
    });

    test("keeps a text of 700 KB, a hash of 2.5 MB and one of 10,000 fields", async () => {
      const { archive } = await open();
      const large = 'é😀"\n'.repeat(70_000);
      const fields = (count: number, text: string) =>
        Object.fromEntries(Array.from({ length: count }, (_, at) => [`${at}`, text]));
      const entries = [aText(large), aHash(fields(4, large.slice(0, 280_000))), aHash(fields(10_000, "{}"))];
      for (const when of ["absent", "always"] as const) {
        await archive.write(entries, when);
        const read = await archive.readKeys(entries.map(({ key }) => key));
        for (const [at, entry] of entries.entries()) {
          const found = read[at]?.value;
          expect(typeof found).toBe(typeof entry.value);
          if (typeof entry.value === "string" || typeof found !== "object") {
            expect(found === entry.value).toBe(true);
            continue;
          }
          expect(found.size).toBe(entry.value.size);
          expect([...entry.value].every(([name, bytes]) => found.get(name)?.equals(bytes))).toBe(true);
        }
      }
    });

    test("never meets keys under another prefix, nor takes a sign of its own for a pattern", async () => {
      const start = randomUUID();
      const mine = await open(`${start}*[a-z]?\\x:`);
      const strangers = await Promise.all(
        [`${start}yaqx:`, `${start}*[a-z]?\\x`, `${start}`, `${start}*[a-z]?\\xy:`].map(open),
      );
      const own = [aText("mine"), aHash({ mine: "1" })];
      await mine.archive.write(own, "always");
      for (const { archive } of strangers) await archive.write([aText(), aHash({ a: "1" })], "always");
      const met = await walk(mine.archive);
      expect(byKey(met)).toEqual(byKey(own));
      await mine.archive.remove(met.map(({ key }) => key));
      for (const { archive } of strangers)
        expect((await walk(archive, { under: "session:" })).length).toBe(1);
    });

    test("counts commands, and no other's", async () => {
      const { archive, other } = await open();
      const before = [archive.commands, other.commands];
      await archive.write([aText()], "always");
      if (archive.commands > 0) expect(archive.commands).toBeGreaterThan(before[0] ?? 0);
      if (other !== archive) expect(other.commands).toBe(before[1]);
    });

    test("rejects every verb with store_unavailable once it is closed, and closes twice", async () => {
      const { archive } = await open();
      await archive.ready();
      await archive.close();
      await expect(archive.close()).resolves.toBeUndefined();
      await Promise.all(everyVerb(archive).map(rejectsUnavailable));
    });

    test("rejects every verb with store_unavailable once it is unplugged", async ({ skip }) => {
      const { archive, unplug } = await open();
      if (!unplug) return skip("it cannot be taken away");
      await archive.ready();
      await unplug();
      await Promise.all(everyVerb(archive).map(rejectsUnavailable));
    });
  });
}

const everyVerb = (archive: Archive): Promise<unknown>[] => [
  archive.read({ count: 10 }),
  archive.readKeys(["session:x"]),
  archive.write([aText()], "always"),
  archive.write([aText(), aHash({ a: "1" })], "absent"),
  archive.swap("x", aText()),
  archive.remove(["session:x"]),
  archive.ready(),
];
