import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Reason } from "../../src/errors.ts";
import { exchange, openRaw, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { initialize, openStreamable, toolCall, type StreamableClient } from "../support/streamable-client.ts";
import { expectRefusal, expectRpcRefusal } from "./refusal.ts";

const MAX = 64 * 1024;
const PING = '{"jsonrpc":"2.0","id":"p","method":"ping"}';

/** What a good POST of the session has, by name; `undefined` leaves one out. */
type Change = Record<string, string | undefined>;

/** One request that is refused: what is changed of a good one, its body, its refusal, and the id that the refusal names. */
type Case = [what: string, change: Change, body: string | Buffer, reason: Reason, id?: unknown];

const accept = (what: string | undefined): Case => [
  `Accept: ${what}`,
  { Accept: what },
  PING,
  "not_acceptable",
];
const type = (what: string | undefined): Case => [
  `Content-Type: ${what}`,
  { "Content-Type": what },
  PING,
  "unsupported_media_type",
];
const version = (what: string): Case => [
  `MCP-Protocol-Version: ${what}`,
  { "MCP-Protocol-Version": what },
  PING,
  "unsupported_version",
];
const body = (text: string | Buffer, reason: Reason): Case => [
  text.toString().slice(0, 40),
  {},
  text,
  reason,
];

const CASES: Case[] = [
  ["no key", { "X-API-Key": undefined }, PING, "api_key_missing"],
  ["a wrong key", { "X-API-Key": "wrong" }, PING, "api_key_invalid"],
  ["two keys that differ", { Authorization: `Bearer ${OTHER_KEY}` }, PING, "ambiguous_credentials"],
  accept("application/json"),
  accept("text/event-stream"),
  accept("text/html"),
  accept("application/json, text/event-stream;q=0"),
  accept(""),
  type(undefined),
  type("text/plain"),
  type("application/json; charset=latin1"),
  ["a compressed body", { "Content-Encoding": "gzip" }, gzipSync(PING), "unsupported_media_type"],
  version("2023-01-01"),
  version("2025-06-1"),
  version(""),
  version("2025-11-25, 2025-11-25"),
  ["no session", { "Mcp-Session-Id": undefined }, PING, "mcp_session_id_required"],
  ["an empty session", { "Mcp-Session-Id": "" }, PING, "session_not_found"],
  ["an unknown session", { "Mcp-Session-Id": randomUUID() }, PING, "session_not_found"],
  ["a session that is none", { "Mcp-Session-Id": "../../x" }, PING, "session_not_found"],
  body("", "parse_error"),
  body("{", "parse_error"),
  body(Buffer.from([0x22, 0xff, 0x22]), "parse_error"),
  body("{}", "invalid_message"),
  body("7", "invalid_message"),
  body('{"jsonrpc":"2.0","id":null,"method":"ping"}', "invalid_id"),
  body('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', "ambiguous_member"),
  body(`[${PING}]`, "batch_not_allowed"),
  ["a body that is too large", {}, " ".repeat(MAX + 1), "body_too_large"],
  ["a second initialize", {}, JSON.stringify(initialize()), "already_initialized", "init"],
];

const sameBytes = ({ head, body: text }: RawAnswer) =>
  `${head}\n${text}`.replaceAll(/(X-Request-Id: |"requestId":")[a-z0-9-]+|Date: .*/g, "$1");

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("refusals of Streamable HTTP, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let client: StreamableClient;
  let sse: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env: { MAX_BODY_BYTES: String(MAX) } });
    client = await openStreamable(gateway.url);
    sse = await openTestStream(gateway.url);
    await sse.initialize();
  });
  afterAll(() => gateway.close());

  const headersWith = (change: Change) => {
    const all: Change = {
      "X-API-Key": KEY,
      Accept: "application/json, text/event-stream",
      "Content-Type": "application/json",
      "Mcp-Session-Id": client.sessionId,
      "MCP-Protocol-Version": "2025-11-25",
      ...change,
    };
    return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  };
  const ask = (change: Change, text: string | Buffer = PING, line = "POST /mcp") => {
    const length = text.length === 0 && line.startsWith("POST") ? ["Content-Length: 0"] : [];
    return exchange(gateway.port, rawRequest(line, [...headersWith(change), ...length], text));
  };

  it.each(CASES)(
    "%s is refused as JSON-RPC, and the next message is taken",
    async (_what, change, text, reason, id) => {
      const answer = await ask(change, text);
      expectRpcRefusal(answer, reason, id);
      if (answer.status === 401) expect(answer.headers["www-authenticate"]).toMatch(/^Bearer /);
      if (answer.status === 415) expect(answer.headers["accept-post"]).toBe("application/json");
      expect((await ask({})).status).toBe(200);
    },
  );

  it.each([
    { Accept: undefined },
    { Accept: "*/*" },
    { Accept: "application/*, text/*" },
    { Accept: "Text/Event-Stream;q=0.1 , APPLICATION/JSON" },
    { "Content-Type": "application/json; charset=utf-8" },
    { "MCP-Protocol-Version": undefined },
    { "MCP-Protocol-Version": "2024-11-05" },
    { "MCP-Protocol-Version": "2025-03-26" },
    { "MCP-Protocol-Version": "2025-06-18" },
  ] as Change[])("%o is taken", async (change) => {
    expect((await ask(change)).status).toBe(200);
  });

  it.each([
    [{ Origin: "https://evil.example" }, "origin_not_allowed"],
    [{ Host: "evil.example" }, "host_not_allowed"],
    [{ Host: "a b" }, "bad_host"],
    [{ Expect: "x" }, "expectation_failed"],
  ] as [Change, Reason][])(
    "%o is refused as JSON-RPC, before anything else is looked at",
    async (change, reason) => {
      for (const path of ["/mcp", "/mcp?x=1", "/servers/default/mcp"]) {
        expectRpcRefusal(await ask({ ...change, "X-API-Key": undefined }, PING, `POST ${path}`), reason);
      }
      expectRefusal(await ask({ ...change }, "", "GET /mcp/sse"), reason);
    },
  );

  it("a stream by GET needs a session, and a client that reads streams", async () => {
    const get = (change: Change) =>
      ask({ Accept: "text/event-stream", "Content-Type": undefined, ...change }, "", "GET /mcp");
    expectRpcRefusal(await get({ "Mcp-Session-Id": undefined }), "mcp_session_id_required");
    expectRpcRefusal(await get({ "Mcp-Session-Id": randomUUID() }), "session_not_found");
    expectRpcRefusal(await get({ Accept: "application/json" }), "not_acceptable");
    expectRpcRefusal(await get({ "MCP-Protocol-Version": "1" }), "unsupported_version");
    // It does not say which request it was of.
    for (const lane of ["x", "x~", `x~${Buffer.from("{}").toString("base64url")}`]) {
      const event = `${client.sessionId}.${lane}.3`;
      expectRpcRefusal(await get({ "Last-Event-ID": event }), "event_unknown");
    }
    expectRpcRefusal(await ask({ Accept: "text/event-stream" }, "x", "GET /mcp"), "bad_request");
  });

  it("DELETE needs a session", async () => {
    const remove = (id: string | undefined) => ask({ "Mcp-Session-Id": id }, "", "DELETE /mcp");
    expectRpcRefusal(await remove(undefined), "mcp_session_id_required");
    expectRpcRefusal(await remove(randomUUID()), "session_not_found");
  });

  it("SEC-10 a session of another key answers as one that is not there, byte for byte", async () => {
    const bodies = { POST: [PING, "not json", `[${PING}]`, ""], GET: [""], DELETE: [""] };
    for (const [method, texts] of Object.entries(bodies)) {
      for (const text of texts) {
        const named = (id: string) =>
          ask(
            { "X-API-Key": OTHER_KEY, "Mcp-Session-Id": id, "Last-Event-ID": `${id}.1` },
            text,
            `${method} /mcp`,
          );
        const theirs = await named(client.sessionId);
        expectRpcRefusal(theirs, "session_not_found");
        expect(sameBytes(theirs)).toBe(sameBytes(await named(randomUUID())));
      }
    }
    expect((await ask({})).status).toBe(200);
  });

  it("a session of HTTP+SSE is none here", async () => {
    for (const line of ["POST /mcp", "GET /mcp", "DELETE /mcp", "GET /mcp/sse"]) {
      const text = line.startsWith("POST") ? PING : "";
      expectRpcRefusal(await ask({ "Mcp-Session-Id": sse.sessionId }, text, line), "session_not_found");
    }
    expect((await sse.call(`after-${Date.now()}`, "ping")).result).toEqual({});
  });

  it("a session of Streamable HTTP is none where HTTP+SSE is spoken", async () => {
    const posted = await ask({}, PING, `POST /messages?sessionId=${client.sessionId}`);
    expectRefusal(posted, "session_not_found");
    const unknown = await ask({}, PING, `POST /messages?sessionId=${randomUUID()}`);
    expect(sameBytes(posted)).toBe(sameBytes(unknown));
    const own = await client.listen();
    const headers = { "x-api-key": KEY, "Last-Event-ID": `${client.sessionId}.0` };
    const stream = await openTestStream(gateway.url, { headers });
    expect(stream.sessionId).not.toBe(client.sessionId);
    expect(own.response.closed).toBe(false);
    stream.cut();
    own.cut();
  });

  it("a server that is not there is told before anything else is looked at", async () => {
    for (const path of ["/servers/nope/mcp", "/servers/nope/mcp/sse"]) {
      for (const method of ["POST", "DELETE"]) {
        expectRpcRefusal(await ask({}, method === "POST" ? PING : "", `${method} ${path}`), "not_found");
      }
    }
    for (const path of ["/servers//mcp", "/servers/a%2fb/mcp", "/servers/default/mcp/", "/servers/default"]) {
      expect((await ask({}, PING, `POST ${path}`)).status).toBe(404);
    }
  });

  it("a second request on a connection whose first is not answered yet is refused, and opens no session", async () => {
    const sessions = async () =>
      (
        JSON.parse((await exchange(gateway.port, rawRequest("GET /health/ready"))).body) as {
          sessions: number;
        }
      ).sessions;
    const slow = JSON.stringify(toolCall("slow", "slow", { seconds: 0.5, steps: 1 }));
    const connection = openRaw(gateway.port);
    const before = await sessions();
    const opening = JSON.stringify(initialize());
    connection.send(
      Buffer.concat([
        rawRequest("POST /mcp", headersWith({}), slow),
        rawRequest("POST /mcp", headersWith({ "Mcp-Session-Id": undefined }), opening),
      ]),
    );
    await connection.until('"id":"slow"');
    await connection.until('"reason":"bad_request"');
    connection.close();
    expect(await sessions()).toBe(before);
  });

  it("a duplicate id is refused with its id, and free again after its answer", async () => {
    const own = await openStreamable(gateway.url);
    const slow = { name: "slow", arguments: { seconds: 30 } };
    const call = await own.post({ jsonrpc: "2.0", id: 7, method: "tools/call", params: slow });
    const twin = await own.post({ jsonrpc: "2.0", id: 7, method: "ping" });
    expect([twin.status, JSON.parse(await twin.text())]).toMatchObject([
      400,
      { id: 7, error: { data: { reason: "duplicate_id" } } },
    ]);
    expect((await own.post({ jsonrpc: "2.0", id: "7", method: "ping" })).status).toBe(200);
    await own.post({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 7 } });
    await call.ended;
    expect((await own.post({ jsonrpc: "2.0", id: 7, method: "ping" })).status).toBe(200);
  });
});
