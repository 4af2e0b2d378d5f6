import { expect } from "vitest";
import { FAULTS, type Reason } from "../../src/errors.ts";
import type { TestStream } from "../support/sse-client.ts";
import { exchange, rawRequest, type RawAnswer } from "../support/raw-http.ts";

/**
 * What every refusal promises: its status and reason, JSON in exactly the words of the table (so nothing of the request,
 * no stack and no path), an id, and nothing to cache or to sniff at.
 */
export function expectRefusal(answer: RawAnswer, reason: Reason): void {
  const { status, error, message } = FAULTS[reason];
  const { requestId, ...words } = JSON.parse(answer.body) as Record<string, unknown>;
  expect({ status: answer.status, ...words }).toEqual({ status, error, reason, message });
  expect(answer.headers).toMatchObject({
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-request-id": requestId,
  });
  expect(answer.headers).not.toHaveProperty("x-powered-by");
  expect(answer.headers).not.toHaveProperty("etag");
}

/** The same where clients speak Streamable HTTP: a JSON-RPC error, with the id of the request that it answers if it is known. */
export function expectRpcRefusal(answer: RawAnswer, reason: Reason, id: unknown = null): void {
  const { status, rpcCode, message } = FAULTS[reason];
  const requestId = answer.headers["x-request-id"];
  expect(requestId).toMatch(/^\w{6}-\w{6}$/);
  const error = { code: rpcCode, message, data: { reason, requestId } };
  expect([answer.status, JSON.parse(answer.body)]).toEqual([status, { jsonrpc: "2.0", error, id }]);
  expect(answer.headers).toMatchObject({
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
  });
}

/** The path and query of a stream's endpoint. */
export const targetOf = ({ endpoint }: TestStream): string =>
  new URL(endpoint).pathname + new URL(endpoint).search;

let pings = 0;

/** The process lives and takes the next message of this session. */
export async function expectWell(port: number, stream: TestStream): Promise<void> {
  const id = `well-${(pings += 1)}`;
  const body = JSON.stringify({ jsonrpc: "2.0", id, method: "ping" });
  const post = rawRequest(`POST ${targetOf(stream)}`, { "Content-Type": "application/json" }, body);
  expect((await exchange(port, post)).status).toBe(202);
  await stream.next((message) => message.id === id);
}
