import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDoor } from "../../src/http/door.ts";
import { exchange, openRaw, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectRefusal, targetOf } from "./refusal.ts";

const JSON_TYPE = "Content-Type: application/json";
const ping = (id: string) => `{"jsonrpc":"2.0","id":"${id}","method":"ping"}`;
const PING = ping("p");
const MAX = 64 * 1024;
const run = promisify(execFile);

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("the door, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  let stream: TestStream;
  beforeAll(async () => {
    gateway = await startTestGateway({ thinPath, env: { MAX_BODY_BYTES: String(MAX) } });
    stream = await openTestStream(gateway.url);
  });
  afterAll(() => gateway.close());

  const post = (headers: string[], body: string | Buffer = "") =>
    rawRequest(`POST ${targetOf(stream)}`, [JSON_TYPE, ...headers], body);
  it("BAD-16 100 Continue comes after keys and limits, and the body is read then", async () => {
    const expecting = [`Content-Length: ${PING.length}`, "Expect: 100-continue"];
    const connection = openRaw(gateway.port);
    connection.send(post(expecting));
    expect((await connection.answer()).status).toBe(100);
    connection.send(PING);
    expect((await connection.answer()).status).toBe(202);
    connection.close();

    const stranger = rawRequest("POST /messages?sessionId=x", expecting);
    expectRefusal(await exchange(gateway.port, stranger), "api_key_missing");
    const large = post([`Content-Length: ${MAX + 1}`, "Expect: 100-continue"]);
    expectRefusal(await exchange(gateway.port, large), "body_too_large");
    const text = rawRequest(`POST ${targetOf(stream)}`, ["Content-Type: text/plain", ...expecting]);
    expectRefusal(await exchange(gateway.port, text), "unsupported_media_type");
  });

  it("BAD-33 a declared body that is too large is refused before a byte of it has come", async () => {
    const answer = await exchange(gateway.port, post(["Content-Length: 50000000"]));
    expectRefusal(answer, "body_too_large");
    expect(answer.headers["connection"]).toBe("close");
  });

  it("BAD-33 a chunked body is refused at the first byte over", async () => {
    const connection = openRaw(gateway.port);
    connection.send(post(["Transfer-Encoding: chunked"]));
    connection.send(`${MAX.toString(16)}\r\n${" ".repeat(MAX)}\r\n`);
    connection.send("1\r\n \r\n");
    expectRefusal(await connection.answer(), "body_too_large");
    connection.close();
  });

  it("BAD-33 a client that sends on while it is refused can read why", async () => {
    const body = "x".repeat(20_000_000);
    for (let round = 0; round < 3; round += 1) {
      const answer = await stream.post(body);
      expect(await answer.json()).toMatchObject({ reason: "body_too_large" });
    }
    // It reads nothing until it has sent everything, as many a plain client does.
    const connection = openRaw(gateway.port);
    connection.socket.pause();
    await new Promise<void>((resolve) => connection.socket.write(post([], body), () => resolve()));
    connection.socket.resume();
    expectRefusal(await connection.answer(), "body_too_large");
    expect(await connection.ended).toBe("end");
  });

  it("BAD-33 curl can read why, too", async () => {
    const headers = ["-H", JSON_TYPE, "-H", "Expect:"];
    const data = ["--data-binary", "@/proc/self/exe", "-H", "Transfer-Encoding: chunked"];
    const curl = run("curl", ["-sS", "-w", "%{http_code}", ...headers, ...data, stream.endpoint]);
    expect((await curl).stdout).toMatch(/"reason":"body_too_large".*413$/);
  });

  it("BAD-33 who sends on for ever after the refusal is cut", async () => {
    const connection = openRaw(gateway.port);
    connection.send(post(["Content-Length: 900000000"]));
    expectRefusal(await connection.answer(), "body_too_large");
    const chunk = Buffer.alloc(1024 * 1024);
    const pour = () => connection.socket.write(chunk, (error) => error ?? pour());
    pour();
    await connection.ended;
    expect(connection.socket.bytesWritten).toBeLessThan(200_000_000);
  });
});

it("requests are answered with the same bytes on the thin path as by Express alone", async () => {
  const gateways = await Promise.all([true, false].map((thinPath) => startTestGateway({ thinPath })));
  const post = (target: string, headers: string[], body = PING) =>
    rawRequest(`POST ${target}`, headers, body);
  const key = `X-API-Key: ${KEY}`;
  const unknown = "/messages?sessionId=11111111-1111-4111-8111-111111111111";
  const requests = (own: string): Buffer[] => [
    post(own, [JSON_TYPE]),
    post(own, [JSON_TYPE, key], "{}"),
    post(own, [JSON_TYPE, key], "["),
    post(own, [JSON_TYPE, `X-API-Key: ${OTHER_KEY}`]),
    post(own, [key]),
    post(own, [JSON_TYPE, "Content-Length: 99999999"], ""),
    post(own, [JSON_TYPE, "Origin: https://evil.example"]),
    post(own, [JSON_TYPE, "Host: not a host"]),
    post(own, [JSON_TYPE, "Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
    post(own, [JSON_TYPE, "Expect: foo"]),
    post(`${own}&token=x`, [JSON_TYPE]),
    post(`${own}#x`, [JSON_TYPE]),
    post(unknown, [JSON_TYPE]),
    post(unknown, [JSON_TYPE, key]),
    post(`${unknown}&token=x`, [JSON_TYPE]),
    post("/messages?", [JSON_TYPE, key]),
    post("/messages", [JSON_TYPE, key]),
  ];
  const strip = ({ head, body }: RawAnswer) =>
    `${head}\n${body}`.replaceAll(/(X-Request-Id: |"requestId":")[a-z0-9-]+|Date: .*/g, "$1");
  const [thin, express] = await Promise.all(
    gateways.map(async ({ url, port }) => {
      const stream = await openTestStream(url);
      const answers: string[] = [];
      for (const request of requests(targetOf(stream))) answers.push(strip(await exchange(port, request)));
      return answers;
    }),
  );
  expect(thin).toEqual(express);
  await Promise.all(gateways.map((gateway) => gateway.close()));
});

it("a request that is too slow to arrive is answered 408", async () => {
  const server = createDoor(() => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // Node looks for slow requests once a second; what it then says is said here.
  server.once("connection", (socket) => {
    server.emit("clientError", Object.assign(new Error(), { code: "ERR_HTTP_REQUEST_TIMEOUT" }), socket);
  });
  expectRefusal(await exchange((server.address() as { port: number }).port, "GET / HT"), "request_timeout");
  await new Promise((resolve) => server.close(resolve));
});
