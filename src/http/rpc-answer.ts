import type { IncomingMessage, ServerResponse } from "node:http";
import type { GatewayError } from "../errors.ts";
import type { Log } from "../log.ts";
import { answerText, faultOf, refusalHeaders, requestIdOf, tellRefusal } from "./answer.ts";

/**
 * Answers with a fault as a JSON-RPC error, where clients speak Streamable HTTP; the headers are those of `answerError`.
 * @param id of the request that it answers, as in `Envelope.id`. Without one it is `null`.
 */
export function answerRpcError(
  req: IncomingMessage,
  res: ServerResponse,
  error: unknown,
  log: Log,
  id?: string,
): void {
  const fault = faultOf(error);
  tellRefusal(req, res, fault, log);
  // A stream that has begun can only be cut.
  if (res.headersSent) return void res.destroy();
  answerText(res, fault.words.status, rpcError(fault, requestIdOf(res), id), refusalHeaders(req, res, fault));
}

/** The same for a stream that has begun and has only its events left to say it with. */
export function lateRpcError(res: ServerResponse, error: unknown, log: Log, id?: string): Buffer {
  const fault = faultOf(error);
  if (fault.reason === "internal") log.error({ err: error }, "request failed");
  return Buffer.from(rpcError(fault, requestIdOf(res), id));
}

/** A fault as a JSON-RPC error response on one line. */
export function rpcError({ reason, words, data }: GatewayError, requestId: string, id = "null"): string {
  const error = { code: words.rpcCode, message: words.message, data: { reason, requestId, ...data } };
  return `{"jsonrpc":"2.0","error":${JSON.stringify(error)},"id":${id}}`;
}
