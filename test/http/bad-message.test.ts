import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Reason } from "../../src/errors.ts";
import { exchange, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectWell, targetOf } from "./refusal.ts";

const PING = '{"jsonrpc":"2.0","id":"p","method":"ping"}';
const ID = "11111111-1111-4111-8111-111111111111";

/** One POST that is HTTP, but no message for this session: row, what it is, what is changed of a good one, its refusal. */
type Case = [
  row: string,
  what: string,
  change: { query?: (own: string) => string; headers?: string[]; body?: string | Buffer },
  reason: Reason,
];

const query = (
  what: string,
  text: string | ((own: string) => string),
  reason: Reason,
  row = "BAD-20",
): Case => [row, `sessionId ${what}`, { query: typeof text === "string" ? () => text : text }, reason];
const type = (what: string, headers: string[], row = "BAD-25"): Case => [
  row,
  what,
  { headers },
  "unsupported_media_type",
];
const body = (row: string, what: string, text: string | Buffer, reason: Reason): Case => [
  row,
  what,
  { body: text },
  reason,
];
const broken = (text: string): Case => body("BAD-29", JSON.stringify(text), text, "parse_error");
const member = (row: string, members: string, reason: Reason): Case =>
  body(row, members.slice(0, 40), `{${members}}`, reason);
const id = (text: string): Case =>
  member("BAD-35", `"id":${text},"jsonrpc":"2.0","method":"ping"`, "invalid_id");

const JSON_TYPE = ["Content-Type: application/json"];
const encoded = (what: string, coding: string, bytes: string | Buffer): Case => [
  "BAD-27",
  what,
  { headers: [...JSON_TYPE, `Content-Encoding: ${coding}`], body: bytes },
  "unsupported_media_type",
];
const nested = (levels: number) =>
  `{"jsonrpc":"2.0","id":1,"method":"ping","params":${"[".repeat(levels)}${"]".repeat(levels)}}`;

const CASES: Case[] = [
  query("missing", "", "session_id_required", "BAD-19"),
  query("empty", "sessionId=", "session_id_required", "BAD-19"),
  query("without a value", "sessionId", "session_id_required", "BAD-19"),
  query("twice", (own) => `${own}&sessionId=${ID}`, "bad_query", "BAD-21"),
  query("twice and equal", (own) => `${own}&${own}`, "bad_query", "BAD-21"),
  query("twice, once in escapes", (own) => `${own}&%73essionId=${ID}`, "bad_query", "BAD-21"),
  query(
    "as an operator",
    (own) => own.replace("sessionId", "sessionId[$ne]"),
    "session_id_required",
    "BAD-21",
  ),
  query("as an array", (own) => own.replace("sessionId", "sessionId[]"), "session_id_required", "BAD-21"),
  query("not in our form", "sessionId=1", "session_not_found"),
  query("4 KB long", `sessionId=${"a".repeat(4000)}`, "session_not_found"),
  query("in unicode", "sessionId=%F0%9F%94%91", "session_not_found"),
  query("a path", "sessionId=../../etc/passwd", "session_not_found"),
  query("a pattern", "sessionId=*", "session_not_found"),
  query("with CR LF", (own) => own.replace("&", "%0D%0A&"), "session_not_found"),
  query("with NUL", (own) => own.replace("&", "%00&"), "session_not_found"),
  query("in upper case", (own) => own.replace(/=[^&]+/, (id) => id.toUpperCase()), "session_not_found"),
  query("in broken escapes", "sessionId=%zz", "bad_query"),
  query("in broken UTF-8", "sessionId=%ff", "bad_query"),
  query("unknown", `sessionId=${ID}`, "session_not_found", "BAD-22"),
  type("no Content-Type", []),
  type("text/plain", ["Content-Type: text/plain"]),
  type("application/jsonx", ["Content-Type: application/jsonx"]),
  type("a form", ["Content-Type: application/x-www-form-urlencoded"]),
  type("multipart", ["Content-Type: multipart/form-data; boundary=x"]),
  type("JSON as a second word", ["Content-Type: text/plain; application/json"]),
  type("charset utf-16", ["Content-Type: application/json; charset=utf-16"], "BAD-26"),
  type("charset latin1", ["Content-Type: application/json; charset=latin1"], "BAD-26"),
  encoded("gzip", "gzip", gzipSync(PING)),
  encoded("a bomb", "gzip", gzipSync(Buffer.alloc(50_000_000))),
  encoded("garbage", "gzip", "garbage"),
  encoded("an unknown coding", "rot13", PING),
  encoded("a coding without a name", "", PING),
  body("BAD-28", "nothing", "", "parse_error"),
  body("BAD-28", "white space", " \r\n\t ", "parse_error"),
  broken("{"),
  broken(`${PING}}`),
  broken(`${PING}${PING}`),
  broken(PING.slice(0, -4)),
  broken('{"jsonrpc":"2.0","id":NaN,"method":"ping"}'),
  broken('{"jsonrpc":"2.0","id":1,"method":"ping",}'),
  broken("{'jsonrpc':'2.0'}"),
  broken(`\ufeff${PING}`),
  body("BAD-30", "invalid UTF-8", Buffer.from(PING.replace('"p"', '"\xff"'), "latin1"), "parse_error"),
  body("BAD-30", "UTF-16", Buffer.from(PING, "utf16le"), "parse_error"),
  body("BAD-31", "1", "1", "invalid_message"),
  body("BAD-31", "null", "null", "invalid_message"),
  body("BAD-31", '"x"', '"x"', "invalid_message"),
  body("BAD-31", "[]", "[]", "batch_not_allowed"),
  body("BAD-31", "[1]", "[1]", "batch_not_allowed"),
  body("BAD-31", "a batch", `[${PING}]`, "batch_not_allowed"),
  body("BAD-32", "129 levels", nested(128), "too_deep"),
  body("BAD-32", "5,000 levels", nested(5000), "too_deep"),
  body("BAD-32", "100,000 levels", nested(100_000), "too_deep"),
  body("BAD-32", "100,000 brackets that never close", "[".repeat(100_000), "parse_error"),
  member("BAD-34", '"id":1,"method":"ping"', "invalid_message"),
  member("BAD-34", '"jsonrpc":"1.0","id":1,"method":"ping"', "invalid_message"),
  member("BAD-34", '"jsonrpc":2,"id":1,"method":"ping"', "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1', "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1,"method":7', "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1,"method":""', "invalid_message"),
  member("BAD-34", `"jsonrpc":"2.0","id":1,"method":"${"m".repeat(10_000)}"`, "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1,"method":"rpc.x"', "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1,"method":"ping","params":1', "invalid_message"),
  member("BAD-34", '"jsonrpc":"2.0","id":1,"method":"ping","result":{}', "invalid_message"),
  ...["null", "{}", "[]", "true", "1.5", "1e400", `"${"x".repeat(10_000)}"`].map(id),
  member("BAD-36", '"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"', "ambiguous_member"),
  member("BAD-36", '"jsonrpc":"2.0","id":1,"method":"ping","method":"x"', "ambiguous_member"),
  member("BAD-36", '"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}', "ambiguous_member"),
  member("BAD-36", '"jsonrpc":"2.0","id":1,"method":"ping","__proto__":{}', "ambiguous_member"),
];

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("bad messages, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());

  const post = ({ query: change, headers = JSON_TYPE, body: sent = PING }: Case[2]) => {
    const own = targetOf(stream).split("?")[1] as string;
    const target = change === undefined ? targetOf(stream) : `/messages?${change(own)}`;
    const length = sent.length === 0 ? ["Content-Length: 0"] : [];
    return exchange(
      gateway.port,
      rawRequest(`POST ${target}`, [`X-API-Key: ${KEY}`, ...headers, ...length], sent),
    );
  };

  it.each(CASES)("%s %s is refused, and the next message is taken", async (_row, _what, change, reason) => {
    const answer = await post(change);
    expectRefusal(answer, reason);
    if (answer.status === 415) expect(answer.headers["accept-post"]).toBe("application/json");
    await expectWell(gateway.port, stream);
  });

  it("BAD-23 a session whose stream is gone answers 404 at once", async () => {
    const gone = await openTestStream(gateway.url);
    gone.cut();
    await expect
      .poll(async () => (await fetch(`${gateway.url}/health/ready`)).text())
      .toContain('"sessions":1');
    const posted = rawRequest(`POST ${targetOf(gone)}`, JSON_TYPE, PING);
    expectRefusal(await exchange(gateway.port, posted), "session_not_found");
  });

  it("BAD-35 an id that is in flight is refused, and free again after its answer", async () => {
    const own = await openTestStream(gateway.url);
    await own.initialize();
    const slow = { name: "slow", arguments: { seconds: 30 } };
    const call = { jsonrpc: "2.0", id: 7, method: "tools/call", params: slow };
    expect((await own.post(call)).status).toBe(202);
    const twin = await own.post({ jsonrpc: "2.0", id: 7, method: "ping" });
    expect(await twin.json()).toMatchObject({ reason: "duplicate_id" });
    expect((await own.post({ jsonrpc: "2.0", id: "7", method: "ping" })).status).toBe(202);
    await own.post({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 7 } });
    expect((await own.post({ jsonrpc: "2.0", id: 7, method: "ping" })).status).toBe(202);
    own.cut();
  });

  it("BAD-36 an unknown member of a vendor passes", async () => {
    const sent = '{"jsonrpc":"2.0","id":"v","method":"ping","x-vendor":{"a":1}}';
    expect((await post({ body: sent })).status).toBe(202);
    await stream.next((message) => message.id === "v");
  });

  it("BAD-37 an answer that nobody asked for is taken and dropped; a notification before initialize passes", async () => {
    expect((await post({ body: '{"jsonrpc":"2.0","id":99,"result":{}}' })).status).toBe(202);
    expect((await post({ body: '{"jsonrpc":"2.0","method":"notifications/x"}' })).status).toBe(202);
    await expectWell(gateway.port, stream);
  });

  it("BAD-38 a second initialize is refused", async () => {
    const own = await openTestStream(gateway.url);
    await own.initialize();
    const params = {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "t", version: "1" },
    };
    const again = await own.post({ jsonrpc: "2.0", id: 2, method: "initialize", params });
    expect(await again.json()).toMatchObject({ reason: "already_initialized" });
    own.cut();
  });
});
