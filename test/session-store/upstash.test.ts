import { randomUUID } from "node:crypto";
import { PassThrough } from "node:stream";

import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { freePort, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { startUpstash, type Fault, type UpstashUnderTest } from "../support/upstash-server.ts";
import { keysOf } from "./backend.ts";
import { describeSessionStore } from "./conformance.ts";
import { aLease, aRecord, tellAll } from "./records.ts";

const TTL = 60;
const TOKEN = "canary-token";

let redis: RedisUnderTest;
let raw: RespConnection;
let upstash: UpstashUnderTest;

beforeAll(async () => {
  redis = await startRedis();
  raw = await openResp(redis.url);
  upstash = await startUpstash({ redisUrl: redis.url, token: TOKEN });
});
beforeEach(() => {
  upstash.heal();
  upstash.limitCommands(undefined);
  upstash.resetBilled();
});
afterAll(async () => {
  await upstash.close();
  raw.close();
  await redis.stop();
});

interface Opening {
  url?: string;
  token?: string;
  deadlineMs?: number;
  readAgainMs?: number;
  out?: PassThrough;
}

function open({ out = new PassThrough(), ...over }: Opening = {}): SessionStore {
  const log = createLog("debug", out);
  const settings = { url: upstash.url, token: TOKEN, prefix: "mcp:", deadlineMs: 1000, log, ...over };
  const store = openUpstashSessionStore(settings);
  onTestFinished(() => store.close());
  return store;
}

/** The error that `work` rejects with. */
const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail("it should have rejected"),
    (error: unknown) => error,
  );

describeSessionStore("Upstash", "outside", async (prefix) => {
  const server = await startUpstash({ redisUrl: redis.url });
  const settings = {
    url: server.url,
    token: server.token,
    prefix,
    deadlineMs: 2000,
    log: createLog("silent"),
  };
  const [one, other] = [openUpstashSessionStore(settings), openUpstashSessionStore(settings)];
  await Promise.all([one.ready(), other.ready()]);
  return {
    one,
    other,
    outside: {
      ...keysOf(raw),
      unplug: server.close,
    },
    end: server.close,
  };
});

const [stored, free] = [aRecord(), aRecord()];
const ids = Array.from({ length: 500 }, () => randomUUID());

test.each<[string, (store: SessionStore) => Promise<unknown>, Record<string, number>]>([
  ["create", (store) => store.create(free, TTL), { SET: 1 }],
  ["create of a taken id", (store) => store.create(stored, TTL), { SET: 1 }],
  ["get", (store) => store.get(stored.id), { GET: 1 }],
  ["get of nothing", (store) => store.get(randomUUID()), { GET: 1 }],
  ["replace", (store) => store.replace(stored, stored, TTL), { SET: 1 }],
  ["extend of three", (store) => store.extend([stored.id, "a", "b"], TTL), { GETEX: 3 }],
  ["extend of none", (store) => store.extend([], TTL), {}],
  ["remove of 500", (store) => store.remove(ids), { DEL: 1 }],
  ["remove of 501", (store) => store.remove([...ids, "x"]), { DEL: 2 }],
  ["removeIf", (store) => store.removeIf(free), { DELEX: 1 }],
  ["putLease", (store) => store.putLease(aLease(), TTL), { SET: 1 }],
  ["getLease", (store) => store.getLease("x"), { GET: 1 }],
  ["removeLease", (store) => store.removeLease("x"), { DEL: 1 }],
  ["ready", (store) => store.ready(), {}],
])("is billed for %s as published", async (_, verb, bill) => {
  const store = open();
  await store.create(stored, TTL);
  upstash.resetBilled();
  await verb(store);
  expect(upstash.billedByCommand()).toEqual(bill);
});

test("sends a whole extend in one HTTP request", async () => {
  const store = open();
  const before = upstash.requests().length;
  await store.extend(ids, TTL);
  expect(
    upstash
      .requests()
      .slice(before)
      .map(({ path }) => path),
  ).toEqual(["/pipeline"]);
});

test("keeps its connections open between calls, and shows the newest sync token", async () => {
  const server = await startUpstash({ redisUrl: redis.url, token: TOKEN });
  onTestFinished(() => server.close());
  const store = open({ url: server.url });
  for (let call = 0; call < 10; call += 1) await store.getLease("x");
  // The pool may open a second one while the first still settles.
  expect(server.connections()).toBeLessThanOrEqual(2);
  const shown = server.requests().map(({ headers }) => headers["upstash-sync-token"]);
  expect(shown[0]).toBeUndefined();
  expect(new Set(shown).size).toBe(10);
});

test("finds its way below a path, and through white space round URL and token", async () => {
  const store = open({ url: ` ${upstash.url}/ `, token: `${TOKEN}\n` });
  await expect(store.ready()).resolves.toBeUndefined();
});

test.each([
  ["before it was carried out", { kind: "drop", executed: false }, false],
  ["after it was carried out", { kind: "drop", executed: true }, true],
  ["by a reset after it was carried out", { kind: "reset", executed: true }, true],
  ["by silence after it was carried out", { kind: "hang", executed: true }, true],
] satisfies [string, Fault, boolean][])(
  "never sends a create again whose answer was lost %s",
  async (_, fault, done) => {
    const store = open({ deadlineMs: 300 });
    const record = aRecord();
    // A connection that is open already, because libraries like to repeat what failed on an old one.
    await store.ready();
    const before = upstash.requests().length;
    upstash.fail(() => fault);
    expect(await failureOf(store.create(record, TTL))).toMatchObject({ reason: "store_unavailable" });
    upstash.heal();
    expect(await store.get(record.id)).toEqual(done ? record : undefined);
    expect(upstash.requests()).toHaveLength(before + 2);
  },
);

const html = {
  kind: "answer",
  status: 502,
  body: "<html>canary-body</html>",
  contentType: "text/html",
} as const;

test.each<[string, Fault, { kind: string; code: string }]>([
  [
    "401",
    { kind: "answer", status: 401, body: '{"error":"Unauthorized"}' },
    { kind: "credentials", code: "HTTP_401" },
  ],
  [
    "429",
    { kind: "answer", status: 429, body: '{"error":"ERR too many canary-body"}' },
    { kind: "unreachable", code: "HTTP_429" },
  ],
  [
    "500 with an error",
    { kind: "answer", status: 500, body: '{"error":"ERR canary-body"}' },
    { kind: "unreachable", code: "HTTP_500" },
  ],
  [
    "503 with a result",
    { kind: "answer", status: 503, body: '{"result":"OK"}' },
    { kind: "unreachable", code: "HTTP_503" },
  ],
  ["an HTML 502", html, { kind: "unreachable", code: "HTTP_502" }],
  ["an HTML 200", { ...html, status: 200 }, { kind: "unreachable", code: "BAD_ANSWER" }],
  ["a lone null", { kind: "answer", status: 200, body: "null" }, { kind: "unreachable", code: "BAD_ANSWER" }],
  [
    "an answer without a result",
    { kind: "answer", status: 200, body: "{}" },
    { kind: "unreachable", code: "TypeError" },
  ],
  ["a cut answer", { kind: "truncate" }, { kind: "unreachable", code: "BAD_ANSWER" }],
  [
    "the quota",
    { kind: "answer", status: 400, body: '{"error":"ERR max requests limit exceeded. Limit: 500000"}' },
    { kind: "quota", code: "QUOTA" },
  ],
  [
    "the daily quota with status 429",
    { kind: "answer", status: 429, body: '{"error":"ERR max daily request limit exceeded. Limit: 10000"}' },
    { kind: "quota", code: "QUOTA" },
  ],
  [
    "a refusal that repeats the value",
    { kind: "answer", status: 400, body: '{"error":"ERR unknown command \'x\', with args canary-value"}' },
    { kind: "refused", code: "ERR" },
  ],
  ["a hang", { kind: "hang", executed: false }, { kind: "unreachable", code: "TIMEOUT" }],
  ["a closed connection", { kind: "drop", executed: false }, { kind: "unreachable", code: "UND_ERR_SOCKET" }],
  ["a reset", { kind: "reset", executed: false }, { kind: "unreachable", code: "ECONNRESET" }],
])("turns %s into store_unavailable, and shows no token, value, body or address", async (_, fault, cause) => {
  const out = new PassThrough();
  const store = guardSessionStore(open({ deadlineMs: 300, out }), {
    deadlineMs: 1000,
    log: createLog("trace", out),
  });
  upstash.fail(() => fault);
  const record = aRecord({ caller: "canary-value" });
  for (const verb of [() => store.create(record, TTL), () => store.extend(["canary-value"], TTL)]) {
    const error = await failureOf(verb());
    expect(error).toMatchObject({ reason: "store_unavailable", cause: { name: "StoreFailure" } });
    expect(tellAll(error)).not.toMatch(/canary-|127\.0\.0\.1:/);
  }
  expect(await failureOf(store.create(record, TTL))).toMatchObject({ cause: { kind: cause.kind } });
  const error = await failureOf(open({ deadlineMs: 300 }).create(record, TTL));
  expect(error).toMatchObject({ reason: "store_unavailable", cause });
  for (let call = 0; call < 5; call += 1) await failureOf(store.create(record, TTL));
  expect(String(out.read() ?? "")).not.toMatch(/canary|127\.0\.0\.1/);
});

test("calls a refused connection and an unknown host unavailable", async () => {
  const closed = open({ url: `http://127.0.0.1:${await freePort()}` });
  expect(await failureOf(closed.get("x"))).toMatchObject({
    cause: { kind: "unreachable", code: "ECONNREFUSED" },
  });
  expect(await failureOf(closed.ready())).toMatchObject({ reason: "store_unavailable" });
  const nowhere = open({ url: "https://canary.invalid" });
  const error = await failureOf(nowhere.get("x"));
  expect(error).toMatchObject({ reason: "store_unavailable", cause: { kind: "unreachable" } });
  expect(tellAll(error)).not.toContain("canary");
});

test("rejects ready with a ConfigError that names the setting when the token is wrong", async () => {
  const error = await failureOf(open({ token: "canary-wrong" }).ready());
  expect(error).toBeInstanceOf(ConfigError);
  expect(tellAll(error)).toContain("UPSTASH_REDIS_REST_TOKEN");
  expect(tellAll(error)).not.toContain("canary");
});

test("says that a read-only token is refused", async () => {
  const error = await failureOf(open({ token: upstash.readOnlyToken }).create(aRecord(), TTL));
  expect(error).toMatchObject({
    reason: "store_unavailable",
    cause: { kind: "credentials", code: "NOPERM" },
  });
});

test.each(["", "canary", "redis://canary:6379", "eu1-canary.upstash.io"])("refuses the URL %j", (url) => {
  expect(() => open({ url })).toThrow(ConfigError);
  expect(() => open({ url })).toThrow(/^UPSTASH_REDIS_REST_URL(?!.*canary)/);
});

test("asks once more for a record that a lagging region does not know yet, when told to", async () => {
  const record = aRecord();
  const store = open({ readAgainMs: 1 });
  await store.create(record, TTL);
  const faults: (Fault | undefined)[] = [{ kind: "stale" }];
  upstash.fail(() => faults.shift());
  upstash.resetBilled();
  expect(await store.get(record.id)).toEqual(record);
  expect(upstash.billed()).toBe(2);
  expect(await store.get(record.id)).toEqual(record);
  expect(upstash.billed()).toBe(3);
});

test("serves again once the quota is there again", async () => {
  const store = open();
  upstash.limitCommands(0);
  expect(await failureOf(store.create(aRecord(), TTL))).toMatchObject({ cause: { kind: "quota" } });
  expect(await failureOf(store.extend(["x"], TTL))).toMatchObject({ cause: { kind: "quota" } });
  upstash.limitCommands(undefined);
  expect(await store.create(aRecord(), TTL)).toBe(true);
});
