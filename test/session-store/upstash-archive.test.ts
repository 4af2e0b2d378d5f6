import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import type { Archive, Entry } from "../../src/session-store/archive.ts";
import { openUpstashArchive } from "../../src/session-store/upstash-archive.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";
import { describeArchive } from "./conformance-archive.ts";
import { tellAll } from "./records.ts";

let redis: RedisUnderTest;
let raw: RespConnection;

beforeAll(async () => {
  redis = await startRedis();
  raw = await openResp(redis.url);
});
afterAll(async () => {
  raw.close();
  await redis.stop();
});

// One that takes no request above 1 MiB, as some databases do.
const startStrict = () => startUpstash({ redisUrl: redis.url, maxRequestBytes: 1024 * 1024 });

describeArchive("Upstash", async (prefix = "mcp:") => {
  const { url, token, close } = await startStrict();
  const options = { url, token, prefix, deadlineMs: 2000, log: createLog("silent") };
  const [archive, other] = [openUpstashArchive(options), openUpstashArchive(options)];
  const store = openUpstashSessionStore(options);
  await archive.ready();
  return { archive, other, store, unplug: close, end: close };
});

async function open(): Promise<{ archive: Archive; server: UpstashUnderTest; prefix: string }> {
  const server = await startStrict();
  const { url, token } = server;
  const prefix = `t${randomUUID()}:`;
  const archive = openUpstashArchive({ url, token, prefix, deadlineMs: 2000, log: createLog("silent") });
  onTestFinished(async () => {
    await archive.close();
    await server.close();
  });
  return { archive, server, prefix };
}

const texts = Array.from({ length: 100 }, (_, at): Entry => ({
  key: `session:${at}`,
  value: "{}",
  ttlMs: 60_000,
}));
const hashes = Array.from({ length: 100 }, (_, at): Entry => ({
  key: `journal:${at}:0`,
  value: new Map([
    ["1", Buffer.from("{}")],
    ["2", Buffer.from("{}")],
  ]),
  ttlMs: 60_000,
}));
const keysOf = (entries: readonly Entry[]): string[] => entries.map(({ key }) => key);

test.each<[string, (archive: Archive) => Promise<unknown>, Record<string, number>]>([
  ["a write of 100 texts", (archive) => archive.write(texts, "always"), { SET: 100 }],
  ["a write of 100 texts that are there", (archive) => archive.write(texts, "absent"), { SET: 100 }],
  [
    "a write of 100 hashes",
    (archive) => archive.write(hashes, "always"),
    { DEL: 100, HSET: 100, PEXPIRE: 100 },
  ],
  [
    "a write of 100 hashes that are there",
    (archive) => archive.write(hashes, "absent"),
    { EVAL: 100, EXISTS: 100 },
  ],
  [
    "a write of 100 hashes where none is",
    async (archive) =>
      archive.write(
        hashes.map((entry) => ({ ...entry, key: `${entry.key}9` })),
        "absent",
      ),
    { EVAL: 100, EXISTS: 100, HSET: 100, PEXPIRE: 100 },
  ],
  ["100 texts read", (archive) => archive.readKeys(keysOf(texts)), { PTTL: 100, MGET: 1 }],
  ["100 hashes read", (archive) => archive.readKeys(keysOf(hashes)), { PTTL: 100, HGETALL: 100 }],
  [
    "a removal of 500",
    (archive) => archive.remove(Array.from({ length: 500 }, (_, at) => `${at}`)),
    { DEL: 1 },
  ],
  ["a swap", (archive) => archive.swap("{}", { key: "session:1", value: "1", ttlMs: 9000 }), { SET: 1 }],
  ["ready", (archive) => archive.ready(), {}],
])("is billed for %s as it counts", async (_, verb, bill) => {
  const { archive, server } = await open();
  await archive.write([...texts, ...hashes], "always");
  server.resetBilled();
  const before = archive.commands;
  await verb(archive);
  expect(server.billedByCommand()).toEqual(bill);
  expect(archive.commands - before).toBe(server.billed());
});

test("counts the calls of a hash with many fields", async () => {
  const { archive, server } = await open();
  const value = new Map(Array.from({ length: 5000 }, (_, at) => [`${at}`, Buffer.from("x")]));
  await archive.write([{ key: "journal:x:0", value, ttlMs: 60_000 }], "absent");
  expect(server.billedByCommand()).toEqual({ EVAL: 1, EXISTS: 1, HSET: 3, PEXPIRE: 1 });
  expect(archive.commands).toBe(6);
});

test("sends 200 small entries in one request to write, and 100 in one to read", async () => {
  const { archive, server } = await open();
  await archive.write([...texts, ...hashes], "absent");
  await archive.readKeys(keysOf(texts));
  await archive.readKeys(keysOf(hashes));
  expect(server.requests().map(({ path }) => path)).toEqual(["/pipeline", "/pipeline", "/pipeline"]);
});

test("replaces hashes in a transaction, so that nobody meets one that is half there", async () => {
  const { archive, server } = await open();
  await archive.write([...texts, ...hashes], "always");
  expect(server.requests().map(({ path }) => path)).toEqual(["/multi-exec"]);
});

test("keeps requests below 900 KB, whatever its texts become in JSON", async () => {
  const { archive, server } = await open();
  const large = '"\\\u0001é'.repeat(30_000);
  const entries = Array.from({ length: 10 }, (_, at): Entry => ({
    key: `session:${at}`,
    value: large,
    ttlMs: 9000,
  }));
  await archive.write(entries, "always");
  const sizes = server.requests().map(({ headers }) => Number(headers["content-length"]));
  expect(Math.max(...sizes)).toBeLessThanOrEqual(900_000);
  expect(sizes.length).toBeLessThan(10);
});

test("leaves a large hash alone, whole, where its key is taken", async () => {
  const { archive } = await open();
  const value = new Map(Array.from({ length: 30 }, (_, at) => [`${at}`, Buffer.alloc(100_000, "x")]));
  const [small, large]: Entry[] = [
    { key: "journal:x:0", value: new Map([["a", Buffer.from("1")]]), ttlMs: 60_000 },
    { key: "journal:x:0", value, ttlMs: 60_000 },
  ];
  await archive.write([small as Entry], "absent");
  expect(await archive.write([large as Entry], "absent")).toEqual([false]);
  expect((await archive.readKeys(["journal:x:0"]))[0]?.value).toEqual(small?.value);
});

test("asks for fewer keys at a time when the answer would be too large", async () => {
  const { archive, server } = await open();
  await archive.write(texts, "always");
  server.fail(({ commands }) =>
    commands.length > 30
      ? {
          kind: "answer",
          status: 400,
          body: '{"error":"ERR max request size exceeded. Limit: 1048576 bytes"}',
        }
      : undefined,
  );
  expect((await archive.readKeys(keysOf(texts))).map((entry) => entry?.key)).toEqual(keysOf(texts));
});

test("does not meet what never expires or is of another type, and leaves it", async () => {
  const { archive, prefix } = await open();
  await raw.send([
    ["SET", `${prefix}session:eternal`, "x"],
    ["HSET", `${prefix}journal:eternal:0`, "a", "1"],
    ["HSET", `${prefix}session:hash`, "a", "1"],
    ["EXPIRE", `${prefix}session:hash`, "60"],
    ["SET", `${prefix}journal:text:0`, "x", "EX", "60"],
  ]);
  const keys = ["session:eternal", "journal:eternal:0", "session:hash", "journal:text:0"];
  expect((await archive.read({ count: 1000 })).entries).toEqual([]);
  expect(await archive.readKeys(keys)).toEqual([undefined, undefined, undefined, undefined]);
  const entries = [...texts.slice(0, 1), ...hashes.slice(0, 1)].flatMap((entry, at) =>
    keys.slice(2 * at, 2 * at + 2).map((key) => ({ ...entry, key })),
  );
  expect(await archive.write(entries, "absent")).toEqual([false, false, false, false]);
});

test.each([
  ["no list", '{"result":"OK"}'],
  ["an answer too few", "[]"],
  ["a refusal that repeats a value", '[{"error":"ERR canary"}]'],
  ["no page", '[{"result":["canary"]}]'],
])("calls %s unavailable, and shows none of it", async (_, body) => {
  const { archive, server } = await open();
  server.fail(() => ({ kind: "answer", status: 200, body }));
  for (const work of [archive.read({ count: 1 }), archive.readKeys(["canary"])]) {
    const error: unknown = await work.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: "store_unavailable" });
    expect(tellAll(error)).not.toContain("canary");
  }
});
