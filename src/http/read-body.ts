import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";

/** Whether a body comes with a request. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return (headers["content-length"] ?? "0") !== "0" || headers["transfer-encoding"] !== undefined;
}

/**
 * Refuses a body that is not one uncompressed JSON text in UTF-8, by its headers. Without this a page of another site
 * could send a message as plain text, which browsers do without asking.
 */
export function expectJson({ headers }: IncomingMessage): void {
  const type = headers["content-type"];
  const isJson = type !== undefined && /^application\/json *(?:; *charset="?utf-8"? *)?;?$/i.test(type);
  if (!isJson || headers["content-encoding"] !== undefined) throw new GatewayError("unsupported_media_type");
}

/**
 * Reads a request's body. Rejects with `body_too_large` at the first byte over, or at once when the client says how
 * long it is; what is left unread then is thrown away.
 */
export function readBody(req: IncomingMessage, res: ServerResponse, maxBytes: number): Promise<Buffer> {
  if (Number(req.headers["content-length"] ?? 0) > maxBytes)
    return Promise.reject(new GatewayError("body_too_large"));
  if (req.headers.expect !== undefined) res.writeContinue();
  return new Promise((resolve, reject) => {
    let first: Buffer | undefined;
    let chunks: Buffer[] | undefined;
    let length = 0;
    req.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes) {
        req.pause().removeAllListeners("data");
        reject(new GatewayError("body_too_large"));
      } else if (first === undefined) first = chunk;
      else (chunks ??= [first]).push(chunk);
    });
    req.on("end", () =>
      resolve(chunks === undefined ? (first ?? Buffer.alloc(0)) : Buffer.concat(chunks, length)),
    );
    req.on("error", () => reject(new GatewayError("bad_request")));
    // A client that goes away in the middle of its message sends neither an end nor an error.
    req.on("close", () => {
      if (!req.readableEnded) reject(new GatewayError("bad_request"));
    });
  });
}
