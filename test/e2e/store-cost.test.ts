import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openSessionStore } from "../../src/backend.ts";
import { scanMessage } from "../../src/protocol/json-rpc.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";
import { LIMITS, silent } from "../session/scripted.ts";

const HOUR_SECONDS = 3600;
const SESSIONS = 10;
/** The instance's lease, renewed every 30 seconds. */
const LEASE_COMMANDS = 120;

describe("what idle sessions cost on Upstash in an hour", () => {
  let redis: RedisUnderTest;
  let upstash: UpstashUnderTest;
  beforeAll(async () => {
    redis = await startRedis();
    upstash = await startUpstash({ redisUrl: redis.url });
  }, 30_000);
  afterAll(async () => {
    await upstash.close();
    await redis.stop();
  });

  /** Billed commands of an hour, in which a simulated clock beats once a second. */
  async function billOfAnHour(extend: "late" | "always", count: number): Promise<Record<string, number>> {
    const { url, token } = upstash;
    const store = openSessionStore(
      { kind: "upstash", url, token, prefix: `cost-${extend}-${count}:`, timeoutMs: 5000 },
      silent,
    );
    onTestFinished(() => store.close());
    let clock = 0;
    const sessions = new Sessions({
      instanceId: "i-cost",
      store,
      upstream: createBuiltinUpstream({ name: "default", createServer: createDemoServer, log: silent }),
      maxSessions: count,
      maxSessionsPerCaller: count,
      // A session without any message for half an hour would be ended; here each lives through the hour.
      limits: { ...LIMITS, idleMs: Infinity },
      ttlSeconds: 3600,
      extend,
      log: silent,
      now: () => clock,
    });
    await Promise.all(Array.from({ length: count }, () => openInitialized(sessions)));
    await sessions.beat();
    // Every session's creation and its `initialize`, and the lease.
    await eventually(() => expect(upstash.billed()).toBe(2 * count + 1), 20_000);

    upstash.resetBilled();
    for (let second = 1; second <= HOUR_SECONDS; second += 1) {
      clock = second * 1000;
      await sessions.beat();
    }
    expect(sessions.count).toBe(count);
    const bill = { ...upstash.billedByCommand(), total: upstash.billed() };
    await sessions.close(() => 1000);
    upstash.resetBilled();
    return bill;
  }

  test.each([
    ["late", 3],
    ["always", 120],
  ] as const)(
    "SESSION_EXTEND=%s: at most %i commands a session beyond the lease",
    async (extend, most) => {
      const { total: lease = 0 } = await billOfAnHour(extend, 0);
      expect(lease).toBe(LEASE_COMMANDS);
      const bill = await billOfAnHour(extend, SESSIONS);
      const perSession = ((bill["total"] ?? 0) - lease) / SESSIONS;
      process.stderr.write(
        `SESSION_EXTEND=${extend}: ${perSession} commands an hour and session, ${lease} for the lease\n`,
      );
      expect(perSession).toBeGreaterThan(0);
      expect(perSession).toBeLessThanOrEqual(most);
      if (extend === "always")
        expect(perSession, "the literal setting extends at every heartbeat").toBe(most);
    },
    120_000,
  );
});

async function openInitialized(sessions: Sessions): Promise<void> {
  const session = sessions.open({ caller: "default", userAgent: "e2e", address: "127.0.0.1" });
  let answered = () => {};
  const answer = new Promise<void>((resolve) => (answered = resolve));
  session.attach({
    write: () => (answered(), true),
    ping: () => {},
    pendingBytes: 0,
    end: () => {},
    cut: () => {},
  });
  const clientInfo = { name: "idle", version: "1" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  const message = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params }));
  const envelope = scanMessage(message);
  if (typeof envelope === "string") throw new Error(envelope);
  await session.deliver(message, envelope);
  await answer;
}
