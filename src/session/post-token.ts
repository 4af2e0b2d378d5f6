import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/**
 * Makes and checks post tokens: the credential in the `endpoint` URL that opens POSTs to that one session, for clients
 * whose key was in the URL of the stream and who send it nowhere else. It is derived, so every instance with the same
 * keys can check it without asking the store, and a guess costs no store command.
 */
export class PostTokens {
  readonly #secret: Buffer;

  /** @param keyDigests SHA-256 digests of the API keys that are accepted. */
  constructor(keyDigests: readonly Buffer[]) {
    const material = Buffer.concat([...keyDigests].sort((one, other) => Buffer.compare(one, other)));
    this.#secret = Buffer.from(hkdfSync("sha256", material, "", "mcp-sse-gateway post token", 32));
  }

  /** The token of a session, 43 characters that need no escaping in a URL. */
  for(sessionId: string): string {
    return createHmac("sha256", this.#secret).update(sessionId).digest("base64url");
  }

  /** Whether this is the session's token, in constant time. */
  opens(sessionId: string, token: string): boolean {
    return sameText(this.for(sessionId), token);
  }
}

/** Compares two texts in a time that depends on their lengths alone. */
export function sameText(expected: string, given: string): boolean {
  const one = Buffer.from(expected);
  const other = Buffer.from(given);
  return one.length === other.length && timingSafeEqual(one, other);
}
