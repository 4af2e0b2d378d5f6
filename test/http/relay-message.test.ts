import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { createDoor } from "../../src/http/door.ts";
import { createRelayRoute, RELAY_PATH, type ReceiveRelayed } from "../../src/http/relay-message.ts";
import { silent } from "../session/scripted.ts";
import { exchange, openRaw, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { expectRefusal } from "./refusal.ts";

const PROOF = { "X-MCP-Relay": "proof" };
const MEGABYTE = "x".repeat(1024 * 1024);

/** A door where other instances are heard by `receive`. */
async function listen(receive: ReceiveRelayed): Promise<number> {
  const nothing = () => undefined;
  const app = createApp({
    openStream: nothing,
    postMessage: nothing,
    streamable: nothing,
    relayMessage: createRelayRoute(receive, () => undefined),
    guardOrigin: nothing,
    allowedOrigins: [],
    ready: nothing,
    storeHealth: nothing,
    metrics: undefined,
    requireKey: nothing,
    log: silent,
  });
  const server = createDoor(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => (server.closeAllConnections(), void server.close()));
  return (server.address() as AddressInfo).port;
}

/** An answer without what differs from one to the next. */
function told({ status, head, body }: RawAnswer): unknown {
  const { requestId } = JSON.parse(body) as { requestId: string };
  const words = `${status} ${head} ${body}`.replaceAll(requestId, "<id>");
  return words.replace(/Date: .*/, "");
}

test.each<[string, string, Record<string, string>, string]>([
  ["no proof", "POST", {}, "body"],
  ["no proof and no body", "POST", {}, ""],
  ["a wrong proof", "POST", PROOF, "body"],
  ["a wrong proof and no body", "POST", PROOF, ""],
  ["a wrong proof, and a large body", "POST", PROOF, MEGABYTE],
  ["an empty proof", "POST", { "X-MCP-Relay": "" }, "body"],
  ["an API key", "POST", { "X-API-Key": "key" }, "body"],
  ["GET", "GET", PROOF, ""],
  ["PUT", "PUT", PROOF, "body"],
  ["OPTIONS", "OPTIONS", PROOF, ""],
])("answers %s as a path that is not there", async (_, method, headers, body) => {
  const port = await listen(async () => "unproven");
  const [here, nowhere] = await Promise.all(
    [RELAY_PATH, "/internal/nothing"].map((path) =>
      exchange(port, rawRequest(`${method} ${path}`, headers, body)),
    ),
  );
  expectRefusal(here as RawAnswer, "not_found");
  expect(told(here as RawAnswer)).toEqual(told(nowhere as RawAnswer));
});

test("does not look at what is not a POST with one header", async () => {
  const port = await listen(() => expect.unreachable());
  for (const line of ["GET", "PUT", "DELETE", "OPTIONS"]) {
    expectRefusal(await exchange(port, rawRequest(`${line} ${RELAY_PATH}`, PROOF)), "not_found");
  }
  expectRefusal(await exchange(port, rawRequest(`POST ${RELAY_PATH}`)), "not_found");
});

test("answers before a body has come that nobody has proven", async () => {
  const port = await listen(async () => "unproven");
  const connection = openRaw(port);
  onTestFinished(connection.close);
  connection.send(
    rawRequest(`POST ${RELAY_PATH}`, { ...PROOF, "Content-Length": "1000", Expect: "100-continue" }),
  );
  expectRefusal(await connection.answer(), "not_found");
});

test("hands over a proven body as it came, up to the length that the proof tells", async () => {
  const seen: string[] = [];
  const port = await listen(async (header, readBody) => {
    seen.push(header, (await readBody(4)).toString());
    return { status: 200, body: Buffer.from("sealed\n{}") };
  });
  const answer = await exchange(port, rawRequest(`POST ${RELAY_PATH}`, PROOF, "é\r\n"));
  expect(seen).toEqual(["proof", "é\r\n"]);
  expect([answer.status, answer.body]).toEqual([200, "sealed\n{}"]);
  expect(answer.headers).toMatchObject({
    "content-type": "application/octet-stream",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  for (const headers of [{}, { "Transfer-Encoding": "chunked" }]) {
    const body = "Transfer-Encoding" in headers ? "5\r\n12345\r\n0\r\n\r\n" : "12345";
    const refused = await exchange(port, rawRequest(`POST ${RELAY_PATH}`, { ...PROOF, ...headers }, body));
    expectRefusal(refused, "not_found");
  }
});

test("says 421 when the message is for another instance", async () => {
  const port = await listen(async () => ({ status: 421, body: Buffer.from("who is here") }));
  const answer = await exchange(port, rawRequest(`POST ${RELAY_PATH}`, PROOF));
  expect([answer.status, answer.body]).toEqual([421, "who is here"]);
});

test("says nothing at all of what may not be answered any more", async () => {
  const port = await listen(async (_header, readBody) => (await readBody(4), "silent"));
  const connection = openRaw(port);
  onTestFinished(connection.close);
  connection.send(rawRequest(`POST ${RELAY_PATH}`, PROOF, "body"));
  await connection.ended;
  expect(connection.rest()).toBe("");
});
