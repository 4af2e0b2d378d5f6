import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { runProgram, spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";

describe("a start with a store says which it has", () => {
  let redis: RedisUnderTest;
  let upstash: UpstashUnderTest;
  let upstashEnv: Record<string, string>;
  beforeAll(async () => {
    redis = await startRedis();
    upstash = await startUpstash({ redisUrl: redis.url });
    upstashEnv = { UPSTASH_REDIS_REST_URL: upstash.url, UPSTASH_REDIS_REST_TOKEN: upstash.token };
  });
  afterAll(async () => {
    await upstash.close();
    await redis.stop();
  });

  const ENABLED = ["✓ Redis session manager initialized", "Redis Sessions: ENABLED", "gateway listening"];
  const messagesOf = (gateway: SpawnedGateway) => gateway.logs().map(({ message }) => message);
  async function start(env: Record<string, string>): Promise<SpawnedGateway> {
    const gateway = await spawnGateway({ env });
    onTestFinished(() => gateway.end());
    return gateway;
  }

  test("Upstash", async () => {
    const gateway = await start(upstashEnv);
    expect(messagesOf(gateway)).toEqual(ENABLED);
    expect(gateway.stdout()).not.toContain(upstash.token);
  });

  test("Redis", async () => {
    expect(messagesOf(await start({ REDIS_URL: redis.url }))).toEqual(ENABLED);
  });

  test("both: Upstash, and a word on it", async () => {
    const gateway = await start({ ...upstashEnv, REDIS_URL: redis.url });
    expect(messagesOf(gateway)).toEqual([
      "Both Upstash and REDIS_URL are set: Upstash is used. Set SESSION_STORE to choose.",
      ...ENABLED,
    ]);
    expect(gateway.logs()[1]).toMatchObject({ store: "upstash" });
  });

  test("a wrong Upstash token ends the start with exit code 2 and plain words", async () => {
    const { code, stderr } = await runProgram({
      env: { HOST: "127.0.0.1", ...upstashEnv, UPSTASH_REDIS_REST_TOKEN: "canary-token" },
      args: ["--port", "0"],
    });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^mcp-sse-gateway cannot start:\n {2}UPSTASH_REDIS_REST_TOKEN: .+\n$/);
    expect(stderr).not.toContain("canary");
  });

  test("a read-only Upstash token, good for a ping and no session, ends it the same way", async () => {
    const { code, stderr } = await runProgram({
      env: { HOST: "127.0.0.1", ...upstashEnv, UPSTASH_REDIS_REST_TOKEN: upstash.readOnlyToken },
      args: ["--port", "0"],
    });
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^mcp-sse-gateway cannot start:\n {2}The upstash store refuses to be written to\. .+\n$/,
    );
    expect(stderr).not.toContain(upstash.readOnlyToken);
  });

  test("a store that is away does not keep the program from starting", async () => {
    const gateway = await start({ REDIS_URL: "redis://127.0.0.1:1", STORE_TIMEOUT_MS: "100" });
    expect(messagesOf(gateway)).toEqual(
      expect.arrayContaining([
        "session store cannot be reached yet: starting without, and trying on",
        "Redis Sessions: ENABLED",
      ]),
    );
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/health/ready`)).status).toBe(503);
  });
});
