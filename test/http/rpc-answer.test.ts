import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FAULTS, GatewayError, type Reason } from "../../src/errors.ts";
import { answerError } from "../../src/http/answer.ts";
import { answerRpcError } from "../../src/http/rpc-answer.ts";
import { exchange, openRaw, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { captureLog } from "../upstream/recorder.ts";

const { log, text } = captureLog();
/** What the next requests are answered with. */
let thrown: unknown;
let id: string | undefined;
const server = createServer((req, res) => {
  if (req.url === "/plain") return answerError(req, res, thrown, log);
  if (req.url === "/begun") {
    res.writeHead(200);
    res.write("begun");
  }
  answerRpcError(req, res, thrown, log, id);
});
let port: number;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => new Promise<void>((resolve) => server.close(() => resolve())));

const ask = (path = "/rpc", body = "") => exchange(port, rawRequest(`POST ${path}`, {}, body));
const headersOf = ({ headers }: RawAnswer) => ({
  ...headers,
  date: undefined,
  "content-length": undefined,
  "x-request-id": undefined,
});

it.each(Object.keys(FAULTS) as Reason[])(
  "%s has the status and headers that it has elsewhere",
  async (reason) => {
    thrown = new GatewayError(reason);
    id = '"a"';
    const [rpc, plain] = [await ask(), await ask("/plain")];
    expect([rpc.status, headersOf(rpc)]).toEqual([plain.status, headersOf(plain)]);
    expect(JSON.parse(rpc.body)).toEqual({
      jsonrpc: "2.0",
      error: {
        code: FAULTS[reason].rpcCode,
        message: FAULTS[reason].message,
        data: { reason, requestId: rpc.headers["x-request-id"] },
      },
      id: "a",
    });
  },
);

it("closes the connection with a body that nobody read", async () => {
  thrown = new GatewayError("body_too_large");
  expect((await ask("/rpc", "{}")).headers["connection"]).toBe("close");
});

it("tells what the protocol wants told, under the code that it wants", async () => {
  thrown = new GatewayError("meta_required", { data: { envelope: { key: "_meta" } } });
  id = undefined;
  const { status, body } = await ask();
  expect(status).toBe(400);
  expect(JSON.parse(body)).toMatchObject({
    id: null,
    error: { code: -32602, data: { reason: "meta_required", envelope: { key: "_meta" } } },
  });
});

it("keeps an id that no number of JavaScript can hold", async () => {
  thrown = new GatewayError("draining");
  id = "9223372036854775807";
  expect((await ask()).body).toMatch(/"id":9223372036854775807}$/);
});

it("hides a bug from the client and tells it to the log", async () => {
  thrown = new TypeError("a secret");
  const { status, body } = await ask();
  expect(status).toBe(500);
  expect(body).not.toContain("a secret");
  expect(text()).toContain("a secret");
});

it("cuts an answer that has begun", async () => {
  thrown = new GatewayError("upstream_exited");
  const connection = openRaw(port);
  connection.send(rawRequest("POST /begun"));
  await connection.ended;
  expect(connection.rest()).not.toContain("upstream_exited");
  connection.close();
});
