import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FAULTS } from "../../src/errors.ts";
import { openRaw, rawRequest } from "../support/raw-http.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { expectWell, targetOf } from "./refusal.ts";

let gateway: TestGateway;
let stream: TestStream;
beforeAll(async () => {
  gateway = await startTestGateway();
  stream = await openTestStream(gateway.url);
});
afterAll(() => gateway.close());

const PIECES = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  " ",
  ":",
  "Host: a\r\n",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Expect: 100-continue\r\n",
  "Upgrade: h2c\r\n",
  "HTTP/1.1",
  "?",
  "#",
  "%",
  "&",
  "POST ",
  "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
  "0\r\n\r\n",
  "{",
  "é",
  "\xff",
];

/** Some places of a request, and what becomes of them. */
const mutations = fc.array(
  fc.record({
    at: fc.nat(2000),
    drop: fc.nat(8),
    put: fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 4, unit: "binary" })),
  }),
  { maxLength: 4 },
);

it("BAD-14 whatever bytes come, each answer is whole and foreseen, and the next client is served", async () => {
  const bases = (): Buffer[] => {
    const body = '{"jsonrpc":"2.0","method":"notifications/x"}';
    const json = ["Content-Type: application/json", `X-API-Key: ${KEY}`];
    const coded = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    return [
      rawRequest(`POST ${targetOf(stream)}`, json, body),
      rawRequest(`POST ${targetOf(stream)}`, [...json, "Transfer-Encoding: chunked"], coded),
      rawRequest("GET /health/ready"),
      rawRequest("OPTIONS /mcp/sse", { Origin: "https://a.example" }),
    ];
  };
  const statuses = new Set<number>([200, 202, 100, ...Object.values(FAULTS).map(({ status }) => status)]);
  statuses.delete(500);
  await fc.assert(
    fc.asyncProperty(fc.nat(3), mutations, async (which, changes) => {
      let bytes = (bases()[which] as Buffer).toString("latin1");
      for (const { at, drop, put } of changes) {
        const place = at % (bytes.length + 1);
        bytes = bytes.slice(0, place) + put + bytes.slice(place + drop);
      }
      const connection = openRaw(gateway.port);
      // A last request that no parser takes brings the answers to an end.
      connection.socket.end(Buffer.from(`${bytes}\r\n\r\n`, "latin1"));
      await connection.ended;
      connection.close();
      for (const [, status] of connection.rest().matchAll(/^HTTP\/1\.1 (\d+)/gm))
        expect(statuses).toContain(Number(status));
    }),
    { numRuns: 400 },
  );
  await expectWell(gateway.port, stream);
  expect(gateway.logs().filter(({ level }) => level === "error" || level === "fatal")).toEqual([]);
});
