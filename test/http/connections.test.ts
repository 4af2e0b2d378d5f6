import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectWell, targetOf } from "./refusal.ts";

const JSON_TYPE = "Content-Type: application/json";
const ping = (id: string) => `{"jsonrpc":"2.0","id":"${id}","method":"ping"}`;
const PING = ping("p");
const MAX = 64 * 1024;

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("connections, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env: { MAX_BODY_BYTES: String(MAX) } });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());

  const post = (headers: string[], body: string | Buffer = "") =>
    rawRequest(`POST ${targetOf(stream)}`, [JSON_TYPE, ...headers], body);
  const sessions = async () =>
    ((await (await fetch(`${gateway.url}/health/ready`)).json()) as { sessions: number }).sessions;

  it("BAD-42 what follows a refused body on its connection is not carried out", async () => {
    const smuggled = post([], ping("smuggled"));
    const connection = openRaw(gateway.port);
    connection.send(Buffer.concat([post(["Content-Encoding: gzip"], PING), smuggled, smuggled]));
    expectRefusal(await connection.answer(), "unsupported_media_type");
    await connection.ended;
    expect(connection.rest()).toBe("");
    const other = openRaw(gateway.port);
    other.send(Buffer.concat([post([`Content-Length: ${MAX * 2}`], smuggled), smuggled]));
    expectRefusal(await other.answer(), "body_too_large");
    other.close();
    await expectWell(gateway.port, stream);
    expect(stream.messages.map(({ id }) => id)).not.toContain("smuggled");
  });

  it("BAD-42 requests on one connection are answered in their order", async () => {
    const connection = openRaw(gateway.port);
    const nope = rawRequest("GET /nope");
    connection.send(Buffer.concat([post([], ping("p1")), nope, post([], ping("p2"))]));
    expect((await connection.answer()).status).toBe(202);
    expectRefusal(await connection.answer(), "not_found");
    expect((await connection.answer()).status).toBe(202);
    connection.send(rawRequest("GET /mcp/sse", { "X-API-Key": KEY }));
    expect((await connection.answer()).status).toBe(200);
    connection.close();
  });

  it("BAD-42 a stream behind another answer is refused, so nothing waits unseen", async () => {
    await expect.poll(sessions).toBe(1);
    const connection = openRaw(gateway.port);
    const open = rawRequest("GET /mcp/sse", { "X-API-Key": KEY });
    connection.send(Buffer.concat([open, open, open]));
    await connection.until("event: endpoint");
    expect(await sessions()).toBe(2);
    connection.close();
    await expect.poll(sessions).toBe(1);
  });

  it("what is not HTTP after a stream has begun ends it, and writes nothing into it", async () => {
    const connection = openRaw(gateway.port);
    connection.send(rawRequest("GET /mcp/sse", { "X-API-Key": KEY }));
    await connection.until("event: endpoint");
    connection.send("garbage\r\n\r\n");
    await connection.ended;
    expect(connection.rest()).not.toContain("HTTP/1.1 400");
  });

  it("BAD-14 a body longer than declared: the request is answered, what follows is not carried out", async () => {
    for (const declared of [PING.length - 1, 2]) {
      const connection = openRaw(gateway.port);
      connection.send(post([`Content-Length: ${declared}`], PING));
      const answer = await connection.answer();
      expectRefusal(answer, "parse_error");
      expect(answer.headers["connection"]).toBe("close");
      expect(await connection.ended).toBe("end");
      expect(connection.rest()).toBe("");
    }
  });

  it("a pipelined request with an unknown expectation is refused in its turn", async () => {
    const connection = openRaw(gateway.port);
    connection.send(Buffer.concat([post([], ping("p3")), post(["Expect: foo"], "{}")]));
    expect((await connection.answer()).status).toBe(202);
    expectRefusal(await connection.answer(), "expectation_failed");
    connection.close();
    await expectWell(gateway.port, stream);
  });

  it.each([
    ["CONNECT", rawRequest("CONNECT evil.example:80")],
    ["what is not HTTP", Buffer.from("garbage\r\n\r\n")],
    ["an unfinished body", rawRequest("POST /messages", ["Content-Length: 1000"], "{")],
  ])("a reset after %s ends that connection and nothing else", async (_what, bytes) => {
    const connection = openRaw(gateway.port);
    connection.send(bytes);
    await connection.answer();
    connection.socket.resetAndDestroy();
    await expectWell(gateway.port, stream);
  });

  it("a client that half-closes or leaves in the middle of a body leaves nothing", async () => {
    const before = await sessions();
    const half = openRaw(gateway.port);
    half.socket.end(rawRequest("GET /mcp/sse", { "X-API-Key": KEY }));
    await half.ended;
    half.close();
    const torn = openRaw(gateway.port);
    torn.send(post([`Content-Length: ${PING.length}`], PING.slice(0, 10)));
    torn.socket.end();
    await torn.ended;
    await expect.poll(sessions).toBe(before);
    await expectWell(gateway.port, stream);
  });
});

it("who is refused and never closes does not keep the connection", async () => {
  const gateway = await startTestGateway();
  const connections = ["garbage\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"].map((bytes) => {
    const connection = openRaw(gateway.port);
    connection.send(bytes);
    return connection;
  });
  await Promise.all(
    connections.map(async (connection) => {
      await connection.ended;
      // Our side is open still; once theirs is gone, what we send is answered by a reset.
      const gone = new Promise((resolve) => connection.socket.once("close", resolve));
      const knock = setInterval(() => connection.socket.write("x"), 50);
      await gone;
      clearInterval(knock);
    }),
  );
  await gateway.close();
});
