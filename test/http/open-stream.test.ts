import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fileURLToPath } from "node:url";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal } from "./refusal.ts";

const OWN = { "x-api-key": KEY };
const BACK = { ...OWN, "mcp-protocol-version": "2025-06-18" };
const rawEcho = fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url));
const count = (stream: TestStream, id: number) => stream.call(id, "tools/call", { name: "count" });

/** Opens a stream of a client that calls itself `name`, and that tests do not share. */
const openAs = (gateway: TestGateway, name: string, headers: Record<string, string> = OWN) =>
  openTestStream(gateway.url, { headers, path: `/mcp/sse?clientId=${name}` });

describe("a client that comes back", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ command: [process.execPath, rawEcho] });
  });
  afterAll(() => gateway.close());

  const isOrphan = async (session: string) =>
    expect
      .poll(() =>
        gateway.logs().some((line) => line["event"] === "session_orphaned" && line["session"] === session),
      )
      .toBe(true);

  it("goes on with its session and its server, known by its name", async () => {
    const first = await openAs(gateway, "by-name");
    await first.initialize();
    const before = await count(first, 1);
    first.cut();
    await isOrphan(first.sessionId);
    const second = await openAs(gateway, "by-name");
    expect([second.sessionId, second.endpoint]).toEqual([first.sessionId, first.endpoint]);
    const after = await count(second, 2);
    expect([before.result, after.result]).toEqual([
      { content: [{ type: "text", text: "1" }] },
      { content: [{ type: "text", text: "2" }] },
    ]);
    second.cut();
  });

  it("says its name in a header as well", async () => {
    const headers = { ...OWN, "x-client-id": "by-header" };
    const first = await openTestStream(gateway.url, { headers });
    await first.initialize();
    first.cut();
    await isOrphan(first.sessionId);
    const second = await openTestStream(gateway.url, { headers });
    expect(second.sessionId).toBe(first.sessionId);
    second.cut();
  });

  it("gets first what it had not got, and nothing twice, behind the event that it names", async () => {
    const first = await openAs(gateway, "by-event");
    await first.initialize();
    await count(first, 1);
    await count(first, 2);
    const ids = first.events.map(({ id }) => id).filter((id) => id !== undefined);
    first.cut();
    await isOrphan(first.sessionId);
    const second = await openTestStream(gateway.url, {
      headers: { ...OWN, "last-event-id": ids[0] as string },
    });
    await second.next(({ id }) => id === 2);
    expect(second.sessionId).toBe(first.sessionId);
    expect(second.events.map(({ id }) => id).filter((id) => id !== undefined)).toEqual(ids.slice(1));
    second.cut();
  });

  it("is known by its program and address when it says that it was initialized", async () => {
    const headers = { ...OWN, "user-agent": "one of its kind" };
    const first = await openTestStream(gateway.url, { headers });
    await first.initialize();
    first.cut();
    await isOrphan(first.sessionId);
    const fresh = await openTestStream(gateway.url, { headers });
    expect(fresh.sessionId).not.toBe(first.sessionId);
    fresh.cut();
    const second = await openTestStream(gateway.url, { headers: { ...BACK, ...headers } });
    expect(second.sessionId).toBe(first.sessionId);
    second.cut();
  });

  it("does not get another caller's session by any of these", async () => {
    const first = await openAs(gateway, "stolen");
    await first.initialize();
    first.cut();
    await isOrphan(first.sessionId);
    const foreign = { "x-api-key": OTHER_KEY, "mcp-protocol-version": "2025-06-18" };
    for (const headers of [foreign, { ...foreign, "last-event-id": `${first.sessionId}.0` }]) {
      const thief = await openAs(gateway, "stolen", headers);
      expect(thief.sessionId).not.toBe(first.sessionId);
      expect(thief.messages).toEqual([]);
      thief.cut();
    }
    const owner = await openAs(gateway, "stolen");
    expect(owner.sessionId).toBe(first.sessionId);
    owner.cut();
  });

  it("works all the same when nobody knows it, from the middle of its conversation", async () => {
    const lost = await openAs(gateway, "unknown", BACK);
    expect((await count(lost, 1)).result).toEqual({ content: [{ type: "text", text: "1" }] });
    lost.cut();
  });

  it("may introduce itself although it named a version before: some send the header always", async () => {
    const stream = await openAs(gateway, "always", BACK);
    expect((await stream.initialize()).result).toBeDefined();
    expect((await count(stream, 1)).result).toEqual({ content: [{ type: "text", text: "1" }] });
    stream.cut();
  });

  it("is a new one when the version that it names is none, or has no sessions", async () => {
    for (const version of ["2026-07-28", "x", "2025-06-18x"]) {
      const headers = { ...OWN, "mcp-protocol-version": version, "user-agent": `of ${version}` };
      const first = await openTestStream(gateway.url, { headers });
      await first.initialize();
      first.cut();
      await isOrphan(first.sessionId);
      const second = await openTestStream(gateway.url, { headers });
      expect(second.sessionId).not.toBe(first.sessionId);
      second.cut();
    }
  });
});

it("a client that comes back is never refused for want of room: that would end it for good", async () => {
  const gateway = await startTestGateway({ env: { MAX_SESSIONS_PER_KEY: "1", MAX_SESSIONS: "1" } });
  const held = await openTestStream(gateway.url);
  expectRefusal(await exchange(gateway.port, rawRequest("GET /mcp/sse", OWN)), "overloaded");
  const back = await openTestStream(gateway.url, { headers: BACK });
  expect(back.sessionId).not.toBe(held.sessionId);
  expect((await back.call(1, "tools/list")).result).toBeDefined();
  await gateway.close();
});

it("a new client takes the place of one that is away, when there is no other", async () => {
  const gateway = await startTestGateway({ env: { MAX_SESSIONS_PER_KEY: "1" } });
  const away = await openTestStream(gateway.url);
  await away.initialize();
  away.cut();
  await expect.poll(() => gateway.logText()).toContain("session_orphaned");
  await openTestStream(gateway.url);
  expect(gateway.logs()).toContainEqual(
    expect.objectContaining({ session: away.sessionId, end: "made_room" }),
  );
  await gateway.close();
});

it("a client that comes back beyond twice the limits is told to come again, and never refused", async () => {
  const gateway = await startTestGateway({ env: { MAX_SESSIONS_PER_KEY: "1" } });
  const target = rawRequest("GET /mcp/sse", BACK);
  for (let one = 0; one < 2; one += 1) await openTestStream(gateway.url, { headers: BACK });
  const connection = openRaw(gateway.port);
  connection.send(target);
  expect((await connection.answer()).status).toBe(200);
  await connection.until("retry: ");
  // The whole of a chunked answer, and nothing but that.
  await connection.until("0\r\n\r\n");
  expect(connection.rest()).not.toContain("event:");
  connection.close();
  expect(gateway.logs()).toContainEqual(
    expect.objectContaining({ event: "sent_away", reason: "too_many_sessions" }),
  );
  // Whoever is new is told why.
  expectRefusal(await exchange(gateway.port, rawRequest("GET /mcp/sse", OWN)), "too_many_sessions");
  await gateway.close();
});
