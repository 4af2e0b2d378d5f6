import { join } from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { openFileSessionStore } from "../../src/session-store/file.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { createLog } from "../../src/log.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { aLease, aRecord } from "../session-store/records.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";
import { aDirectory, aTerminal, type Terminal } from "./a-terminal.ts";
import { realStores } from "./real-parts.ts";

const COUNT = 120;

let redis: RedisUnderTest;
let behind: RedisUnderTest;
let upstash: UpstashUnderTest;
let raw: RespConnection;
let rawBehind: RespConnection;
let store: SessionStore;
let to: string;

beforeAll(async () => {
  redis = await startRedis(["--databases", "16"]);
  behind = await startRedis(["--databases", "16"]);
  upstash = await startUpstash({ redisUrl: behind.url });
  raw = await openResp(redis.url);
  rawBehind = await openResp(behind.url);
  store = openRedisSessionStore({
    url: redis.url,
    prefix: "mcp:",
    deadlineMs: 5000,
    log: createLog("silent"),
  });
  await store.ready();
  const { host } = new URL(upstash.url);
  to = `http://:${upstash.token}@${host}`;
});
afterAll(async () => {
  await store.close();
  raw.close();
  rawBehind.close();
  await upstash.close();
  await redis.stop();
  await behind.stop();
});
beforeEach(async () => {
  await raw.send([["FLUSHALL"]]);
  await rawBehind.send([["FLUSHALL"]]);
  await store.putLease(aLease({ id: "7f3a9c" }), 60);
  for (let at = 0; at < COUNT; at++) {
    const record = aRecord({ caller: at % 2 ? "ada" : "bob", initialize: { at } });
    await store.create(record, 100 + at);
    await store.seat(record.caller, record.id, record.owner, 100);
    await store.enlist(`f${at % 10}`, record.id, { name: "ü" }, 100);
    await store.writeJournals(
      [{ id: record.id, epoch: 0, put: new Map([["o:1", Buffer.from("…")]]), drop: [] }],
      100,
    );
  }
});

const aRealTerminal = (): Terminal => aTerminal({}, { over: realStores(redis.url) });
// 120 records, 120 journals, 2 callers, 10 clients
const ENTRIES = 252;

describe("over real stores", () => {
  it("takes a backup of Redis to Upstash's REST, and both are the same", async () => {
    const terminal = aRealTerminal();
    const file = join(aDirectory(), "a.ndjson.gz");
    expect(await terminal.run("backup", "--out", file)).toBe(0);
    expect(terminal.out()).toMatch(new RegExp(`^${ENTRIES} entries of redis://127.0.0.1:\\d+/0, `));
    expect(await terminal.run("restore", "--in", file, "--store", to, "--batch", "100")).toBe(0);
    terminal.clear();
    expect(await terminal.run("verify", "--to", to)).toBe(0);
    expect(terminal.out()).toMatch(/session {2}120 compared.*\n.*\n {2}journal {2}120 compared/);
    expect(terminal.err() + terminal.out()).not.toContain(upstash.token);
  });

  it("migrates there and back, removing behind itself, interrupted on the way", async () => {
    const path = join(aDirectory(), "p.json");
    const there = ["migrate", "--to", to, "--delete-after", "--batch", "30", "--resume", path];
    const stopped = aRealTerminal();
    const { openArchive } = stopped.parts;
    let pages = 0;
    stopped.parts.openArchive = async (target, options) => {
      const archive = await openArchive(target, options);
      const { read } = archive;
      // A spread would read `commands` once and for all.
      return Object.assign(Object.create(archive) as typeof archive, {
        read: (asked: Parameters<typeof read>[0]) => {
          if (++pages === 4) stopped.interrupt();
          return read(asked);
        },
      });
    };
    expect(await stopped.run(...there)).toBe(130);
    const terminal = aRealTerminal();
    expect(await terminal.run(...there)).toBe(0);
    // The last ones expire a millisecond after they were let go.
    await eventually(async () => {
      const [left] = await raw.send([["KEYS", "*"]]);
      const keys =
        left?.kind === "array" ? left.items.map((item) => item.kind === "bulk" && String(item.bytes)) : [];
      expect(keys).toEqual(["mcp:instance:7f3a9c"]);
    });
    terminal.clear();
    expect(await terminal.run("sessions", "list", "--json")).toBe(0);
    expect(terminal.out()).toBe("");
    const back = ["migrate", "--from", to, "--to", redis.url, "--delete-after", "--resume", path];
    expect(await terminal.run(...back)).toBe(0);
    terminal.clear();
    expect(await terminal.run("sessions", "list", "--caller", "ada", "--json")).toBe(0);
    const rows = terminal
      .out()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { expiresInSeconds: number });
    expect(rows).toHaveLength(COUNT / 2);
    expect(Math.max(...rows.map(({ expiresInSeconds }) => expiresInSeconds))).toBeGreaterThan(200);
    await expect(store.seatsOf("bob")).resolves.toHaveProperty("size", COUNT / 2);
  });

  it("closes the sessions of a dead instance", async () => {
    await store.removeLease("7f3a9c");
    const terminal = aRealTerminal();
    expect(await terminal.run("sessions", "close", "--caller", "ada")).toBe(0);
    expect(terminal.out().match(/removed: the instance/g)).toHaveLength(COUNT / 2);
    terminal.clear();
    await terminal.run("sessions", "list", "--json");
    expect(terminal.out().trim().split("\n")).toHaveLength(COUNT / 2);
  });

  it("leaves word in the lease of one that lives, without making it live longer", async () => {
    const terminal = aRealTerminal();
    expect(await terminal.run("sessions", "close", "--caller", "ada", "--wait", "0")).toBe(1);
    await expect(store.getLease("7f3a9c")).resolves.toMatchObject({ look: true, state: "serving" });
    const [reply] = await raw.send([["TTL", "mcp:instance:7f3a9c"]]);
    expect(reply?.kind === "integer" && Number(reply.digits)).toBeLessThanOrEqual(60);
  });

  it("reads a file store while its gateway has it, and leaves it to its gateway", async () => {
    const directory = aDirectory();
    const url = `file:${directory}`;
    const terminal = aRealTerminal();
    expect(await terminal.run("migrate", "--to", url, "--resume", join(aDirectory(), "p.json"))).toBe(0);
    expect(await terminal.run("verify", "--to", url)).toBe(0);
    const held = await openFileSessionStore({ directory, sync: "off", log: createLog("silent") });
    try {
      expect(await terminal.run("verify", "--to", url)).toBe(0);
      terminal.clear();
      expect(await terminal.run("sessions", "list", "--store", url, "--caller", "ada")).toBe(0);
      expect(terminal.err()).toBe(`${COUNT / 2} sessions.\n`);
      expect(await terminal.run("sessions", "close", "--store", url, "--caller", "ada")).toBe(2);
    } finally {
      await held.close();
    }
  });

  it("answers 2 for a store that refuses the credentials, and 3 for one that is not there", async () => {
    const terminal = aRealTerminal();
    const { host } = new URL(upstash.url);
    expect(await terminal.run("sessions", "list", "--store", `http://:wrong-token@${host}`)).toBe(2);
    expect(await terminal.run("sessions", "list", "--store", "redis://:pass-word@127.0.0.1:1")).toBe(3);
    expect(terminal.err()).not.toMatch(/wrong-token|pass-word/);
  });
});
