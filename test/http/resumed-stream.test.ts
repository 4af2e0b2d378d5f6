import { createServer, type ServerResponse } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { ResumedStream } from "../../src/http/resumed-stream.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";

const MESSAGE = Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}');
const PRIME = "retry: 1234\nid: s.l.7\ndata: \n\n";

/** The response to a client that goes on after event 7, as it sees it. */
async function open() {
  let opened = (_res: ServerResponse) => undefined as void;
  const given = new Promise<ServerResponse>((resolve) => (opened = resolve));
  const server = createServer((_req, res) => opened(res));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = openRaw((server.address() as { port: number }).port);
  client.send(rawRequest("GET /"));
  const headers = { "Mcp-Session-Id": "s" };
  const stream = new ResumedStream(await given, { idPrefix: "s.l.", after: 7, headers, retryMs: () => 1234 });
  onTestFinished(async () => {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  });
  return { stream, client };
}

it("a stream that is over before anything came is answered 204, on which no client comes again", async () => {
  const { stream, client } = await open();
  stream.ping();
  stream.end();
  stream.end();
  const { status, headers, body } = await client.answer();
  expect([status, headers["content-type"], body]).toEqual([204, undefined, ""]);
});

it("it begins with its first event, after where the client was", async () => {
  const { stream, client } = await open();
  stream.write(8, MESSAGE);
  stream.end();
  await client.until("\r\n0\r\n\r\n");
  const seen = client.rest();
  expect(seen).toContain("HTTP/1.1 200");
  expect(seen.indexOf(PRIME)).toBeLessThan(
    seen.indexOf(`id: s.l.8\nevent: message\ndata: ${MESSAGE.toString()}\n\n`),
  );
});

it("it begins without an event when one is long in coming, and when its client is to come again", async () => {
  const waiting = await open();
  await waiting.client.until(PRIME);
  const rested = await open();
  rested.stream.end(99);
  await rested.client.until("retry: 99\n\n");
});
