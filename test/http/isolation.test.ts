import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf } from "../../src/keys/api-key.ts";
import { Authenticator } from "../../src/http/authenticate.ts";
import { createApp } from "../../src/http/app.ts";
import { createDoor, createThinPath, listen } from "../../src/http/door.ts";
import { createPostMessage } from "../../src/http/post-message.ts";
import type { DoorParts } from "../../src/http/routes.ts";
import { Elsewhere, type ElsewhereParts } from "../../src/session/elsewhere.ts";
import { NO_EVENTS } from "../../src/events.ts";
import { KeyRing } from "../../src/keys/key-ring.ts";
import { PostTokens } from "../../src/session/post-token.ts";
import { silent } from "../session/scripted.ts";
import { exchange, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectRpcRefusal } from "./refusal.ts";

const JSON_TYPE = "Content-Type: application/json";
const own = `X-API-Key: ${KEY}`;
const foreign = `X-API-Key: ${OTHER_KEY}`;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const rawEcho = fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url));

const strip = ({ head, body }: RawAnswer) =>
  `${head}\n${body}`.replaceAll(/(X-Request-Id: |"requestId":")[a-z0-9-]+|Date: .*/g, "$1");

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("sessions of another caller, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let victim: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, command: [process.execPath, rawEcho] });
    victim = await openTestStream(gateway.url);
    await victim.call(1, "tools/call", { name: "count" });
  });
  afterAll(() => gateway.close());

  const post = (query: string, headers: string[], body = '{"jsonrpc":"2.0","id":"x","method":"ping"}') =>
    exchange(gateway.port, rawRequest(`POST /messages?${query}`, [JSON_TYPE, ...headers], body));
  const idOnly = () => `sessionId=${victim.sessionId}`;
  const tokenOf = (stream: TestStream) => new URL(stream.endpoint).searchParams.get("token") as string;

  it("SEC-10 answer every kind of message exactly as unknown sessions do, and see nothing of it", async () => {
    const bodies = [
      '{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"count"}}',
      '{"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
      "not json",
      "",
      "x".repeat(100_000),
    ];
    const events = victim.events.length;
    for (const body of bodies) {
      const theirs = await post(idOnly(), [foreign], body);
      const unknown = await post(`sessionId=${randomUUID()}`, [foreign], body);
      expectRefusal(theirs, "session_not_found");
      expect(strip(theirs)).toBe(strip(unknown));
    }
    const told = gateway.logs().filter(({ event }) => event === "session_owner_mismatch");
    expect(told).toHaveLength(bodies.length);
    expect(told[0]).toMatchObject({ level: "warn", session: victim.sessionId, caller: "other" });
    const counted = await victim.call(2, "tools/call", { name: "count" });
    expect(counted.result?.["content"]).toEqual([{ type: "text", text: "2" }]);
    expect(victim.events.length).toBe(events + 1);
  });

  it("SEC-10 what is wrong with a request is told to the owner, and to no other", async () => {
    const text = ["Content-Type: text/plain"];
    const request = (key: string) => rawRequest(`POST /messages?${idOnly()}`, [...text, key], "x");
    expectRefusal(await exchange(gateway.port, request(own)), "unsupported_media_type");
    expectRefusal(await exchange(gateway.port, request(foreign)), "session_not_found");
  });

  it("SEC-11 a session id without a key and without its token opens nothing", async () => {
    expectRefusal(await post(idOnly(), []), "api_key_missing");
    expectRefusal(await post(`${idOnly()}&apiKey=${KEY}`, []), "api_key_missing");
  });

  it("SEC-13 SEC-18 a GET that names another's session opens a fresh one and replaces nothing", async () => {
    const attempts = [
      { path: `/mcp/sse?sessionId=${victim.sessionId}&token=${tokenOf(victim)}` },
      { headers: { "Last-Event-ID": `${victim.sessionId}.1` } },
    ];
    for (const { path, headers } of attempts) {
      const stream = await openTestStream(gateway.url, {
        headers: { "x-api-key": OTHER_KEY, ...headers },
        ...(path === undefined ? {} : { path }),
      });
      expect(stream.sessionId).not.toBe(victim.sessionId);
      expect(stream.events).toHaveLength(1);
      stream.cut();
    }
    // Only a client of Streamable HTTP names its session so, and there this one is none.
    for (const id of [victim.sessionId, randomUUID()]) {
      const named = rawRequest("GET /mcp/sse", [foreign, `Mcp-Session-Id: ${id}`]);
      expectRpcRefusal(await exchange(gateway.port, named), "session_not_found");
    }
    expect((await victim.call(`after-${Date.now()}`, "ping")).result).toEqual({});
  });

  it("SEC-15 a session id that a client brings along is not taken", async () => {
    const wish = randomUUID();
    const stream = await openTestStream(gateway.url, { path: `/mcp/sse?sessionId=${wish}` });
    expect(stream.sessionId).toMatch(UUID);
    expect(stream.sessionId).not.toBe(wish);
    expectRefusal(await post(`sessionId=${wish}`, [own]), "session_not_found");
    for (const method of ["GET", "POST", "DELETE"]) {
      const named = rawRequest(`${method} /mcp`, [own, `Mcp-Session-Id: ${wish}`]);
      expectRpcRefusal(await exchange(gateway.port, named), "session_not_found");
    }
    stream.cut();
  });

  it("SEC-24 a token opens its own session, while it lives, and for nobody with a foreign key", async () => {
    const other = await openTestStream(gateway.url, { headers: { "x-api-key": OTHER_KEY } });
    const token = tokenOf(victim);
    expect((await post(`${idOnly()}&token=${token}`, [])).status).toBe(202);
    expectRefusal(await post(`${idOnly()}&token=${token}`, [foreign]), "session_not_found");
    const wrong = [
      "",
      token.slice(1),
      `${token}A`,
      token.toLowerCase(),
      tokenOf(other),
      // The last letter of a base64url text holds bits that decoders throw away.
      token.slice(0, -1) + String.fromCharCode(token.charCodeAt(token.length - 1) + 1),
    ];
    for (const text of wrong) expectRefusal(await post(`${idOnly()}&token=${text}`, []), "session_not_found");
    other.cut();
    await expect
      .poll(async () => (await post(`sessionId=${other.sessionId}&token=${tokenOf(other)}`, [])).status)
      .toBe(404);
  });
});

/** A door whose look-up of foreign sessions takes as long as a real store's. */
async function slowDoor(thinPath: boolean) {
  const asked: string[] = [];
  const session = { id: randomUUID(), caller: "default" };
  const keys = new KeyRing(
    [KEY, OTHER_KEY].map((key, index) => ({
      id: `k_${index}`,
      caller: index ? "other" : "default",
      digest: digestOf(key),
    })),
  );
  const whereabouts = {
    find: async (id: string) => {
      asked.push(id);
      await new Promise((resolve) => setTimeout(resolve, 30));
      return undefined;
    },
  };
  const claims = { isUncertain: () => false, settledOf: () => Promise.resolve() };
  const sessions = { find: (id: string) => (id === session.id ? session : undefined), isDraining: false };
  const parts = {
    sessions,
    elsewhere: new Elsewhere({
      sessions,
      whereabouts,
      claims,
      relay: { current: undefined },
    } as unknown as ElsewhereParts),
    mayUse: () => true,
    tokens: new PostTokens(keys),
    authenticator: new Authenticator(keys),
    events: NO_EVENTS,
    trustProxy: "off",
    maxBodyBytes: 1000,
    log: silent,
  } as unknown as DoorParts;
  const postMessage = createPostMessage(parts);
  const guardOrigin = () => undefined;
  const none = { ready: undefined as never, storeHealth: undefined as never, metrics: undefined };
  const rest = { guardOrigin, allowedOrigins: [], requireKey: guardOrigin, ...none };
  const unused = { openStream: guardOrigin, relayMessage: guardOrigin, streamable: guardOrigin };
  const routes = { postMessage, ...unused };
  const app = createApp({ ...routes, ...rest, log: silent });
  const listeners = { app, ...routes, guardOrigin, log: silent };
  const server = createDoor(thinPath ? createThinPath(listeners) : app);
  return { server, port: await listen(server, 0, "127.0.0.1"), session, asked };
}

it.each([true, false])(
  "SEC-10 a look-up in a store that takes its time does not show, thin path %s",
  async (thin) => {
    const { server, port, session, asked } = await slowDoor(thin);
    const unknown = randomUUID();
    const post = (id: string) =>
      exchange(port, rawRequest(`POST /messages?sessionId=${id}`, [JSON_TYPE, foreign], "{}"));
    expect(strip(await post(session.id))).toBe(strip(await post(unknown)));
    expect(asked).toEqual([unknown]);
    server.close();
  },
);

it("BAD-20 an id that is not of our form is never looked up", async () => {
  const { server, port, asked } = await slowDoor(true);
  for (const id of [
    "1",
    "*",
    "%00",
    "..%2F..",
    "mcp:session:1",
    `${randomUUID()}%0A`,
    randomUUID().toUpperCase(),
  ]) {
    const answer = await exchange(port, rawRequest(`POST /messages?sessionId=${id}`, [JSON_TYPE, own], "{}"));
    expectRefusal(answer, "session_not_found");
  }
  expect(asked).toEqual([]);
  server.close();
});
