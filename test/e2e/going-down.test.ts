import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { isAlive, readTree } from "../bench/process-tree.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";

const LIMIT_MS = 20_000;
const RAW_ECHO = [process.execPath, fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url))];
/** As in `main.ts`: what comes within this time of the first signal is the same signal. */
const SAME_SIGNAL_MS = 500;

const isDraining = ({ message }: Record<string, unknown>) => message === "draining";

/** A stream whose raw text is kept too. */
async function openStream(gateway: SpawnedGateway): Promise<TestStream & { text(): string }> {
  const stream = await openTestStream(gateway.url);
  onTestFinished(() => stream.cut());
  let text = "";
  stream.response.on("data", (chunk: string) => (text += chunk));
  return { ...stream, text: () => text };
}

/** Posts a call that takes so long, and resolves once the server was given it. */
async function beginSlowCall(stream: TestStream, id: number, ms: number): Promise<void> {
  const params = { name: "sleep", arguments: { ms } };
  const response = await stream.post({ jsonrpc: "2.0", id, method: "tools/call", params });
  expect(response.status).toBe(202);
  await response.arrayBuffer();
}

/** Newcomers are turned away by the kernel, and so find another instance: none of them gets an answer. */
async function expectRefusal({ url }: SpawnedGateway): Promise<void> {
  const seen: unknown[] = [];
  await eventually(async () => {
    const error = await openTestStream(url).then(
      () => new Error("a stream"),
      (refusal: NodeJS.ErrnoException) => refusal,
    );
    seen.push("code" in error ? error.code : error.message);
    return seen.at(-1) === "ECONNREFUSED";
  }, LIMIT_MS);
  // One that had knocked when the door was closed is reset.
  expect(seen.filter((what) => what !== "ECONNREFUSED" && what !== "ECONNRESET")).toEqual([]);
}

describe("going down", { timeout: 60_000 }, () => {
  let redis: RedisUnderTest;
  let db: Redis;
  let prefixes = 0;
  beforeAll(async () => {
    redis = await startRedis();
    db = new Redis(redis.url);
  });
  afterAll(async () => {
    await db.quit();
    await redis.stop();
  });

  async function start(nodeArgs: string[] = []): Promise<SpawnedGateway & { prefix: string }> {
    const prefix = `down-${(prefixes += 1)}:`;
    const env = { REDIS_URL: redis.url, REDIS_KEY_PREFIX: prefix, DRAIN_SECONDS: "25" };
    const gateway = await spawnGateway({ env, command: RAW_ECHO, nodeArgs });
    onTestFinished(async () => {
      gateway.signal("SIGKILL");
      await gateway.exited;
    });
    return { ...gateway, prefix };
  }

  /** No process, and in the store only sessions that the next instance may claim for two minutes. */
  async function expectOnlyHandedOver(pids: number[], prefix: string, sessions: number): Promise<void> {
    await eventually(() => expect(pids.filter(isAlive)).toEqual([]), LIMIT_MS);
    // The indexes of clients and of callers outlive sessions that were handed over.
    const keys = (await db.keys(`${prefix}*`)).filter((key) => !/:(client|caller):/.test(key));
    expect(keys).toHaveLength(sessions);
    for (const key of keys) {
      expect(JSON.parse((await db.get(key)) ?? "{}")).toMatchObject({ released: true });
      expect(await db.ttl(key)).toBeLessThanOrEqual(120);
    }
  }

  test.each(["SIGTERM", "SIGINT"] as const)(
    "FLT-21 %s: calls in flight are answered, streams end politely, newcomers are refused, sessions are handed over, exit 0",
    async (signal) => {
      const gateway = await start();
      const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(gateway)));
      const busy = streams.slice(0, 5);
      await Promise.all(busy.map((stream) => stream.initialize()));
      await Promise.all(busy.map((stream, index) => beginSlowCall(stream, index, 1000)));
      const pids = readTree(gateway.pid);
      expect(pids, "the gateway and five children").toHaveLength(6);

      gateway.signal(signal);
      expect(await gateway.logged(isDraining)).toMatchObject({ sessions: 20 });
      await expectRefusal(gateway);

      const answers = await Promise.all(busy.map((stream, index) => stream.next(({ id }) => id === index)));
      for (const { result } of answers)
        expect(result).toEqual({ content: [{ type: "text", text: "slept" }] });
      await Promise.all(streams.map((stream) => stream.ended));
      for (const stream of streams) expect(stream.text()).toMatch(/retry: \d+\n\n$/);
      expect(await gateway.exited).toEqual({ code: 0, signal: null });
      expect(gateway.logs().at(-1)).toMatchObject({ message: "gateway closed" });
      await expectOnlyHandedOver(pids, gateway.prefix, 5);
    },
  );

  test("the same signal given on twice, as npm and terminals do, cuts nothing short", async () => {
    const gateway = await start();
    const stream = await openStream(gateway);
    await stream.initialize();
    await beginSlowCall(stream, 1, 1000);
    // Two names, because the kernel joins two of one name that wait for a busy process.
    gateway.signal("SIGINT");
    gateway.signal("SIGTERM");
    expect((await stream.next(({ id }) => id === 1)).result).toBeDefined();
    expect(await gateway.exited).toEqual({ code: 0, signal: null });
  });

  test("a second signal that comes later ends at once, and takes the children along", async () => {
    const gateway = await start();
    const stream = await openStream(gateway);
    await stream.initialize();
    await beginSlowCall(stream, 1, 60_000);
    const pids = readTree(gateway.pid);
    gateway.signal("SIGTERM");
    await gateway.logged(isDraining);
    // The time between the two is what is tested.
    await new Promise((resolve) => setTimeout(resolve, SAME_SIGNAL_MS + 200));
    gateway.signal("SIGTERM");
    // The call would hold the drain for its 25 seconds.
    expect(await gateway.exited).toEqual({ code: 130, signal: null });
    await eventually(() => expect(pids.filter(isAlive)).toEqual([]), LIMIT_MS);
    expect(gateway.logs().some(({ message }) => message === "gateway closed")).toBe(false);
  });

  test.each([
    ["an exception", "throw new Error('injected')"],
    ["a rejection", "void Promise.reject(new Error('injected'))"],
  ])(
    "FLT-24 %s that nobody caught is logged, calls in flight are answered, exit 1",
    async (_what, statement) => {
      const preload = `data:text/javascript,process.on("SIGUSR2", () => { ${statement}; })`;
      const gateway = await start(["--import", preload]);
      const stream = await openStream(gateway);
      await stream.initialize();
      await beginSlowCall(stream, 1, 1000);
      const pids = readTree(gateway.pid);
      gateway.signal("SIGUSR2");
      expect(await gateway.logged(({ level }) => level === "fatal")).toMatchObject({
        message: "unforeseen error: draining",
        err: { message: "injected" },
      });
      expect((await stream.next(({ id }) => id === 1)).result).toBeDefined();
      await stream.ended;
      expect(await gateway.exited).toEqual({ code: 1, signal: null });
      await expectOnlyHandedOver(pids, gateway.prefix, 1);
    },
  );
});
