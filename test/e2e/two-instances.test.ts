import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY } from "../support/start-gateway.ts";

const LIMIT_MS = 20_000;
const UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";
const PING = { jsonrpc: "2.0", id: 1, method: "ping" };

interface Answer {
  status: number;
  retryAfter: string | null;
  body: Record<string, unknown>;
  /** The whole answer but for what differs between any two: the date and the request's own id. */
  likeness: string;
}

/** POSTs a ping to a session through an instance of our choice. */
async function postThrough(
  gateway: SpawnedGateway,
  { endpoint }: { endpoint: string },
  key?: string,
): Promise<Answer> {
  const { pathname, search } = new URL(endpoint);
  const response = await fetch(`${gateway.url}${pathname}${search}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key === undefined ? {} : { "x-api-key": key }) },
    body: JSON.stringify(PING),
  });
  const text = await response.text();
  const requestId = response.headers.get("x-request-id") ?? "";
  const headers = [...response.headers].filter(([name]) => name !== "date");
  return {
    status: response.status,
    retryAfter: response.headers.get("retry-after"),
    body: text.startsWith("{") ? (JSON.parse(text) as Record<string, unknown>) : {},
    likeness: JSON.stringify([response.status, headers, text]).replaceAll(requestId, "<id>"),
  };
}

describe("two instances on one Redis", { timeout: 60_000 }, () => {
  let redis: RedisUnderTest;
  let db: Redis;
  let here: SpawnedGateway;
  let there: SpawnedGateway;

  const spawnOne = (env: Record<string, string> = {}) =>
    spawnGateway({ env: { REDIS_URL: redis.url, STORE_TIMEOUT_MS: "500", HEARTBEAT_SECONDS: "1", ...env } });
  const keyOf = ({ sessionId }: TestStream) => `mcp:session:${sessionId}`;

  async function openStream(gateway: SpawnedGateway): Promise<TestStream> {
    const stream = await openTestStream(gateway.url);
    onTestFinished(() => stream.cut());
    return stream;
  }

  /** Opens a session and waits for its record. */
  async function openRecorded(gateway: SpawnedGateway): Promise<TestStream> {
    const stream = await openStream(gateway);
    await eventually(async () => expect(await db.exists(keyOf(stream))).toBe(1), LIMIT_MS);
    return stream;
  }

  beforeAll(async () => {
    // With a flag of its own it is never a server that others use too, so it may be frozen and emptied.
    redis = await startRedis(["--loglevel", "warning"]);
    db = new Redis(redis.url);
    [here, there] = await Promise.all([spawnOne(), spawnOne()]);
  });
  afterAll(async () => {
    await Promise.all([here, there].map((gateway) => gateway?.end()));
    await db?.quit();
    await redis?.stop();
  });

  test("an open stream's record is there as readable JSON that lives for an hour, and holds no secret", async () => {
    const stream = await openRecorded(here);
    const text = (await db.get(keyOf(stream))) ?? "";
    expect(JSON.parse(text)).toMatchObject({
      v: 1,
      id: stream.sessionId,
      owner: here.instanceId,
      caller: "default",
      transport: "sse",
    });
    expect(text).not.toContain(KEY);
    expect(text).not.toContain(new URL(stream.endpoint).searchParams.get("token"));
    const ttl = await db.ttl(keyOf(stream));
    expect(ttl).toBeLessThanOrEqual(3600);
    expect(ttl).toBeGreaterThan(3500);
    stream.cut();
    await eventually(async () => expect(await db.exists(keyOf(stream))).toBe(0), LIMIT_MS);
  });

  test("a POST on the wrong instance gets the promised 503, with the key and with the session's token", async () => {
    const stream = await openRecorded(here);
    for (const key of [KEY, undefined]) {
      const { status, retryAfter, body } = await postThrough(there, stream, key);
      expect({ status, retryAfter }).toEqual({ status: 503, retryAfter: "1" });
      expect(body).toMatchObject({
        error: "Service temporarily unavailable",
        reason: "session_elsewhere",
        requestId: expect.any(String) as string,
      });
    }
    expect((await postThrough(here, stream, KEY)).status).toBe(202);
  });

  test("another caller's key gets on both instances, to the byte, the 404 of a session that never was", async () => {
    const stream = await openRecorded(here);
    const unknown = { endpoint: stream.endpoint.replace(stream.sessionId, UNKNOWN_ID) };
    for (const gateway of [here, there]) {
      const foreign = await postThrough(gateway, stream, OTHER_KEY);
      expect(foreign.status).toBe(404);
      expect(foreign.body).toMatchObject({ error: "Invalid session", reason: "session_not_found" });
      expect(foreign.likeness).toBe((await postThrough(gateway, unknown, OTHER_KEY)).likeness);
    }
  });

  test("after the owner's kill -9 a POST gets 503 while its lease stands, then another instance goes on with the session", async () => {
    const owner = await spawnOne();
    const stream = await openRecorded(owner);
    owner.signal("SIGKILL");
    await owner.exited;
    await stream.ended;
    expect((await postThrough(there, stream, KEY)).status).toBe(503);
    const lease = `mcp:instance:${owner.instanceId}`;
    const left = await db.ttl(lease);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(90);
    // Its expiry in place of 90 seconds of waiting.
    await db.pexpire(lease, 1);
    const answer = await eventually(async () => {
      const seen = await postThrough(there, stream, KEY);
      return seen.status !== 503 && seen;
    }, LIMIT_MS);
    expect(answer).toMatchObject({ status: 202 });
    expect(JSON.parse((await db.get(keyOf(stream))) ?? "{}")).toMatchObject({
      owner: there.instanceId,
      epoch: 2,
    });
  });

  test("while Redis hangs local sessions work on, and others get 503 store_unavailable, never 404", async ({
    skip,
  }) => {
    if (redis.pause === undefined || redis.resume === undefined) return skip("this Redis cannot be frozen");
    const stream = await openRecorded(here);
    await stream.initialize();
    redis.pause();
    try {
      for (let id = 1; id <= 20; id += 1) {
        const [local, foreign] = await Promise.all([
          stream.call(id, "ping"),
          postThrough(there, { endpoint: stream.endpoint.replace(stream.sessionId, UNKNOWN_ID) }, KEY),
        ]);
        expect(local.result).toEqual({});
        expect(foreign).toMatchObject({
          status: 503,
          retryAfter: "2",
          body: { error: "Service temporarily unavailable", reason: "store_unavailable" },
        });
      }
      // A new session needs the store no more than an old one.
      expect((await (await openStream(here)).initialize()).result).toBeDefined();
      expect((await fetch(`${here.url}/health`)).status).toBe(200);
      expect((await fetch(`${here.url}/health/ready`)).status).toBe(503);
    } finally {
      redis.resume();
    }
    await eventually(
      async () => expect((await fetch(`${here.url}/health/ready`)).status).toBe(200),
      LIMIT_MS,
    );
    await eventually(async () => {
      expect((await postThrough(there, stream, KEY)).body["reason"]).toBe("session_elsewhere");
    }, LIMIT_MS);
  });

  test.each([
    ["every heartbeat", { SESSION_EXTEND: "always" }],
    ["half of the expiry", { SESSION_EXTEND: "late", SESSION_TTL_SECONDS: "4" }],
  ])("a record that vanished is written again within %s", async (_when, env) => {
    const gateway = await spawnOne(env);
    onTestFinished(() => gateway.end());
    const stream = await openRecorded(gateway);
    const record = await db.get(keyOf(stream));
    await db.flushall();
    await eventually(async () => expect(await db.get(keyOf(stream))).toBe(record), LIMIT_MS);
  });

  test("after Redis lost everything, a POST on the wrong instance gets 503 again and not the 404 of a dead owner", async () => {
    const gateway = await spawnOne({ SESSION_EXTEND: "always" });
    onTestFinished(() => gateway.end());
    const stream = await openRecorded(gateway);
    await db.flushall();
    await eventually(async () => expect(await db.exists(keyOf(stream))).toBe(1), LIMIT_MS);
    expect(await postThrough(there, stream, KEY)).toMatchObject({ status: 503 });
  });
});
