import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import type { Archive, Entry } from "../../src/session-store/archive.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { hasRedisServer, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { describeArchive } from "./conformance-archive.ts";
import { plugInto } from "./plug.ts";

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

describeArchive("Redis", async (prefix = "mcp:") => {
  const address = new URL(redis.url);
  const plug = await plugInto(Number(address.port || 6379), address.hostname);
  const url = Object.assign(new URL(redis.url), { hostname: "127.0.0.1", port: `${plug.port}` }).href;
  const options = { url, prefix, deadlineMs: 1000, log: createLog("silent") };
  const [archive, other] = [openRedisArchive(options), openRedisArchive(options)];
  const store = openRedisSessionStore(options);
  await Promise.all([archive.ready(), other.ready(), store.ready()]);
  return { archive, other, store, unplug: plug.pull, end: plug.pull };
});

async function open(): Promise<{ archive: Archive; prefix: string }> {
  const prefix = `${randomUUID()}:`;
  const archive = openRedisArchive({ url: redis.url, prefix, deadlineMs: 1000, log: createLog("silent") });
  onTestFinished(() => archive.close());
  await archive.ready();
  return { archive, prefix };
}

const ttlMs = 60_000;

test("costs two commands to read an entry and one to write it", async () => {
  const { archive } = await open();
  const entries = Array.from({ length: 100 }, (_, at): Entry => {
    const fields = new Map([["a", Buffer.from("1")]]);
    return at % 2
      ? { key: `session:${at}`, value: "{}", ttlMs }
      : { key: `journal:${at}:0`, value: fields, ttlMs };
  });
  const keys = entries.map(({ key }) => key);
  const costs: number[] = [];
  for (const verb of [
    () => archive.write(entries, "absent"),
    () => archive.write(entries, "always"),
    () => archive.readKeys(keys),
    () => archive.swap("{}", { key: "session:1", value: "1", ttlMs }),
    () => archive.remove(keys),
    () => archive.read({ count: 1_000_000 }),
  ]) {
    const before = archive.commands;
    await verb();
    costs.push(archive.commands - before);
  }
  expect(costs).toEqual([100, 100, 200, 1, 1, 1]);
});

test("does not meet what never expires or is of another type, and leaves it", async () => {
  const { archive, prefix } = await open();
  await raw.send([
    ["SET", `${prefix}session:eternal`, "x"],
    ["HSET", `${prefix}journal:eternal:0`, "a", "1"],
    ["HSET", `${prefix}session:hash`, "a", "1"],
    ["EXPIRE", `${prefix}session:hash`, "60"],
    ["SET", `${prefix}journal:text:0`, "x", "EX", "60"],
    ["RPUSH", `${prefix}list`, "x"],
  ]);
  const keys = ["session:eternal", "session:hash", "journal:eternal:0", "journal:text:0", "list"];
  expect((await archive.read({ count: 1_000_000 })).entries).toEqual([]);
  expect(await archive.readKeys(keys)).toEqual(keys.map(() => undefined));
  const value = new Map([["b", Buffer.from("1")]]);
  const entries = keys.map((key): Entry => ({ key, value: key.startsWith("journal") ? value : "y", ttlMs }));
  expect(await archive.write(entries, "absent")).toEqual(keys.map(() => false));
});

test("says what it was given as when the database refuses its password", async ({ skip }) => {
  if (!hasRedisServer) return skip("the server knows no flags");
  const own = await startRedis(["--requirepass", "right-canary"]);
  onTestFinished(() => own.stop());
  const url = own.url.replace("//", "//:wrong-canary@");
  const log = createLog("silent");
  const archive = openRedisArchive({ url, prefix: "mcp:", deadlineMs: 1000, log, name: "--from" });
  onTestFinished(() => archive.close());
  const error: unknown = await archive.ready().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).message).toMatch(/^--from: (?!.*canary)/);
});
