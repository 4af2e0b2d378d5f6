import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, it } from "vitest";

import type { CliParts } from "../../src/cli/parts.ts";
import { ConfigError } from "../../src/errors.ts";
import { decodeRecord } from "../../src/session-store/record-codec.ts";
import { anArchive, failFrom, type Verb } from "./an-archive.ts";
import { aDirectory, aHash, aSession, aTerminal, CANARY } from "./a-terminal.ts";

function someStores(count = 50) {
  const env = anArchive();
  const other = anArchive();
  env.put(...Array.from({ length: count }, () => aSession()), aHash("journal:x:0"), aHash("caller:ada"));
  return { env, other };
}

const migrate = (path: string, ...more: string[]) => [
  "migrate",
  "--to",
  "env:OTHER",
  "--resume",
  path,
  ...more,
];
const keysOf = (store: ReturnType<typeof anArchive>) =>
  store
    .living()
    .map(({ key }) => key)
    .filter((key) => !key.startsWith("instance:"));

describe("migrate", () => {
  it("copies all but leases, and leaves no progress file", async () => {
    const stores = someStores();
    const directory = aDirectory();
    const terminal = aTerminal(stores);
    const all = keysOf(stores.env);
    stores.env.put({ key: "instance:i", value: "{}", ttlMs: 60_000 });
    expect(await terminal.run(...migrate(join(directory, "p.json"), "--batch", "20"))).toBe(0);
    expect(stores.other.living().map(({ key }) => key)).toEqual(all);
    expect(keysOf(stores.env)).toEqual(all);
    expect(readdirSync(directory)).toEqual([]);
    expect(terminal.out()).toMatch(
      /^52 entries of redis:\/\/env:6379, .*: 52 written to redis:\/\/other:6379, 0 skipped/,
    );
    expect(terminal.events).toMatchObject([
      { action: "migrate", target: "redis://env:6379 to redis://other:6379" },
    ]);
  });

  it("writes nothing in a dry run, and says what it would", async () => {
    const stores = someStores();
    const directory = aDirectory();
    const writes: Verb[] = [];
    for (const store of Object.values(stores))
      store.before = (verb) => void (verb.startsWith("read") || writes.push(verb));
    const terminal = aTerminal(stores);
    expect(await terminal.run(...migrate(join(directory, "p.json"), "--dry-run", "--delete-after"))).toBe(0);
    expect(writes).toEqual([]);
    expect(terminal.out()).toMatch(/52 would be written/);
    expect(readdirSync(directory)).toEqual([]);
  });

  it("leaves what the destination has, and with newer replaces older versions of it", async () => {
    const stores = someStores(0);
    const [id] = [aSession().key.slice(8)];
    stores.env.put(aSession({ id, rev: 2 }));
    stores.other.put(aSession({ id, rev: 1 }));
    const path = join(aDirectory(), "p.json");
    const rev = () => decodeRecord(stores.other.held.get(`session:${id}`)?.value, id)?.rev;
    await aTerminal(stores).run(...migrate(path));
    expect(rev()).toBe(1);
    await aTerminal(stores).run(...migrate(path, "--existing", "newer"));
    expect(rev()).toBe(2);
  });

  it("removes from the source what the destination has and what has not changed since", async () => {
    const stores = someStores(3);
    const [changed, differs, , hash] = [...stores.env.living()].filter(({ key }) =>
      key.startsWith("session:"),
    );
    expect(hash).toBeUndefined();
    // One has another version at the destination; one is changed by its owner while it is copied.
    const other = aSession({ id: differs?.key.slice(8) ?? "", epoch: 4 });
    stores.other.put(other);
    const now = aSession({ id: changed?.key.slice(8) ?? "", rev: 5 });
    stores.env.before = (verb) => verb === "swap" && stores.env.put(now);
    stores.env.put(aHash("client:f", { a: "1" }));
    stores.other.before = (verb) => verb === "readKeys" && stores.env.put(aHash("client:f", { a: "2" }));
    const terminal = aTerminal(stores);
    expect(await terminal.run(...migrate(join(aDirectory(), "p.json"), "--delete-after", "--json"))).toBe(0);
    stores.env.before = () => undefined;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(keysOf(stores.env)).toEqual(["client:f", now.key, other.key].sort());
    expect(stores.env.held.get(now.key)?.value).toBe(now.value);
    expect(JSON.parse(terminal.out())).toMatchObject({ seen: 6, written: 5, skipped: 1, removed: 3 });
  });

  it("removes nothing when both are one store under two names", async () => {
    const { env } = someStores();
    const terminal = aTerminal({ env, other: env });
    const all = keysOf(env);
    expect(await terminal.run(...migrate(join(aDirectory(), "p.json"), "--delete-after"))).toBe(2);
    expect(terminal.err()).toMatch(/the same store under two names; nothing was removed/);
    expect(keysOf(env)).toEqual(all);
    expect(await terminal.run("migrate", "--to", "redis://env")).toBe(2);
  });

  describe("interrupted", () => {
    /** Runs until `stop`, then again; how many entries the second run wrote. */
    async function twice(
      stop: (stores: ReturnType<typeof someStores>, interrupt: () => void) => void,
      code: number,
    ) {
      const stores = someStores(200);
      const all = keysOf(stores.env);
      const path = join(aDirectory(), "p.json");
      const first = aTerminal(stores);
      stop(stores, first.interrupt);
      expect(await first.run(...migrate(path, "--batch", "20"))).toBe(code);
      expect(first.err()).toMatch(/The same command again goes on\.\n$/);
      expect(readFileSync(path, "utf8")).not.toContain(CANARY);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      for (const store of Object.values(stores)) store.before = () => undefined;
      const before = stores.other.living().length;
      const second = aTerminal(stores);
      expect(await second.run(...migrate(path, "--batch", "20", "--json"))).toBe(0);
      expect(second.err()).toMatch(/^Going on after \d+ entries\.\n/);
      expect(keysOf(stores.other)).toEqual(all);
      expect(existsSync(path)).toBe(false);
      const { seen, written } = JSON.parse(second.out()) as { seen: number; written: number };
      expect(seen).toBe(202);
      return { before, written };
    }

    it.each([2, 4, 9])("goes on after Ctrl-C in batch %i", async (nth) => {
      const { before, written } = await twice(({ other }, interrupt) => {
        let writes = 0;
        other.before = (verb) => verb === "write" && ++writes === nth && interrupt();
      }, 130);
      // The batch in hand was finished, and none was done again.
      expect(before).toBe(nth * 20);
      expect(written).toBe(202);
    });

    it.each([2, 5, 10])("goes on after the destination went away in batch %i", async (nth) => {
      const { before } = await twice(({ other }) => failFrom(other, "write", nth), 3);
      expect(before).toBe((nth - 1) * 20);
    });

    it("goes on after the source went away", async () => {
      await twice(({ env }) => failFrom(env, "read", 4), 3);
    });

    it("goes on after a kill between a batch and its note, and writes nothing twice", async () => {
      const stores = someStores(100);
      const path = join(aDirectory(), "p.json");
      const first = aTerminal(stores);
      let noted = "";
      stores.other.before = (verb) => {
        if (verb !== "write") return;
        if (existsSync(path)) noted = readFileSync(path, "utf8");
        if (stores.other.living().length >= 60) first.interrupt();
      };
      expect(await first.run(...migrate(path, "--batch", "20"))).toBe(130);
      writeFileSync(path, noted);
      const second = aTerminal(stores);
      expect(await second.run(...migrate(path, "--batch", "20", "--json"))).toBe(0);
      expect(JSON.parse(second.out())).toMatchObject({ seen: 102, written: 82, skipped: 20 });
      expect(keysOf(stores.other)).toEqual(keysOf(stores.env));
    });
  });

  it("refuses a progress file of another pair, or one that is none", async () => {
    const path = join(aDirectory(), "p.json");
    const terminal = aTerminal(someStores());
    const counts = { seen: 1, written: 1, skipped: 0, removed: 0, bytes: 1 };
    const state = { format: "mcp-sse-gateway-migration", version: 1, cursor: "x", counts };
    for (const [text, words] of [
      [
        JSON.stringify({ ...state, from: "redis://a:1", to: "redis://b:2" }),
        /from redis:\/\/a:1 to redis:\/\/b:2/,
      ],
      [JSON.stringify({ ...state, from: 1, to: 2 }), /is not one of a migration/],
      ["{", /is not one of a migration/],
      [JSON.stringify({ ...state, from: "a", to: "b", counts: {} }), /is not one of a migration/],
    ] as const) {
      terminal.clear();
      writeFileSync(path, text);
      expect(await terminal.run(...migrate(path))).toBe(2);
      expect(terminal.err()).toMatch(words);
      expect(readFileSync(path, "utf8")).toBe(text);
    }
    expect(await terminal.run(...migrate(join(path, "not-a-directory", "p.json")))).not.toBe(0);
  });

  describe("--live", () => {
    const live = (...more: string[]) => ["migrate", "--to", "env:OTHER", "--live", ...more];
    const report = {
      keys: 5,
      copied: 4,
      removed: 0,
      passes: 3,
      commands: 20,
      commandsPerKey: 4,
      seconds: 61,
    };

    it("hands both stores over, shows each step and reports", async () => {
      const switchOver: CliParts["switchOver"] = async ({ from, to, batch, onProgress }) => {
        expect([from.commands, to.commands, batch]).toEqual([1, 1, 7]);
        onProgress?.({ step: "both", keys: 0, waitingFor: ["7f3a9c"] });
        onProgress?.({ step: "backfill", keys: 2, waitingFor: [] });
        onProgress?.({ step: "backfill", keys: 4, waitingFor: [] });
        onProgress?.({ step: "to", keys: 5, waitingFor: [] });
        return { instances: ["7f3a9c"], ...report };
      };
      const terminal = aTerminal(someStores(), { over: { switchOver } });
      expect(await terminal.run(...live("--batch", "7"))).toBe(0);
      expect(terminal.err()).toBe(
        "gateways write to both  waiting for 1 instance: 7f3a9c\ncopying  2 keys\nthe destination decides  5 keys\n",
      );
      expect(terminal.out()).toMatch(/^1 instance moved to redis:\/\/other:6379: 5 keys in 1m 01s\.\n/);
      const other = aTerminal(someStores(), { over: { switchOver } });
      expect(await other.run(...live("--batch", "7", "--json"))).toBe(0);
      const told = other
        .out()
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { type: string });
      expect(told.map(({ type }) => type)).toEqual(["progress", "progress", "progress", "result"]);
    });

    it("answers 130 at Ctrl-C, 3 when a store goes away, 2 when a gateway does not take part", async () => {
      const stores = someStores();
      const terminal = aTerminal(stores);
      stores.env.put({ key: "instance:7f3a9c", value: "{}", ttlMs: 60_000 });
      let reads = 0;
      stores.env.before = (verb) => verb === "read" && ++reads === 3 && terminal.interrupt();
      expect(await terminal.run(...live())).toBe(130);
      expect(terminal.err()).toMatch(/Stopped: the same command again goes on, and --abandon gives up/);
      const other = aTerminal(stores);
      expect(await other.run("migrate", "--to", "env:OTHER", "--abandon")).toBe(0);
      expect(other.out()).toBe("The move was given up: redis://env:6379 goes on deciding.\n");
      expect(stores.env.held.has("moving") || stores.other.held.has("moving")).toBe(false);
      failFrom(stores.other, "write", 1);
      expect(await other.run(...live())).toBe(3);
      expect(other.err()).toMatch(/redis:\/\/other:6379: the store cannot be reached .* again goes on/);
      const refuses = async () => {
        throw new ConfigError(["instance 7f3a9c does not answer"]);
      };
      stores.other.before = () => undefined;
      const third = aTerminal(stores, { over: { switchOver: refuses } });
      expect(await third.run(...live())).toBe(2);
      expect(third.err()).toBe("mcp-sse-gateway migrate: instance 7f3a9c does not answer\n");
    });

    it("draws each step on a line of its own on a terminal", async () => {
      const switchOver: CliParts["switchOver"] = async ({ onProgress }) => {
        for (const keys of [1, 2]) onProgress?.({ step: "backfill", keys, waitingFor: [] });
        onProgress?.({ step: "verify", keys: 3, waitingFor: [] });
        return { instances: [], ...report };
      };
      let time = 0;
      const terminal = aTerminal(someStores(), {
        isTTY: true,
        now: () => (time += 150),
        over: { switchOver },
      });
      await terminal.run(...live());
      expect(terminal.err()).toBe(
        "\rcopying  1 key\u001B[K\rcopying  2 keys\u001B[K\ncomparing  3 keys\u001B[K\n",
      );
    });

    it("goes with none of the flags that copy", async () => {
      const terminal = aTerminal(someStores());
      for (const flag of ["--delete-after", "--dry-run", "--abandon"])
        expect(await terminal.run(...live(flag))).toBe(2);
      expect(terminal.err()).toMatch(/goes with none of/);
    });
  });
});
