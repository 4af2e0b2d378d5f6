import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

import { describe, expect, it } from "vitest";

import { openBackup } from "../../src/cli/backup-reader.ts";
import { anArchive, failFrom } from "./an-archive.ts";
import { aDirectory, aHash, aSession, aTerminal } from "./a-terminal.ts";

const NOW = Date.now();
const ID = "0b2f4c1e-6d0a-4a5e-9a57-3f2b8c1d7e90";

const header = (over: object = {}): string =>
  JSON.stringify({
    format: "mcp-sse-gateway-backup",
    version: 1,
    at: new Date(NOW).toISOString(),
    store: "redis://env:6379",
    kinds: ["session:", "client:", "journal:", "caller:"],
    ...over,
  });
const session = (over: object = {}): string =>
  JSON.stringify({ k: `session:${ID}`, t: "text", v: aSession({ id: ID }).value, ttlMs: 60_000, ...over });
const hash = (over: object = {}): string =>
  JSON.stringify({ k: "journal:x:0", t: "hash", v: { "a ä": "b" }, ttlMs: 60_000, ...over });
const trailer = (lines: readonly (string | Buffer)[], over: object = {}): string => {
  const sum = createHash("sha256");
  for (const line of lines) sum.update(line).update("\n");
  return JSON.stringify({ count: lines.length - 1, sha256: sum.digest("hex"), ...over });
};
const bytesOf = (lines: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(lines.flatMap((line) => [Buffer.from(line), Buffer.from("\n")]));
/** A whole backup of these lines, with a trailer that is right. */
const whole = (...lines: (string | Buffer)[]): Buffer => bytesOf([...lines, trailer(lines)]);

const GOOD = whole(header(), session(), hash());
const cutAt = (text: string, after = 0): Buffer => GOOD.subarray(0, GOOD.indexOf(text) + after);
const flipped = (text: string): Buffer => {
  const copy = Buffer.from(GOOD);
  const at = copy.indexOf(text);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
};

const DAMAGED: [what: string, content: Buffer, words: RegExp, name?: string][] = [
  ["cut off in the header", cutAt("store"), /line 1 is cut off/],
  ["cut off in an entry", cutAt('"text"'), /line 2 is cut off/],
  [
    "cut off between two lines",
    cutAt('{"k":"journal'),
    /line 3 is not there: the file ends before the backup/,
  ],
  ["cut off before the trailer", cutAt('{"count"'), /line 4 is not there/],
  ["cut off in the trailer", cutAt("sha256", 20), /line 4 is cut off/],
  ["without its last line's end", GOOD.subarray(0, -1), /line 4 is cut off/],
  ["one bit of a value flipped", flipped("everything"), /line 4 has a checksum that is not/],
  ["one bit of a key flipped", flipped(":x:0"), /line 3 has a key that is none|line 4 has a checksum/],
  ["one bit of the header flipped", flipped("env"), /line 4 has a checksum/],
  ["a wrong checksum", bytesOf([header(), session(), trailer([header(), hash()])]), /line 3 has a checksum/],
  ["no checksum", bytesOf([header(), trailer([header()], { sha256: "x" })]), /line 2 has no checksum/],
  [
    "a wrong count",
    bytesOf([header(), session(), trailer([header(), session()], { count: 2 })]),
    /line 3 says that there are 2 entries, and there are 1/,
  ],
  [
    "a count that is none",
    bytesOf([header(), trailer([header()], { count: -1 })]),
    /line 2 does not say how many/,
  ],
  [
    "a line missing",
    bytesOf([header(), hash(), trailer([header(), session(), hash()])]),
    /there are 2 entries/,
  ],
  [
    "two lines exchanged",
    bytesOf([header(), hash(), session(), trailer([header(), session(), hash()])]),
    /checksum/,
  ],
  ["no header", whole(session(), hash()), /line 1 is not the beginning of a backup/],
  ["two headers", whole(header(), header()), /line 2 is no entry/],
  ["foreign JSON", Buffer.from('{"dump":[1,2,3]}\n'), /line 1 is not the beginning/],
  ["a JSON list", Buffer.from("[1,2,3]\n"), /line 1 is not a JSON object/],
  ["a foreign text", Buffer.from("REDIS0011\n"), /line 1 is not JSON/],
  ["a newer version", whole(header({ version: 2 })), /line 1 is of version 2, which a newer/],
  ["an unknown version", whole(header({ version: "1" })), /line 1 has no version/],
  ["no time", whole(header({ at: "yesterday" })), /line 1 does not say when/],
  ["no store", whole(header({ store: 1 })), /line 1 does not say of which store/],
  ["unknown kinds", whole(header({ kinds: ["instance:"] })), /line 1 names kinds/],
  ["an expiry of 0", whole(header(), session({ ttlMs: 0 })), /line 2 has an expiry/],
  ["an expiry that is a text", whole(header(), session({ ttlMs: "60" })), /line 2 has an expiry/],
  ["an expiry beyond all reason", whole(header(), session({ ttlMs: 1e15 })), /line 2 has an expiry/],
  ["an empty key", whole(header(), session({ k: "session:" })), /line 2 has a key that is none/],
  ["a key with a line end", whole(header(), session({ k: "session:a\nb" })), /line 2 has a key that is none/],
  [
    "a key that is too long",
    whole(header(), session({ k: `session:${"x".repeat(2000)}` })),
    /line 2 has a key/,
  ],
  ["a lease", whole(header(), hash({ k: "instance:7f" })), /line 2 has a key that is none of a gateway's/],
  [
    "a kind that the header lacks",
    whole(header({ kinds: ["session:"] }), hash()),
    /line 2 has a key of a kind/,
  ],
  [
    "a hash for a session",
    whole(header(), session({ t: "hash", v: { a: "b" } })),
    /line 2 has a value of the wrong/,
  ],
  [
    "a text for a journal",
    whole(header(), hash({ t: "text", v: "a" })),
    /line 2 has a value of the wrong type/,
  ],
  ["a field that is no text", whole(header(), hash({ v: { a: 1 } })), /line 2 has a hash with a field/],
  ["a hash without fields", whole(header(), hash({ v: {} })), /line 2 has a value that is not a hash/],
  [
    "a value that is missing",
    whole(header(), session({ v: undefined })),
    /line 2 has a value that is not a text/,
  ],
  ["bytes that are not base64", whole(header(), hash({ t: "bytes", v: { a: "*" } })), /line 2 has a field/],
  ["an unknown type", whole(header(), hash({ t: "list", v: [] })), /line 2 has a value of a type/],
  ["an unknown member", whole(header(), hash({ db: 1 })), /line 2 has members/],
  ["bad UTF-8", whole(header(), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), /line 2 is not valid UTF-8/],
  [
    "lines after its end",
    Buffer.concat([GOOD, Buffer.from(`${session()}\n`)]),
    /line 5 follows the backup's end/,
  ],
  ["two backups in one", Buffer.concat([GOOD, GOOD]), /line 5 follows the backup's end/],
  ["empty lines", Buffer.concat([GOOD, Buffer.from("\n")]), /line 5 follows the backup's end/],
  ["nothing in it", Buffer.alloc(0), /line 1 is not there: the file is empty/],
  ["nothing packed in it", gzipSync(""), /line 1 is not there: the file is empty/, "a.gz"],
  ["packed and cut off", gzipSync(GOOD).subarray(0, -12), /cannot be unpacked/, "a.gz"],
  ["packed and cut at its end", gzipSync(GOOD).subarray(0, -4), /cannot be unpacked/, "a.gz"],
  [
    "packed, with garbage behind",
    Buffer.concat([gzipSync(GOOD), Buffer.from("garbage")]),
    /cannot be|foreign/,
    "a.gz",
  ],
  [
    "packed, with zeros behind",
    Buffer.concat([gzipSync(GOOD), Buffer.alloc(300_000)]),
    /something foreign/,
    "a.gz",
  ],
  ["packed twice over", Buffer.concat([gzipSync(GOOD), gzipSync(GOOD)]), /line 5 follows/, "a.gz"],
  ["called packed, and not", GOOD, /cannot be unpacked/, "a.gz"],
  ["packed, and not called so", gzipSync(GOOD), /line 1 is (not valid UTF-8|cut off)/, "a.ndjson"],
  ["packed as brotli and cut", brotliCompressSync(GOOD).subarray(0, -5), /cannot be unpacked/, "a.br"],
  [
    "packed as brotli, with garbage behind",
    Buffer.concat([brotliCompressSync(GOOD), Buffer.alloc(200_000, 7)]),
    /cannot be|foreign/,
    "a.br",
  ],
];

describe("restore", () => {
  it.each(DAMAGED)(
    "refuses a backup with %s, and writes nothing",
    async (_, content, words, name = "a.ndjson") => {
      const file = join(aDirectory(), name);
      writeFileSync(file, content);
      const store = anArchive();
      const terminal = aTerminal({ env: store });
      expect(await terminal.run("restore", "--in", file)).toBe(1);
      expect(terminal.err()).toMatch(words);
      expect(terminal.err()).toMatch(
        /^mcp-sse-gateway restore: The backup is refused: line \d+ .*\. Nothing was written\.\n$/,
      );
      expect(terminal.err()).not.toContain(file);
      expect(store.commands).toBe(0);
    },
  );

  it("takes the backup that all these were made of", async () => {
    const file = join(aDirectory(), "a.ndjson");
    writeFileSync(file, GOOD);
    const store = anArchive();
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("restore", "--in", file)).toBe(0);
    expect(terminal.out()).toBe(
      "2 entries in the backup: 2 written to redis://env:6379, 0 skipped because the store has them, 0 expired since.\n",
    );
    expect(store.living().map(({ key }) => key)).toEqual(["journal:x:0", `session:${ID}`]);
  });

  it("bounds the length of a line", async () => {
    const path = join(aDirectory(), "a.ndjson");
    writeFileSync(path, whole(header(), session({ v: "x".repeat(5000) })));
    const read = async (maxLineBytes: number) => {
      const file = await openBackup(path, maxLineBytes);
      try {
        for await (const piece of file.pieces()) void piece;
      } finally {
        await file.close();
      }
    };
    await expect(read(4000)).rejects.toThrow(/line 2 is longer than 4000 bytes/);
    await expect(read(6000)).resolves.toBeUndefined();
  });

  it("wants a file that is there", async () => {
    const directory = aDirectory();
    mkdirSync(join(directory, "b"));
    const terminal = aTerminal({ env: anArchive() });
    for (const [args, words] of [
      [[], /Say which file: --in FILE/],
      [["--in", join(directory, "none")], /There is no file at what --in names/],
      [["--in", join(directory, "b")], /is not a file/],
      [["--in", join(directory, "none"), "--existing", "merge"], /must be skip, overwrite or newer/],
    ] as const) {
      terminal.clear();
      expect(await terminal.run("restore", ...args)).toBe(2);
      expect(terminal.err()).toMatch(words);
      expect(terminal.err()).not.toContain(directory);
    }
  });

  it("leaves out what has expired since, and counts it", async () => {
    const file = join(aDirectory(), "a.ndjson");
    writeFileSync(file, whole(header(), session({ ttlMs: 5000 }), hash({ ttlMs: 20_000 })));
    const now = () => NOW + 10_000;
    const store = anArchive(now);
    const terminal = aTerminal({ env: store }, { now });
    expect(await terminal.run("restore", "--in", file, "--json")).toBe(0);
    expect(JSON.parse(terminal.out())).toMatchObject({ type: "result", entries: 2, written: 1, expired: 1 });
    expect(store.living()).toMatchObject([{ key: "journal:x:0", ttlMs: 10_000 }]);
  });

  describe("where the store has the key already", () => {
    const older = aSession({ id: ID, epoch: 1, rev: 7, owner: "old" });
    const newer = aSession({ id: ID, epoch: 2, rev: 0, owner: "new" });
    const run = async (existing: string, inFile: typeof older, inStore: typeof older) => {
      const file = join(aDirectory(), "a.ndjson");
      writeFileSync(file, whole(header(), session({ v: inFile.value })));
      const store = anArchive();
      store.put(inStore);
      const terminal = aTerminal({ env: store });
      const dry = aTerminal({ env: store });
      expect(await dry.run("restore", "--in", file, "--existing", existing, "--dry-run", "--json")).toBe(0);
      expect(store.living()[0]?.value).toBe(inStore.value);
      expect(await terminal.run("restore", "--in", file, "--existing", existing, "--json")).toBe(0);
      const told = [dry, terminal].map(
        (each) => JSON.parse(each.out()) as { written: number; dryRun: boolean },
      );
      expect(told.map(({ dryRun }) => dryRun)).toEqual([true, false]);
      expect(told[0]?.written).toBe(told[1]?.written);
      expect(dry.events).toEqual([]);
      return store.living()[0]?.value;
    };

    it("leaves it with skip, replaces it with overwrite", async () => {
      expect(await run("skip", newer, older)).toBe(older.value);
      expect(await run("overwrite", older, newer)).toBe(older.value);
    });

    it("with newer lets the record's own version decide", async () => {
      expect(await run("newer", newer, older)).toBe(newer.value);
      expect(await run("newer", older, newer)).toBe(newer.value);
      expect(await run("newer", newer, newer)).toBe(newer.value);
    });

    it("with newer leaves a record that changed between the look and the write", async () => {
      const file = join(aDirectory(), "a.ndjson");
      writeFileSync(file, whole(header(), session({ v: newer.value })));
      const store = anArchive();
      const newest = aSession({ id: ID, epoch: 3 });
      store.put(older);
      store.before = (verb) => verb === "swap" && store.put(newest);
      expect(await aTerminal({ env: store }).run("restore", "--in", file, "--existing", "newer")).toBe(0);
      expect(store.living()[0]?.value).toBe(newest.value);
    });

    it("with newer takes of two hashes the one that was written to later", async () => {
      const file = join(aDirectory(), "a.ndjson");
      const [late, early] = [{ k: "caller:late" }, { k: "caller:early" }];
      writeFileSync(
        file,
        whole(header(), hash({ ...late, ttlMs: 90_000 }), hash({ ...early, ttlMs: 30_000 })),
      );
      const store = anArchive();
      store.put(aHash("caller:late"), aHash("caller:early"));
      await aTerminal({ env: store }).run("restore", "--in", file, "--existing", "newer");
      const fields = store.living().map(({ value }) => (typeof value === "string" ? [] : [...value.keys()]));
      expect(fields).toEqual([["field"], ["a ä"]]);
    });
  });

  it.each([1, 2, 3])("goes on after the store went away in batch %i", async (nth) => {
    const entries = Array.from({ length: 25 }, (_, at) => hash({ k: `caller:${at}` }));
    const file = join(aDirectory(), "a.ndjson");
    writeFileSync(file, whole(header(), ...entries));
    const store = anArchive();
    failFrom(store, "write", nth);
    const terminal = aTerminal({ env: store });
    const command = ["restore", "--in", file, "--batch", "10"];
    expect(await terminal.run(...command)).toBe(3);
    expect(terminal.err()).toMatch(
      `redis://env:6379: the store cannot be reached (ECONNREFUSED). ${10 * (nth - 1)} of 25 entries were restored before; the same command again goes on.`,
    );
    store.before = () => undefined;
    expect(await terminal.run(...command)).toBe(0);
    expect(store.living()).toHaveLength(25);
  });

  it("finishes the batch in hand at Ctrl-C", async () => {
    const entries = Array.from({ length: 25 }, (_, at) => hash({ k: `caller:${at}` }));
    const file = join(aDirectory(), "a.ndjson");
    writeFileSync(file, whole(header(), ...entries));
    const store = anArchive();
    const terminal = aTerminal({ env: store });
    store.before = (verb) => verb === "write" && terminal.interrupt();
    expect(await terminal.run("restore", "--in", file, "--batch", "10")).toBe(130);
    expect(store.living()).toHaveLength(10);
    expect(terminal.err()).toMatch(/Stopped after 10 of 25 entries; the same command again goes on/);
  });

  it("tells of damage that comes after the check, with what was written before", async () => {
    const entries = Array.from({ length: 2500 }, (_, at) => hash({ k: `caller:${at}` }));
    const file = join(aDirectory(), "a.ndjson");
    const good = whole(header(), ...entries);
    writeFileSync(file, good);
    const store = anArchive();
    store.before = (verb) => void (verb === "ready" && writeFileSync(file, good.subarray(0, -200)));
    const terminal = aTerminal({ env: store });
    expect(await terminal.run("restore", "--in", file)).toBe(1);
    expect(terminal.err()).toMatch(/is refused: line \d+ .* 2000 of 2500 entries were restored before/);
  });
});
