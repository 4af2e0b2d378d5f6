import { FAULTS, type Reason } from "../errors.ts";
import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, splice, type Span } from "../protocol/splice.ts";

export const INVALID_REQUEST = -32600;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;
const RESOURCE_NOT_FOUND = -32002;

/** A JSON-RPC result. `id` and `result` are JSON text. */
export const resultMessage = (id: string, result: string): Buffer =>
  Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":${result}}`);

/** A JSON-RPC error without a reason: what a server itself would say. */
export const errorMessage = (id: string, code: number, message: string): Buffer =>
  Buffer.from(`{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code, message })}}`);

/** The error for a request whose server cannot answer it: it names the server. */
export function unavailable(id: string, server: string, reason: Reason): Buffer {
  const { rpcCode: code } = FAULTS[reason];
  const data = { reason, server };
  return Buffer.from(
    `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code, message: sorry(server, reason), data })}}`,
  );
}

function sorry(server: string, reason: Reason): string {
  switch (reason) {
    case "upstream_exited":
      return `Server ${server} ended before it answered. It may or may not have carried the request out.`;
    case "upstream_era":
      return `Server ${server} is not available: it speaks only versions with initialize.`;
    case "upstream_timeout":
      return `Server ${server} is not available: it did not answer in time.`;
    default:
      return `Server ${server} is not available.`;
  }
}

/** The same message under another id, which is JSON text. */
export const withId = (message: Buffer, id: string): Buffer =>
  splice(message, [{ ...(locate(message, ["id"]) as Span), text: id }]);

/** The JSON-RPC error code of a message; 0 when there is none. */
export function errorCode(message: Buffer, { failed }: Pick<Envelope, "failed">): number {
  const span = failed ? locate(message, ["error", "code"]) : undefined;
  return span === undefined ? 0 : Number(message.toString("latin1", span.start, span.end));
}

/** Whether a server says with this code that it does not have what it was asked for. */
export const isNotFound = (code: number): boolean =>
  code === RESOURCE_NOT_FOUND || code === INVALID_PARAMS || code === METHOD_NOT_FOUND;
