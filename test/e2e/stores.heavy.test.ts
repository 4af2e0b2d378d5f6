import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi, type TestContext } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { hasRedisServer, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { makeAuthority, startTlsRedis } from "../support/redis-tls.ts";
import { runProgram, spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { openRaw } from "../faults/raw-session.ts";
import { sendTo } from "../support/streamable-client.ts";

// The short form of two of the failure suite's stories; `npm run test:faults` plays all of them in full.
import "../faults/fallback.story.ts";
import "../faults/file.story.ts";

const UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";

type Finished = TestContext["onTestFinished"];

async function start(env: Record<string, string>, onFinished: Finished): Promise<SpawnedGateway> {
  const gateway = await spawnGateway({ env });
  onFinished(() => gateway.end());
  return gateway;
}

async function open(
  url: string,
  onFinished: Finished,
  headers?: Record<string, string>,
): Promise<TestStream> {
  const stream = await openTestStream(url, headers && { headers });
  onFinished(() => stream.cut());
  await stream.initialize();
  return stream;
}

/** Opens a session on the first, and asks the other for it, which knows of it from the store alone. */
async function relays(gateways: readonly SpawnedGateway[], onFinished: Finished): Promise<void> {
  const [owner, other] = gateways as [SpawnedGateway, SpawnedGateway];
  const stream = await open(owner.url, onFinished);
  const { pathname, search } = new URL(stream.endpoint);
  await eventually(async () => {
    const answer = await fetch(`${other.url}${pathname}${search}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: "relayed", method: "ping" }),
    });
    return answer.status === 202;
  });
  await stream.next(({ id, result }) => id === "relayed" && result !== undefined);
}

const messagesOf = (gateway: SpawnedGateway) => gateway.logs().map(({ message }) => String(message));
const storeOf = async ({ url }: { url: string }) => (await fetch(`${url}/health/store`)).json();

describe.concurrent("a real process with each store", () => {
  test("a directory: the gateway says so, and is well", async ({ expect, onTestFinished }) => {
    const directory = await mkdtemp(join(tmpdir(), "stores-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    const gateway = await start({ SESSION_STORE: "file", SESSION_DIR: directory }, onTestFinished);
    expect(messagesOf(gateway)).toEqual(["Redis Sessions: DISABLED (file)", "gateway listening"]);
    expect(await storeOf(gateway)).toMatchObject({ status: "ok", store: "file" });
  });

  test.runIf(hasRedisServer)(
    "Redis over TLS with an authority of its own, for store and relay; the older names are understood and told once",
    async ({ expect, onTestFinished }) => {
      const authority = await makeAuthority();
      onTestFinished(() => authority.remove());
      const redis = await startTlsRedis(authority, await authority.issue("IP:127.0.0.1"));
      onTestFinished(() => redis.stop());
      const older = {
        REDIS_URL: `redis://127.0.0.1:${redis.tlsPort}`,
        REDIS_TLS: "true",
        REDIS_CA_FILE: authority.caFile,
        REDIS_PREFIX: "older:",
        REDIS_SESSION_TTL: "600",
        REDIS_MAX_RETRIES: "3",
        SESSION_RELAY: "on",
        SESSION_RELAY_DRIVER: "redis",
      };
      const gateways = await Promise.all([start(older, onTestFinished), start(older, onTestFinished)]);
      await relays(gateways, onTestFinished);
      const [gateway] = gateways;
      expect(await storeOf(gateway)).toMatchObject({ status: "ok", store: "redis", reachable: true });
      for (const name of ["REDIS_TLS", "REDIS_PREFIX", "REDIS_SESSION_TTL", "REDIS_MAX_RETRIES"])
        expect(messagesOf(gateway).filter((message) => message.startsWith(`${name} `))).toHaveLength(1);
      const { REDIS_CA_FILE } = older;
      const listed = await runProgram({
        args: ["sessions", "list", "--json"],
        env: {
          REDIS_URL: `rediss://127.0.0.1:${redis.tlsPort}`,
          REDIS_CA_FILE,
          REDIS_KEY_PREFIX: "older:",
        },
      });
      expect(listed).toMatchObject({ code: 0, stderr: "" });
      expect(listed.stdout).toContain(gateway.instanceId);
    },
  );

  test.runIf(hasRedisServer)(
    "three nodes of a cluster: sessions are found and relayed across instances",
    async ({ expect, onTestFinished }) => {
      const cluster = await startRedisCluster();
      onTestFinished(() => cluster.stop());
      const env = { REDIS_URL: cluster.url, SESSION_RELAY: "on", SESSION_RELAY_DRIVER: "redis" };
      const gateways = await Promise.all([start(env, onTestFinished), start(env, onTestFinished)]);
      await relays(gateways, onTestFinished);
      expect(await storeOf(gateways[0])).toMatchObject({ status: "ok", store: "redis" });
    },
  );
});

describe("the command line beside a gateway that serves", () => {
  let redis: RedisUnderTest;
  let gateway: TestGateway;
  /** In this process, so that its next look at the lease need not be waited for. */
  beforeAll(async () => {
    redis = await startRedis(["--loglevel", "warning"]);
    gateway = await startTestGateway({ env: { REDIS_URL: redis.url, LOG_LEVEL: "info" } });
  });
  afterAll(async () => {
    await gateway.close();
    await redis.stop();
  });

  const sessions = async (...args: string[]) => {
    const { code, stdout, stderr } = await runProgram({
      args: ["sessions", ...args],
      env: { REDIS_URL: redis.url },
    });
    return { code, stderr, stdout };
  };

  /** Runs a command that waits for the owner, while the owner's clock jumps to its next renewal, again and again. */
  async function whileTimeFlies<T>(work: Promise<T>): Promise<T> {
    const real = performance.now.bind(performance);
    let ahead = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => real() + ahead);
    const timer = setInterval(() => (ahead += 31_000), 500);
    try {
      return await work;
    } finally {
      clearInterval(timer);
      clock.mockRestore();
    }
  }
  const endOf = (id: string) =>
    gateway.logs().find(({ event, session }) => event === "session_closed" && session === id)?.["end"];

  test("lists and shows sessions, and closes one, and all of a caller", async () => {
    const one = await open(gateway.url, onTestFinished);
    const two = await open(gateway.url, onTestFinished);
    const others = await open(gateway.url, onTestFinished, { "x-api-key": OTHER_KEY });
    const streamable = await openRaw(gateway.url, "streamable-one");
    const ids = [one.sessionId, two.sessionId, others.sessionId, streamable];
    const [listed, ofOther, shown, unknown] = await Promise.all([
      sessions("list", "--json"),
      sessions("list", "--caller", "other"),
      sessions("show", one.sessionId),
      sessions("show", UNKNOWN_ID),
    ]);
    expect(listed.code).toBe(0);
    for (const id of ids) expect(listed.stdout).toContain(id);
    expect(ofOther.stdout).toContain(others.sessionId);
    expect(ofOther.stdout).not.toContain(one.sessionId);
    expect(shown).toMatchObject({ code: 0 });
    expect(shown.stdout).toContain(gateway.gateway.instanceId);
    expect(unknown.code).toBe(1);

    const [closed, closedToo, all] = await whileTimeFlies(
      Promise.all([
        sessions("close", one.sessionId),
        sessions("close", streamable),
        sessions("close", "--caller", "other"),
      ]),
    );
    expect([closed.code, closedToo.code, all.code]).toEqual([0, 0, 0]);
    expect(closed.stdout).toContain("closed by its owner");
    await Promise.all([one.ended, others.ended]);
    expect([one.sessionId, streamable, others.sessionId].map(endOf)).toEqual(Array(3).fill("operator"));
    const gone = await sendTo(gateway.url, {
      headers: { "mcp-session-id": streamable },
      body: { jsonrpc: "2.0", id: 2, method: "ping" },
    });
    expect(gone.status).toBe(404);
    expect(await two.call("untouched", "ping")).toMatchObject({ result: {} });
  });
});
