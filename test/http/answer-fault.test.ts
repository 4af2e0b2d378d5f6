import { createServer, type ServerResponse } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { AnswerStream } from "../../src/http/answer-stream.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";

it("a fault that the gateway tells comes behind everything else, under a number that was not there yet", async () => {
  let opened = (_res: ServerResponse) => undefined as void;
  const given = new Promise<ServerResponse>((resolve) => (opened = resolve));
  const server = createServer((_req, res) => opened(res));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = openRaw((server.address() as { port: number }).port);
  onTestFinished(async () => {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  });
  client.send(rawRequest("POST /"));
  const stream = new AnswerStream(await given, {
    idPrefix: "s.l.",
    canPrime: true,
    prefersStream: true,
    sessionId: "s",
    retryMs: () => 1234,
  });
  stream.write(77, Buffer.from("{}"));
  stream.fail(Buffer.from('{"error":{}}'));
  await client.until("\r\n0\r\n\r\n");
  const ids = [...client.rest().matchAll(/^id: (.*)$/gm)].map(([, id]) => id);
  expect(ids).toEqual(["s.l.0", "s.l.77", "s.l.78"]);
});
