import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { gunzipSync } from "node:zlib";

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Entry } from "../../src/session-store/archive.ts";
import { anArchive, failFrom } from "./an-archive.ts";
import { aDirectory, aHash, aSession, aTerminal, CANARY } from "./a-terminal.ts";

const AT = Date.parse("2026-11-21T10:00:00.000Z");

const plain = (entries: readonly Entry[]) =>
  entries.map(({ key, value }) => [key, typeof value === "string" ? value : new Map(value)]);

describe("backup", () => {
  it("writes a header, a line an entry and a trailer with count and checksum", async () => {
    const store = anArchive(() => AT);
    const session = aSession({ caller: "ada" }, 1500);
    store.put(session, aHash("client:f", { initialize: '{"π":1}' }, 2500), aHash("journal:x:0"));
    const terminal = aTerminal({ env: store }, { now: () => AT });
    expect(await terminal.run("backup")).toBe(0);
    const lines = terminal.out().split(/(?<=\n)/);
    const [header, client, , last] = lines.map((line) => JSON.parse(line) as unknown);
    expect(header).toEqual({
      format: "mcp-sse-gateway-backup",
      version: 1,
      at: "2026-11-21T10:00:00.000Z",
      store: "redis://env:6379",
      kinds: ["session:", "client:", "journal:", "caller:"],
    });
    expect(client).toEqual({ k: "client:f", t: "hash", v: { initialize: '{"π":1}' }, ttlMs: 2500 });
    expect(last).toEqual({ k: session.key, t: "text", v: session.value, ttlMs: 1500 });
    const sum = createHash("sha256").update(lines.slice(0, -1).join("")).digest("hex");
    expect(JSON.parse(lines.at(-1) ?? "")).toEqual({ count: 3, sha256: sum });
    expect(terminal.err()).toMatch(/^3 entries of redis:\/\/env:6379/);
  });

  it("leaves out leases, what no gateway made, and with --kinds sessions all but records", async () => {
    const store = anArchive();
    store.put(
      { key: "instance:i", value: "{}", ttlMs: 1000 },
      aHash("session:not-a-text"),
      aHash("caller:ada"),
    );
    store.put(aSession());
    const all = aTerminal({ env: store });
    const some = aTerminal({ env: store });
    await all.run("backup");
    await some.run("backup", "--kinds", "sessions");
    const kinds = (text: string) => [...text.matchAll(/"k":"(\w+):/g)].map((found) => found[1]);
    expect(kinds(all.out())).toEqual(["caller", "session"]);
    expect(all.err()).toMatch(/1 entry left out: no gateway/);
    expect(kinds(some.out())).toEqual(["session"]);
  });

  it.each(["plain.ndjson", "packed.ndjson.gz", "packed.ndjson.br"])(
    "comes back from %s as it was",
    async (name) => {
      const store = anArchive();
      const other = anArchive();
      store.put(...Array.from({ length: 700 }, () => aSession({}, 100_000)), aHash("journal:x:1"));
      const file = join(aDirectory(), name);
      const terminal = aTerminal({ env: store, other });
      expect(await terminal.run("backup", "--out", file)).toBe(0);
      expect(await terminal.run("restore", "--in", file, "--store", "env:OTHER")).toBe(0);
      expect(plain(other.living())).toEqual(plain(store.living()));
      expect(terminal.events).toEqual([
        { type: "operator_action", action: "backup", target: "redis://env:6379", outcome: "done" },
        { type: "operator_action", action: "restore", target: "redis://other:6379", outcome: "done" },
      ]);
    },
  );

  it("comes back whatever a store holds", async () => {
    const name = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 20 })
      .filter((text) => !/\p{Cc}/u.test(text));
    const text = fc.string({ unit: "grapheme" });
    const bytes = fc.uint8Array({ maxLength: 40 }).map((each) => Buffer.from(each));
    const hash = fc
      .dictionary(
        text,
        fc.oneof(
          text.map((each) => Buffer.from(each)),
          bytes,
        ),
        { minKeys: 1, noNullPrototype: true },
      )
      .map((fields) => new Map(Object.entries(fields)));
    const anEntry = fc.oneof(
      fc.record({ key: name.map((each) => `session:${each}`), value: text }),
      fc.record({ key: name.map((each) => `journal:${each}`), value: hash }),
      fc.record({ key: name.map((each) => `caller:${each}`), value: hash }),
    );
    const file = join(aDirectory(), "all.ndjson");
    await fc.assert(
      fc.asyncProperty(fc.array(anEntry, { maxLength: 20 }), async (entries) => {
        const store = anArchive();
        const other = anArchive();
        store.put(...entries.map((entry) => ({ ...entry, ttlMs: 60_000 })));
        const terminal = aTerminal({ env: store, other });
        expect(await terminal.run("backup", "--out", file)).toBe(0);
        expect(await terminal.run("restore", "--in", file, "--store", "env:OTHER")).toBe(0);
        expect(plain(other.living())).toEqual(plain(store.living()));
      }),
      { numRuns: 60 },
    );
  });

  it("keeps remaining expiries however long the backup takes and the file lies", async () => {
    let time = AT;
    const now = () => time;
    const store = anArchive(now);
    const other = anArchive(now);
    store.put(...Array.from({ length: 300 }, (_, at) => aSession({}, 100_000 + at)));
    const ends = new Map([...store.held].map(([key, { expiresAt }]) => [key, expiresAt]));
    store.before = (verb) => void (verb === "read" && (time += 7000));
    const file = join(aDirectory(), "a.ndjson");
    const terminal = aTerminal({ env: store, other }, { now });
    await terminal.run("backup", "--out", file);
    time += 20_000;
    await terminal.run("restore", "--in", file, "--store", "env:OTHER");
    expect(new Map([...other.held].map(([key, { expiresAt }]) => [key, expiresAt]))).toEqual(ends);
  });

  it("is readable by its owner only, and is there only when it is whole", async () => {
    const store = anArchive();
    store.put(...Array.from({ length: 300 }, () => aSession()));
    const directory = aDirectory();
    const file = join(directory, "a.ndjson.gz");
    writeFileSync(file, "the one of yesterday");
    const terminal = aTerminal({ env: store });
    failFrom(store, "read", 3);
    expect(await terminal.run("backup", "--out", file)).toBe(3);
    expect(terminal.err()).toBe(
      "mcp-sse-gateway backup: redis://env:6379: the store cannot be reached (ECONNREFUSED).\n",
    );
    expect(readFileSync(file, "utf8")).toBe("the one of yesterday");
    store.before = () => undefined;
    expect(await terminal.run("backup", "--out", file)).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(gunzipSync(readFileSync(file)).toString()).toMatch(/"count":300/);
    expect(readdirSync(directory)).toEqual(["a.ndjson.gz"]);
    expect(store.closed).toBe(true);
  });

  it("leaves nothing behind at Ctrl-C", async () => {
    const store = anArchive();
    store.put(...Array.from({ length: 300 }, () => aSession()));
    const directory = aDirectory();
    const terminal = aTerminal({ env: store });
    store.before = (verb) => verb === "read" && store.commands > 1 && terminal.interrupt();
    expect(await terminal.run("backup", "--out", join(directory, "a.ndjson"))).toBe(130);
    expect(readdirSync(directory)).toEqual([]);
    expect(terminal.events).toMatchObject([{ outcome: "failed" }]);
  });

  it("waits for a slow reader instead of holding what it cannot yet write", async () => {
    const store = anArchive();
    store.put(...Array.from({ length: 5000 }, () => aSession()));
    let read = 0;
    store.before = (verb) => void (verb === "read" && read++);
    const held: (() => void)[] = [];
    const stdout = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, done) => void held.push(done),
    });
    const terminal = aTerminal({ env: store }, { over: { stdout } });
    const running = terminal.run("backup", "--batch", "100");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(read).toBeLessThanOrEqual(2);
    stdout.destroy();
    expect(await running).toBe(1);
    expect(terminal.err()).toMatch(/The output cannot be written/);
  });

  it("says in plain words what is wrong with what was typed", async () => {
    const terminal = aTerminal({ env: anArchive() });
    for (const [args, words] of [
      [["--kinds", "leases"], /--kinds must be all or sessions/],
      [["--out", join(aDirectory(), "none/a.ndjson")], /its directory does not exist/],
      [["--out", "a.zst"], /has no zstd/],
      [["--json"], /cannot both go to standard output/],
      [["--batch", "0"], /--batch must be a whole number from 1 to 1000/],
      [["--store", "env:NONE"], /NONE, which is not set/],
      [["--store", "env:EMPTY"], /EMPTY, which is not set/],
      [["--store", "memory"], /memory of a gateway/],
      [["--store", `no url ${CANARY}`], /--store is not a store URL/],
      [["--nonsense"], /Unknown option '--nonsense'/],
      [[`--tokn=${CANARY}`], /Unknown option '--tokn'\. See --help/],
      [[CANARY], /a word too many/],
    ] as const) {
      if (args[1] === "a.zst" && "createZstdCompress" in (await import("node:zlib"))) continue;
      terminal.clear();
      const code = await terminal.run("backup", ...args);
      expect(terminal.err(), args.join(" ")).toMatch(words);
      expect(code).toBe(/directory/.test(words.source) ? 1 : 2);
      expect(terminal.err() + terminal.out()).not.toContain(CANARY);
    }
    expect(existsSync("a.zst")).toBe(false);
  });
});
