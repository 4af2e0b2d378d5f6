import { createHash } from "node:crypto";

/** Who opens a stream, and from where. */
export interface Visitor {
  /** The caller's name. */
  caller: string;
  /** Id of the API key that it showed. */
  key?: string | undefined;
  /** Name of the MCP server that it wants. */
  server: string;
  userAgent: string;
  address: string;
  /** What the client calls itself, when it does. */
  clientId: string | undefined;
}

/**
 * What a client is recognised by when it comes back: the name it gives itself, else its program and address. Always
 * within one caller and one server, so that nobody is ever taken for another caller's client.
 */
export function fingerprint({ caller, server, userAgent, address, clientId }: Visitor): string {
  const marks = clientId === undefined ? [userAgent, address] : [clientId];
  return createHash("sha256")
    .update(JSON.stringify([caller, server, ...marks]))
    .digest("base64url")
    .slice(0, 32);
}
