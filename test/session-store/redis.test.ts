import { PassThrough } from "node:stream";

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { keysOf } from "./backend.ts";
import { describeSessionStore } from "./conformance.ts";
import { plugInto } from "./plug.ts";
import { aRecord, tellAll } from "./records.ts";

const unavailable = { reason: "store_unavailable" };

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

function open(url: string, out = new PassThrough()): SessionStore {
  const store = openRedisSessionStore({
    url,
    prefix: "mcp:",
    deadlineMs: 1000,
    log: createLog("debug", out),
  });
  onTestFinished(() => store.close());
  return store;
}

/** A server of the test's own, so that it may be paused and killed. */
async function ownRedis(flags: readonly string[] = []): Promise<RedisUnderTest> {
  const own = await startRedis(flags);
  onTestFinished(() => own.stop());
  return own;
}

describeSessionStore("Redis", "outside", async (prefix) => {
  const address = new URL(redis.url);
  const plug = await plugInto(Number(address.port || 6379), address.hostname);
  const url = Object.assign(new URL(redis.url), { hostname: "127.0.0.1", port: `${plug.port}` }).href;
  const log = createLog("silent");
  const [one, other] = [1, 2].map(() => openRedisSessionStore({ url, prefix, deadlineMs: 1000, log }));
  if (!one || !other) throw new Error("two were opened");
  await Promise.all([one.ready(), other.ready()]);
  return {
    one,
    other,
    outside: {
      ...keysOf(raw),
      unplug: plug.pull,
    },
    end: plug.pull,
  };
});

test("opens while Redis is away, is ready once it came, and tells of the outage once", async () => {
  const port = await freePort();
  const out = new PassThrough();
  const store = open(`redis://user:hunter2@127.0.0.1:${port}`, out);
  await expect(store.ready()).rejects.toMatchObject(unavailable);
  await expect(store.get("x")).rejects.toMatchObject(unavailable);
  await eventually(() => expect(store.ready()).rejects.toMatchObject(unavailable));
  const log = String(out.read());
  expect(log.match(/connection lost/g)).toHaveLength(1);
  expect(log).toContain("ECONNREFUSED");
  expect(log).not.toMatch(/hunter2|127\.0\.0\.1/);
});

test("comes back after Redis was killed and started again on the same port", async ({ skip }) => {
  const own = await ownRedis();
  const { restart } = own;
  if (!restart) return skip("the server cannot be restarted");
  const out = new PassThrough();
  const store = open(own.url, out);
  await store.ready();
  const record = aRecord();
  await store.create(record, 60);
  await restart();
  await eventually(() => store.ready());
  expect(await store.get(record.id)).toBeUndefined();
  expect(await store.create(record, 60)).toBe(true);
});

test("never sends a create again whose answer was lost", async () => {
  const { hostname, port } = new URL(redis.url);
  const plug = await plugInto(Number(port), hostname);
  onTestFinished(plug.pull);
  const store = open(Object.assign(new URL(redis.url), { hostname: "127.0.0.1", port: `${plug.port}` }).href);
  await store.ready();
  plug.swallow();
  const record = aRecord();
  // Sent again, it would resolve with false, for its own record is there.
  const lost = expect(store.create(record, 60)).rejects.toMatchObject({ cause: { code: "DISCONNECTED" } });
  await eventually(async () =>
    expect((await raw.send([["GET", `mcp:session:${record.id}`]]))[0]?.kind).toBe("bulk"),
  );
  plug.cut();
  await lost;
  await eventually(() => store.ready());
  expect(await store.get(record.id)).toEqual(record);
});

test("gives up on a frozen Redis by the deadline, and works when it thaws", async ({ skip }) => {
  const own = await ownRedis();
  const { pause, resume } = own;
  if (!pause || !resume) return skip("the server cannot be paused");
  const store = open(own.url);
  await store.ready();
  pause();
  const failures = await Promise.allSettled([
    store.get("x"),
    store.extend(["x", "y"], 60),
    store.remove(["x"]),
  ]);
  for (const failure of failures) {
    expect(failure).toMatchObject({
      status: "rejected",
      reason: { ...unavailable, cause: { code: "TIMEOUT" } },
    });
  }
  resume();
  await eventually(() => store.ready());
  expect(await store.create(aRecord(), 60)).toBe(true);
});

test.for([
  ["a wrong password", "redis://:wrong-canary@"],
  ["no password", "redis://"],
])("rejects ready with a ConfigError for %s, and never shows it", async ([, start = ""], { skip }) => {
  const own = await ownRedis(["--requirepass", "right-canary"]);
  if (own.kind !== "redis-server") return skip("the server knows no flags");
  const out = new PassThrough();
  const store = open(own.url.replace("redis://", start), out);
  const error: unknown = await store.ready().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).message).toContain("REDIS_URL");
  await expect(store.get("x")).rejects.toMatchObject(unavailable);
  expect(tellAll(error) + String(out.read())).not.toContain("canary");
});

test("serves with the right password", async ({ skip }) => {
  const own = await ownRedis(["--requirepass", "p@ss:w/rd"]);
  if (own.kind !== "redis-server") return skip("the server knows no flags");
  const store = open(own.url.replace("redis://", "redis://default:p%40ss%3Aw%2Frd@"));
  await store.ready();
  expect(await store.create(aRecord(), 60)).toBe(true);
});

test("calls a full Redis unavailable, and keeps the refused values out of the error", async ({ skip }) => {
  const own = await ownRedis(["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
  if (own.kind !== "redis-server") return skip("the server knows no flags");
  const store = open(own.url);
  await store.ready();
  const error: unknown = await store
    .create(aRecord({ caller: "canary" }), 60)
    .catch((reason: unknown) => reason);
  expect(error).toMatchObject({ ...unavailable, cause: { kind: "refused", code: "OOM" } });
  expect(tellAll(error)).not.toContain("canary");
});
