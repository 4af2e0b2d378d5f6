import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { exchange, rawRequest } from "../support/raw-http.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway } from "../support/start-gateway.ts";
import { expectRefusal, expectWell, targetOf } from "./refusal.ts";

const JSON_TYPE = "Content-Type: application/json";
const PING = '{"jsonrpc":"2.0","id":"p","method":"ping"}';
const wrongKey = (headers: Record<string, string> = {}) =>
  rawRequest("GET /mcp/sse", { "X-API-Key": `wrong-${randomUUID()}`, ...headers });

it("SEC-60 the eleventh wrong key of an address in a minute is slowed down, and the right one still works", async () => {
  const gateway = await startTestGateway();
  for (let count = 0; count < 30; count += 1) await fetch(`${gateway.url}/.well-known/x`);
  for (let count = 0; count < 10; count += 1)
    expectRefusal(await exchange(gateway.port, wrongKey()), "api_key_invalid");
  const answer = await exchange(gateway.port, wrongKey());
  expectRefusal(answer, "auth_rate_limited");
  expect(answer.headers["retry-after"]).toBe("60");
  const stream = await openTestStream(gateway.url);
  await expectWell(gateway.port, stream);
  await gateway.close();
});

it("SEC-60 guesses of tokens count as wrong keys do", async () => {
  const gateway = await startTestGateway();
  const stream = await openTestStream(gateway.url);
  const guess = () =>
    exchange(
      gateway.port,
      rawRequest(`POST /messages?sessionId=${stream.sessionId}&token=${randomUUID()}`, [JSON_TYPE], PING),
    );
  for (let count = 0; count < 10; count += 1) expectRefusal(await guess(), "session_not_found");
  expectRefusal(await guess(), "auth_rate_limited");
  await expectWell(gateway.port, stream);
  await gateway.close();
});

it.each([
  ["off", { "X-Real-IP": "" }],
  ["1", {}],
])("SEC-62 a thousand invented X-Forwarded-For are one address, TRUST_PROXY=%s", async (trust, more) => {
  const gateway = await startTestGateway({ env: { TRUST_PROXY: trust } });
  const reasons: string[] = [];
  for (let count = 0; count < 1000; count += 1) {
    const invented = `10.0.${count >> 8}.${count & 255}`;
    // A proxy in front adds what it saw at the right end.
    const headers = { "X-Forwarded-For": trust === "1" ? `${invented}, 192.0.2.7` : invented, ...more };
    const { status } = await fetch(`${gateway.url}/mcp/sse`, {
      headers: { "X-API-Key": "wrong", ...headers },
    });
    reasons.push(String(status));
  }
  expect(reasons.slice(0, 10)).toEqual(Array.from({ length: 10 }, () => "401"));
  expect(new Set(reasons.slice(10))).toEqual(new Set(["429"]));
  await gateway.close();
});

it("SEC-62 on Railway the edge's X-Real-IP tells addresses apart", async () => {
  const gateway = await startTestGateway({ env: { TRUST_PROXY: "railway" } });
  const from = (address: string) =>
    exchange(gateway.port, wrongKey({ "X-Real-IP": address, "X-Forwarded-For": "x" }));
  for (let count = 0; count < 10; count += 1) await from("192.0.2.1");
  expectRefusal(await from("192.0.2.1"), "auth_rate_limited");
  expectRefusal(await from("192.0.2.2"), "api_key_invalid");
  await gateway.close();
});

it("SEC-63 guesses of session ids with a valid key count against that key alone", async () => {
  const gateway = await startTestGateway();
  const own = await openTestStream(gateway.url, { headers: { "x-api-key": OTHER_KEY } });
  const victim = await openTestStream(gateway.url);
  const guess = (id: string, key = OTHER_KEY) =>
    exchange(
      gateway.port,
      rawRequest(`POST /messages?sessionId=${id}`, [JSON_TYPE, `X-API-Key: ${key}`], PING),
    );
  for (let count = 0; count < 60; count += 1) {
    // Another's session counts as one that is not there: the count must not tell them apart either.
    const id = [randomUUID(), victim.sessionId, "not-an-id"][count % 3] as string;
    expectRefusal(await guess(id), "session_not_found");
  }
  const answer = await guess(randomUUID());
  expectRefusal(answer, "auth_rate_limited");
  expectRefusal(await guess(victim.sessionId), "auth_rate_limited");
  expectRefusal(await guess(randomUUID(), KEY), "session_not_found");
  await expectWell(gateway.port, own);
  expect(
    (await exchange(gateway.port, rawRequest(`POST ${targetOf(victim)}`, [JSON_TYPE], PING))).status,
  ).toBe(202);
  await gateway.close();
});
