import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { NO_EVENTS } from "../../src/events.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { openUpstashSessionStore } from "../../src/session-store/upstash.ts";
import { scanMessage } from "../../src/protocol/json-rpc.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";
import { LIMITS, onlyServer, silent } from "../session/scripted.ts";

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
  });
  afterAll(async () => {
    await upstash.close();
    await redis.stop();
  });

  /** Billed commands of an hour, in which a simulated clock beats once a second. */
  async function billOfAnHour(extend: "late" | "always", count: number): Promise<Record<string, number>> {
    const { url, token } = upstash;
    const place = { url, token, prefix: `cost-${extend}-${count}:`, deadlineMs: 5000, log: silent };
    const opened = guardSessionStore(openUpstashSessionStore(place), place);
    onTestFinished(() => opened.close());
    let waiting = 0;
    const store = new Proxy(opened, {
      get(target, verb: keyof SessionStore) {
        const member = target[verb] as unknown;
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          waiting += 1;
          const answer = (member as (...args: unknown[]) => Promise<unknown>).apply(target, args);
          return answer.finally(() => (waiting -= 1));
        };
      },
    });
    let clock = 0;
    const sessions = new Sessions({
      instanceId: "i-cost",
      store,
      servers: onlyServer(
        createBuiltinUpstream({ name: "default", createServer: createDemoServer, log: silent }),
      ),
      maxSessions: count,
      maxSessionsOf: () => count,
      mayUse: () => true,
      events: NO_EVENTS,
      // A session without any message for half an hour would be ended; here each lives through the hour.
      limits: { ...LIMITS, idleMs: Infinity },
      ttlSeconds: 3600,
      extend,
      durability: "off",
      retryMs: () => 1000,
      log: silent,
      now: () => clock,
    });
    await Promise.all(Array.from({ length: count }, () => openInitialized(sessions)));
    await sessions.beat();
    // Every session's creation, its seat, its `initialize` in its record and in its client's trace, and the lease.
    await eventually(() => expect(upstash.billed()).toBe(7 * count + 1));
    // The clock goes on when the answers are here as well: what is extended late counts from them.
    await eventually(() => expect(waiting).toBe(0));

    upstash.resetBilled();
    for (let second = 1; second <= HOUR_SECONDS; second += 1) {
      clock = second * 1000;
      await sessions.beat();
    }
    expect(sessions.count).toBe(count);
    const bill = { ...upstash.billedByCommand(), total: upstash.billed() };
    upstash.resetBilled();
    await sessions.close(() => 1000);
    // Each record with one command, unless it is another's by now, each trace and each seat with one, and the lease.
    expect(upstash.billed()).toBe(3 * count + 1);
    upstash.resetBilled();
    return bill;
  }

  test.each([
    ["late", 2],
    ["always", 120],
  ] as const)(
    "SESSION_EXTEND=%s: %i commands a session beyond the lease",
    async (extend, exactly) => {
      const { total: lease = 0 } = await billOfAnHour(extend, 0);
      expect(lease).toBe(LEASE_COMMANDS);
      const bill = await billOfAnHour(extend, SESSIONS);
      const perSession = ((bill["total"] ?? 0) - lease) / SESSIONS;
      process.stderr.write(
        `SESSION_EXTEND=${extend}: ${perSession} commands an hour and session, ${lease} for the lease\n`,
      );
      expect(perSession).toBe(exactly);
    },
    120_000,
  );
});

async function openInitialized(sessions: Sessions): Promise<void> {
  const session = sessions.open({
    caller: "default",
    userAgent: "e2e",
    address: "127.0.0.1",
    clientId: undefined,
    server: "default",
  });
  let answered = () => {};
  const answer = new Promise<void>((resolve) => (answered = resolve));
  session.attach({
    events: undefined,
    endsUnheard: false,
    canResume: true,
    confirm: () => Promise.resolve(),
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
