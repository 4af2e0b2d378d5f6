import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { isAlive, readTree } from "../bench/process-tree.ts";
import { eventually } from "../support/eventually.ts";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { KEY, startTestGateway } from "../support/start-gateway.ts";

const QUIET_MS = 30_000;
const RAW_ECHO = [process.execPath, fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url))];
const HEADERS = { "X-API-Key": KEY, Accept: "text/event-stream", "Content-Type": "application/json" };

/** Ways to leave; none says goodbye. */
const CUTS = ["closes", "resets", "leaves before the first event"] as const;

/** Opens a stream on a socket of its own, perhaps initializes, and is gone. */
async function openAndCut(port: number, cut: (typeof CUTS)[number], initializes: boolean): Promise<void> {
  const connection = openRaw(port);
  connection.send(rawRequest("GET /mcp/sse", HEADERS));
  if (cut !== "leaves before the first event") {
    await connection.until("event: endpoint");
    await connection.until("&token=");
    await connection.until("\n\n");
    if (initializes) {
      const endpoint = /data: (\S+)\n\n/.exec(connection.rest())?.[1] ?? "";
      const clientInfo = { name: "leaks", version: "1" };
      const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
      const body = JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params });
      expect((await exchange(port, rawRequest(`POST ${endpoint}`, HEADERS, body))).status).toBe(202);
    }
  } else if (connection.socket.connecting) {
    await new Promise((resolve) => connection.socket.once("connect", resolve));
  }
  if (cut === "resets") connection.socket.resetAndDestroy();
  else connection.close();
}

/** Half of them are initialized; a third goes in each way. `atOnce` keeps within the limits. */
async function openAndCutMany(port: number, count: number, atOnce: number): Promise<void> {
  for (let begun = 0; begun < count; begun += atOnce) {
    await Promise.all(
      Array.from({ length: Math.min(atOnce, count - begun) }, (_, index) =>
        openAndCut(port, CUTS[(begun + index) % CUTS.length] ?? "closes", (begun + index) % 2 === 0),
      ),
    );
  }
}

const sessionsOf = async (port: number) => {
  const { body } = await exchange(port, rawRequest("GET /health/ready"));
  return (JSON.parse(body) as { sessions: number }).sessions;
};
const openFiles = ({ pid }: SpawnedGateway) => readdirSync(`/proc/${pid}/fd`).length;

describe("after 500 opens and abrupt closes nothing is left", () => {
  let redis: RedisUnderTest;
  let db: Redis;
  beforeAll(async () => {
    redis = await startRedis();
    db = new Redis(redis.url);
  });
  afterAll(async () => {
    await db.quit();
    await redis.stop();
  });

  test.each([
    ["on the built-in server", 500, 40, undefined],
    ["on child processes", 120, 20, RAW_ECHO],
  ] as const)(
    "%s: %i sessions leave no session, process, key or open file",
    async (name, count, atOnce, command) => {
      const prefix = `leaks-${count}:`;
      const gateway = await spawnGateway({
        env: {
          REDIS_URL: redis.url,
          REDIS_KEY_PREFIX: prefix,
          MAX_CHILDREN: "50",
          SESSION_ORPHAN_GRACE: "1",
        },
        ...(command === undefined ? {} : { command }),
      });
      onTestFinished(() => gateway.end());
      const quiet = async () => {
        expect(await sessionsOf(gateway.port)).toBe(0);
        expect(readTree(gateway.pid).filter(isAlive)).toEqual([gateway.pid]);
        // One key a client remembers how it introduced itself, and expires.
        const keys = (await db.keys(`${prefix}*`)).filter((key) => !key.startsWith(`${prefix}client:`));
        expect(keys).toEqual([`${prefix}instance:${gateway.instanceId}`]);
      };
      // What is opened once and kept, such as the connection to Redis, is not a leak.
      await openAndCutMany(gateway.port, 6, 6);
      await eventually(quiet, QUIET_MS);
      const filesBefore = openFiles(gateway);

      await openAndCutMany(gateway.port, count, atOnce);
      await eventually(async () => {
        await quiet();
        expect(Math.abs(openFiles(gateway) - filesBefore)).toBeLessThanOrEqual(2);
      }, QUIET_MS);
      const closed = gateway.logs().filter(({ event }) => event === "session_closed").length;
      const opened = gateway.logs().filter(({ event }) => event === "session_opened").length;
      expect(closed).toBe(opened);
      expect(opened, "those that left early may not have been seen at all").toBeGreaterThanOrEqual(count / 2);
      process.stderr.write(
        `${name}: ${opened} sessions opened and cut; open files ${filesBefore} before, ${openFiles(gateway)} after\n`,
      );
    },
    120_000,
  );

  test("no timer, socket or other handle of theirs stays in the process", async () => {
    const gateway = await startTestGateway({ env: { LOG_LEVEL: "silent", SESSION_ORPHAN_GRACE: "1" } });
    onTestFinished(() => gateway.close());
    const handles = () => {
      const counts: Record<string, number> = {};
      for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
      return counts;
    };
    await openAndCutMany(gateway.port, 6, 6);
    await eventually(async () => expect(await sessionsOf(gateway.port)).toBe(0), QUIET_MS);
    const before = handles();
    await openAndCutMany(gateway.port, 100, 20);
    await eventually(async () => {
      expect(await sessionsOf(gateway.port)).toBe(0);
      for (const [kind, count] of Object.entries(handles()))
        expect(count, kind).toBeLessThanOrEqual((before[kind] ?? 0) + 2);
    }, QUIET_MS);
  }, 60_000);

  test("LIM-12 refused opens leave neither a record nor a session", async () => {
    const prefix = "leaks-refused:";
    const gateway = await spawnGateway({
      env: { REDIS_URL: redis.url, REDIS_KEY_PREFIX: prefix, MAX_SESSIONS_PER_KEY: "1" },
    });
    onTestFinished(() => gateway.end());
    const held = openRaw(gateway.port);
    onTestFinished(() => held.close());
    held.send(rawRequest("GET /mcp/sse", HEADERS));
    await held.until("event: endpoint");
    await eventually(async () => expect(await db.keys(`${prefix}session:*`)).toHaveLength(1), QUIET_MS);
    for (let attempt = 0; attempt < 50; attempt += 1)
      expect((await exchange(gateway.port, rawRequest("GET /mcp/sse", HEADERS))).status).toBe(429);
    expect(await sessionsOf(gateway.port)).toBe(1);
    expect(await db.keys(`${prefix}session:*`)).toHaveLength(1);
  }, 60_000);
});
