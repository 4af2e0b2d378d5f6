import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { NO_EVENTS } from "../../src/events.ts";
import type { GatewayError } from "../../src/errors.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { LIMITS, onlyServer, ScriptedStream, scriptedUpstream, silent } from "../session/scripted.ts";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal } from "./refusal.ts";

const neverAnswers = fileURLToPath(new URL("../fixtures/never-answers.mjs", import.meta.url));

it("LIM-18 a session may have as many requests in flight as the limit, and one more when one is answered", async () => {
  const gateway = await startTestGateway({ env: { MAX_IN_FLIGHT: "3" } });
  const stream = await openTestStream(gateway.url);
  await stream.initialize();
  const slow = (id: number) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name: "slow", arguments: { seconds: 60 } },
  });
  for (const id of [1, 2, 3]) expect((await stream.post(slow(id))).status).toBe(202);
  const over = await stream.post(slow(4));
  expect([over.status, over.headers.get("retry-after"), await over.json()]).toMatchObject([
    429,
    "1",
    { reason: "too_many_in_flight" },
  ]);
  expect(
    (await stream.post({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } }))
      .status,
  ).toBe(202);
  expect((await stream.post(slow(5))).status).toBe(202);
  expect((await stream.post(slow(6))).status).toBe(429);
  await gateway.close();
});

it("LIM-10 LIM-12 SEC-33 a key may open as many sessions as the limit; refused ones leave nothing, and other keys go on", async () => {
  const env = { MAX_SESSIONS_PER_KEY: "3", MAX_SESSIONS: "5" };
  const gateway = await startTestGateway({ env, command: [process.execPath, neverAnswers] });
  const get = (key: string) => rawRequest("GET /mcp/sse", { "X-API-Key": key });
  const ready = async () =>
    (await (await fetch(`${gateway.url}/health/ready`)).json()) as { sessions: number };
  const open = (key: string) => openTestStream(gateway.url, { headers: { "x-api-key": key } });
  const streams = [await open(KEY), await open(KEY), await open(KEY)];
  for (let count = 0; count < 20; count += 1) {
    const refused = await exchange(gateway.port, get(KEY));
    expectRefusal(refused, "too_many_sessions");
    expect(refused.headers["retry-after"]).toBe("5");
  }
  streams.push(await open(OTHER_KEY), await open(OTHER_KEY));

  // LIM-11: the instance is full, whoever asks.
  for (const key of [KEY, OTHER_KEY]) {
    const refused = await exchange(gateway.port, get(key));
    expectRefusal(refused, "overloaded");
    expect(refused.headers["retry-after"]).toBe("5");
  }
  expect(await ready()).toMatchObject({ sessions: 5 });
  expect(gateway.logs().filter(({ event }) => event === "session_opened")).toHaveLength(5);
  expect(children()).toEqual([]);

  streams[0]?.cut();
  await expect.poll(ready).toMatchObject({ sessions: 4 });
  streams.push(await open(KEY));
  expectRefusal(await exchange(gateway.port, get(KEY)), "overloaded");
  await expectOneChild(gateway, streams.at(-1) as TestStream);
  await gateway.close();
  expect(children()).toEqual([]);
});

it("LIM-10 a thousand opens that are reset leak no slot", async () => {
  const gateway = await startTestGateway({ env: { MAX_SESSIONS_PER_KEY: "10" } });
  const ready = async () =>
    (await (await fetch(`${gateway.url}/health/ready`)).json()) as { sessions: number };
  for (let round = 0; round < 100; round += 1) {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const connection = openRaw(gateway.port);
        connection.send(rawRequest("GET /mcp/sse", { "X-API-Key": KEY }));
        await connection.answer();
        connection.socket.resetAndDestroy();
      }),
    );
  }
  await expect.poll(ready).toMatchObject({ sessions: 0 });
  for (let count = 0; count < 10; count += 1) await openTestStream(gateway.url);
  await gateway.close();
});

/** Sessions on a clock of the test's, with a store that can be looked into. */
function clockedSessions(perCaller = 3, all = 5) {
  const clock = { now: 0 };
  const store = createMemorySessionStore({ now: () => clock.now });
  const upstream = scriptedUpstream();
  const parts = {
    instanceId: "i",
    store,
    servers: onlyServer(upstream),
    limits: LIMITS,
    ttlSeconds: 3600,
    extend: "late" as const,
    durability: "off" as const,
    retryMs: () => 1,
    log: silent,
  };
  const sessions = new Sessions({
    ...parts,
    maxSessions: all,
    maxSessionsOf: () => perCaller,
    mayUse: () => true,
    events: NO_EVENTS,
    now: () => clock.now,
  });
  const open = (caller = "default") => {
    const session = sessions.open({
      caller,
      server: "scripted",
      userAgent: "",
      address: "",
      clientId: undefined,
    });
    session.attach(new ScriptedStream());
    return session;
  };
  const refusal = (caller = "default") => {
    try {
      open(caller);
    } catch (error) {
      return (error as GatewayError).reason;
    }
    return undefined;
  };
  return { clock, store, upstream, sessions, open, refusal };
}

describe("limits of a session, on a clock of the test's own", () => {
  it("LIM-17 a client that sends nothing is let go at the first-POST limit, not before", async () => {
    const { clock, sessions, open } = clockedSessions();
    open();
    clock.now = LIMITS.firstPostMs - 1;
    await sessions.beat();
    expect(sessions.count).toBe(1);
    clock.now = LIMITS.firstPostMs;
    await sessions.beat();
    expect(sessions.count).toBe(0);
  });

  it("LIM-16 a session without a message either way is let go at the idle limit; heartbeats do not count", async () => {
    const { clock, sessions, open } = clockedSessions();
    const session = open();
    const message = Buffer.from('{"jsonrpc":"2.0","method":"m"}');
    await session.deliver(message, {
      kind: "notification",
      id: undefined,
      method: "m",
      failed: false,
      idStart: 0,
      idEnd: 0,
      paramsStart: 0,
      paramsEnd: 0,
    });
    for (clock.now = 0; clock.now < LIMITS.idleMs; clock.now += LIMITS.heartbeatMs) await sessions.beat();
    clock.now = LIMITS.idleMs - 1;
    await sessions.beat();
    expect(sessions.count).toBe(1);
    clock.now = LIMITS.idleMs;
    await sessions.beat();
    expect(sessions.count).toBe(0);
  });

  it("LIM-12 refused opens leave no record, no link and no count", async () => {
    const { store, upstream, sessions, open, refusal } = clockedSessions();
    const ids = [open(), open(), open()].map(({ id }) => id);
    expect([refusal(), refusal(), refusal("other"), refusal("other"), refusal("third")]).toEqual([
      "too_many_sessions",
      "too_many_sessions",
      undefined,
      undefined,
      "overloaded",
    ]);
    expect(sessions.count).toBe(5);
    expect(upstream.links).toHaveLength(0);
    await Promise.all(ids.map(async (id) => expect(await store.get(id)).toBeDefined()));
    await sessions.close(() => 0);
    await Promise.all(ids.map(async (id) => expect(await store.get(id)).toBeUndefined()));
    expect(sessions.count).toBe(0);
  });
});

/** Programs that this process started and that run our fixture. */
function children(): string[] {
  return readdirSync("/proc").filter((entry) => {
    try {
      return (
        /^\d+$/.test(entry) &&
        readFileSync(`/proc/${entry}/stat`, "utf8").split(" ")[3] === String(process.pid) &&
        readFileSync(`/proc/${entry}/cmdline`, "utf8").includes("never-answers")
      );
    } catch {
      return false;
    }
  });
}

async function expectOneChild(gateway: TestGateway, stream: TestStream): Promise<void> {
  expect((await stream.post({ jsonrpc: "2.0", method: "notifications/x" })).status).toBe(202);
  expect(children()).toHaveLength(1);
  expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
}
