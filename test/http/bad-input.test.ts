import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Reason } from "../../src/errors.ts";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectRpcRefusal, expectWell, targetOf } from "./refusal.ts";

const OWN = { "X-API-Key": KEY };
const JSON_TYPE = "Content-Type: application/json";
const PING = '{"jsonrpc":"2.0","id":"p","method":"ping"}';

/** One request that is not plain HTTP for this server: row, what it is, its bytes (`target` is a good POST's), its refusal. */
type Case = [row: string, what: string, bytes: (target: string) => string | Buffer, reason: Reason];

const get = (path: string, headers: Record<string, string> = OWN) => rawRequest(`GET ${path}`, headers);
const post = (target: string, headers: string[], body: string | Buffer = PING) =>
  rawRequest(`POST ${target}`, [JSON_TYPE, ...headers], body);
const bare = (line: string, ...headers: string[]) => [line, ...headers, "", ""].join("\r\n");
const noSuchPath = (path: string): Case => ["BAD-09", path, () => get(path), "not_found"];

const CASES: Case[] = [
  ["BAD-01", "no Host", () => bare("GET /mcp/sse HTTP/1.1"), "bad_host"],
  ["BAD-01", "no Host on a POST", (to) => bare(`POST ${to} HTTP/1.1`), "bad_host"],
  ["BAD-01", "no Host on /health", () => bare("GET /health HTTP/1.1"), "bad_host"],
  ["BAD-02", "two Hosts", () => bare("GET /health HTTP/1.1", "Host: a", "Host: b"), "bad_host"],
  ["BAD-02", "two equal Hosts", (to) => post(to, ["Host: 127.0.0.1", "Host: 127.0.0.1"]), "bad_host"],
  ["BAD-03", "HTTP/1.0 stream", () => bare("GET /mcp/sse HTTP/1.0", `X-API-Key: ${KEY}`), "http_version"],
  ["BAD-03", "HTTP/1.0 POST", (to) => bare(`POST ${to} HTTP/1.0`), "http_version"],
  ["BAD-04", "HTTP/2.0", () => rawRequest("GET /mcp/sse HTTP/2.0", OWN), "http_version"],
  ["BAD-04", "h2 preface", () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_request"],
  ["BAD-04", "TLS", () => Buffer.from("16030102000100 01fc0303".replace(" ", ""), "hex"), "bad_request"],
  ["BAD-05", "lower-case method", () => rawRequest("get /mcp/sse", OWN), "bad_request"],
  ["BAD-05", "unknown method", () => rawRequest("GETT /mcp/sse", OWN), "bad_request"],
  ["BAD-07", "OPTIONS *", () => rawRequest("OPTIONS *", OWN), "method_not_allowed"],
  ["BAD-08", "absolute form", () => rawRequest("GET http://127.0.0.1/mcp/sse", OWN), "bad_target"],
  ["BAD-08", "absolute POST", (to) => post(`http://evil.example${to}`, []), "bad_target"],
  ["BAD-08", "a fragment", () => get("/mcp\\sse#"), "bad_target"],
  noSuchPath("//evil.example/mcp/sse"),
  noSuchPath("/x/../mcp/sse"),
  noSuchPath("/%6dcp/sse"),
  noSuchPath("/%zz"),
  noSuchPath("/mcp\\sse"),
  ["BAD-09", "broken escape in a probe", () => get("/.well-known/%zz"), "oauth_not_offered"],
  ["BAD-10", "upper case", () => get("/MCP/SSE"), "not_found"],
  ["BAD-10", "slash at the end", () => get("/mcp/sse/"), "not_found"],
  ["BAD-10", "upper-case POST", (to) => post(to.replace("/m", "/M"), []), "not_found"],
  ["BAD-10", "POST with a slash", (to) => post(to.replace("?", "/?"), []), "not_found"],
  ["BAD-11", "folded header", () => bare("GET /health HTTP/1.1", "Host: a", "X: a", " b"), "bad_request"],
  ["BAD-11", "space before colon", () => bare("GET /health HTTP/1.1", "Host : a"), "bad_request"],
  ["BAD-11", "bare LF", () => "GET /health HTTP/1.1\nHost: a\nX: b\n\n", "bad_request"],
  ["BAD-11", "NUL", () => bare("GET /health HTTP/1.1", "Host: a", "X: a\0b"), "bad_request"],
  ["BAD-11", "bare CR", () => bare("GET /health HTTP/1.1", "Host: a", "X: a\rb"), "bad_request"],
  ["BAD-12", "17 KiB of headers", () => get("/health", { X: "x".repeat(17_000) }), "headers_too_large"],
  ["BAD-12", "2 MB of headers", () => get("/health", { X: "x".repeat(2_000_000) }), "headers_too_large"],
  ["BAD-12", "17 KiB of URL", () => get(`/${"x".repeat(17_000)}`), "headers_too_large"],
  ["BAD-12", "4097 characters of URL", () => get(`/${"x".repeat(4096)}`), "url_too_long"],
  ["BAD-12", "a long POST URL", (to) => post(`${to}&x=${"x".repeat(4000)}`, []), "url_too_long"],
  [
    "BAD-13",
    "a key behind a thousand headers",
    () => rawRequest("GET /mcp/sse", [...Array.from({ length: 1000 }, () => "a: b"), `X-API-Key: ${KEY}`]),
    "headers_too_large",
  ],
  [
    "BAD-14",
    "length and chunked",
    (to) => post(to, ["Content-Length: 1", "Transfer-Encoding: chunked"]),
    "bad_request",
  ],
  ["BAD-14", "two lengths", (to) => post(to, ["Content-Length: 42", "Content-Length: 41"]), "bad_request"],
  ["BAD-14", "a list of lengths", (to) => post(to, ["Content-Length: 42, 42"]), "bad_request"],
  ["BAD-14", "length -1", (to) => post(to, ["Content-Length: -1"]), "bad_request"],
  ["BAD-14", "length +2", (to) => post(to, ["Content-Length: +2"]), "bad_request"],
  ["BAD-14", "length 0x2", (to) => post(to, ["Content-Length: 0x2"]), "bad_request"],
  ["BAD-14", "length beyond numbers", (to) => post(to, [`Content-Length: ${"9".repeat(30)}`]), "bad_request"],
  ["BAD-15", "xchunked", (to) => post(to, ["Transfer-Encoding: xchunked"], ""), "transfer_encoding"],
  ["BAD-14", "chunked, then more", (to) => post(to, ["Transfer-Encoding: chunked, gzip"]), "bad_request"],
  [
    "BAD-14",
    "a chunk size that is none",
    (to) => post(to, ["Transfer-Encoding: chunked"], "zz\r\n"),
    "bad_request",
  ],
  [
    "BAD-14",
    "a chunk size that overflows",
    (to) => post(to, ["Transfer-Encoding: chunked"], "fffffffffffffffff\r\n"),
    "bad_request",
  ],
  [
    "BAD-14",
    "a 20 KB chunk extension",
    (to) => post(to, ["Transfer-Encoding: chunked"], `1;${"x".repeat(20_000)}\r\n`),
    "bad_request",
  ],
  [
    "BAD-15",
    "gzip, chunked",
    (to) => post(to, ["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
    "transfer_encoding",
  ],
  [
    "BAD-15",
    "chunked twice",
    (to) => post(to, ["Transfer-Encoding: chunked, chunked"], "0\r\n\r\n"),
    "bad_request",
  ],
  ["BAD-16", "Expect: foo", (to) => post(to, ["Expect: foo"]), "expectation_failed"],
  [
    "BAD-16",
    "Expect: 100-continue and more",
    (to) => post(to, ["Expect: 100-continue, foo"]),
    "expectation_failed",
  ],
  [
    "BAD-18",
    "Accept: application/json",
    () => get("/mcp/sse", { ...OWN, Accept: "application/json" }),
    "not_acceptable",
  ],
  [
    "BAD-18",
    "an event stream refused by q=0",
    () => get("/mcp/sse", { ...OWN, Accept: "text/event-stream;q=0" }),
    "not_acceptable",
  ],
  ["BAD-24", "CONNECT", () => rawRequest("CONNECT evil.example:80"), "method_not_allowed"],
  ["BAD-41", "an unknown path", () => get("/nope"), "not_found"],
  ["BAD-41", "an unknown server", () => get("/mcp/nope/sse"), "not_found"],
  ["BAD-42", "a stream with a body", () => rawRequest("GET /mcp/sse", OWN, "x"), "bad_request"],
  ["BAD-43", "HEAD on the stream", () => rawRequest("HEAD /mcp/sse", OWN), "method_not_allowed"],
];

const METHODS = ["TRACE", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"];

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("bad requests, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());

  it.each(CASES)("%s %s is refused, and the next request is served", async (row, _what, bytes, reason) => {
    const request = bytes(targetOf(stream));
    const connection = openRaw(gateway.port);
    connection.send(request);
    const isHead = request.toString("latin1").startsWith("HEAD");
    if (isHead) {
      await connection.until("\r\n\r\n");
      expect(connection.rest()).toMatch(/^HTTP\/1\.1 405 [^]*\r\n\r\n$/);
    } else expectRefusal(await connection.answer(), reason);
    if (row === "BAD-14") await connection.ended;
    connection.close();
    await expectWell(gateway.port, stream);
    expect(await sessions(gateway)).toBe(1);
  });

  it("BAD-03 HTTP/1.0 is served on /health alone", async () => {
    expect((await exchange(gateway.port, "GET /health HTTP/1.0\r\n\r\n")).status).toBe(200);
  });

  it("BAD-06 other methods on known paths are answered 405 with what is allowed", async () => {
    const paths = {
      "/mcp": "GET, POST, DELETE",
      "/mcp/sse": "GET, POST, DELETE",
      "/messages": "POST",
      "/health": "GET, HEAD",
      "/health/live": "GET, HEAD",
      "/health/ready": "GET, HEAD",
      "/": "GET",
    };
    for (const [path, allow] of Object.entries(paths)) {
      const others = [...METHODS, "GET", "POST"].filter((method) => !allow.split(", ").includes(method));
      for (const method of others) {
        const answer = await exchange(gateway.port, rawRequest(`${method} ${path}`, OWN));
        if (path === "/mcp") expectRpcRefusal(answer, "method_not_allowed");
        else expectRefusal(answer, "method_not_allowed");
        expect(answer.headers["allow"], `${method} ${path}`).toBe(allow);
      }
    }
  });

  it("BAD-06 a method of Streamable HTTP goes to its door also at the stream's path", async () => {
    expectRpcRefusal(
      await exchange(gateway.port, rawRequest("DELETE /mcp/sse", OWN)),
      "mcp_session_id_required",
    );
    expectRpcRefusal(
      await exchange(gateway.port, post("/mcp/sse", [`X-API-Key: ${KEY}`])),
      "mcp_session_id_required",
    );
  });

  it("BAD-17 headers named like members of every object do no harm", async () => {
    const headers = ["__proto__: a", "constructor: b", "toString: c", "hasOwnProperty: d"];
    expect((await exchange(gateway.port, rawRequest("GET /health", headers))).status).toBe(200);
    const posted = await exchange(
      gateway.port,
      post(targetOf(stream), headers, PING.replace('"p"', '"p17"')),
    );
    expect(posted.status).toBe(202);
  });

  it("BAD-24 an upgrade is not taken: the request is answered as any other", async () => {
    for (const upgrade of ["websocket", "h2c"]) {
      const headers = { Connection: "Upgrade", Upgrade: upgrade, "HTTP2-Settings": "AAMAAABkAAQAAP__" };
      expect((await exchange(gateway.port, rawRequest("GET /health", headers))).status).toBe(200);
    }
  });

  it("BAD-44 a Last-Event-ID that means nothing here opens a fresh stream", async () => {
    const known = stream.sessionId;
    const ids = [
      "unknown",
      `${randomUUID()}.1`,
      "x".repeat(10_000),
      known,
      `${known}.`,
      `${known}.-1`,
      `${known}.1.1`,
      `${known}.${"1".repeat(16)}`,
      `${known.toUpperCase()}.1`,
    ];
    for (const id of ids) {
      const fresh = await openTestStream(gateway.url, { headers: { ...OWN, "Last-Event-ID": id } });
      expect(fresh.sessionId).not.toBe(known);
      expect(fresh.events).toHaveLength(1);
      fresh.cut();
    }
    expect(stream.response.closed).toBe(false);
  });

  it("BAD-44 a Last-Event-ID of the caller's own session brings it back, and cuts the stream that it had", async () => {
    const first = await openTestStream(gateway.url);
    const headers = { ...OWN, "Last-Event-ID": `${first.sessionId}.0` };
    const second = await openTestStream(gateway.url, { headers });
    expect(second.sessionId).toBe(first.sessionId);
    await first.ended;
    await expectWell(gateway.port, second);
    second.cut();
  });

  it("BAD-44 a client id that is no plain short word is refused", async () => {
    for (const id of ["%0d%0aevent:%20x", "", "a%20b", "%C3%A4", "x".repeat(129)]) {
      const request = rawRequest(`GET /mcp/sse?clientId=${id}`, OWN);
      expectRefusal(await exchange(gateway.port, request), "bad_client_id");
    }
  });
});

async function sessions(gateway: TestGateway): Promise<number> {
  const { body } = await exchange(gateway.port, rawRequest("GET /health/ready"));
  return (JSON.parse(body) as { sessions: number }).sessions;
}
