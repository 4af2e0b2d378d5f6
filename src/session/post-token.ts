import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { GatewayError } from "../errors.ts";

/** A key under which tokens are made. */
export interface TokenKey {
  id: string;
  caller: string;
  /** SHA-256 of the key. */
  digest: Buffer;
}

/** The keys that there are. */
export interface TokenKeys {
  /** The key of this id, which may have ended. */
  ofId(id: string): TokenKey | undefined;
  /** Whether the key of this id is here and has not ended. */
  isActive(id: string): boolean;
}

/**
 * Makes and checks post tokens: the credential in the `endpoint` URL that opens POSTs to that one session, for clients
 * whose key was in the URL of the stream and who send it nowhere else. A token names the key that the stream was opened
 * with and is derived from that key alone: other keys may come and go, it ends with its own, and every instance with the
 * same keys can check it without asking the store.
 */
export class PostTokens {
  readonly #keys: TokenKeys;
  /** Derived once for each key, and gone with it. */
  readonly #secrets = new WeakMap<TokenKey, Buffer>();

  constructor(keys: TokenKeys) {
    this.#keys = keys;
  }

  /** The token of a session under a key, at most 58 characters that need no escaping in a URL. Throws `api_key_invalid` when the key is gone. */
  for(sessionId: string, keyId: string): string {
    const key = this.#keys.ofId(keyId);
    if (key === undefined) throw new GatewayError("api_key_invalid");
    return `${keyId}-${this.#proof(sessionId, key)}`;
  }

  /**
   * The key under which this is the session's token, compared in constant time; undefined when there is none. Whoever
   * has a key can make its tokens for any session: it proves the key's caller, and the session must be that caller's.
   */
  opens(sessionId: string, token: string): TokenKey | undefined {
    const end = token.indexOf("-");
    const id = token.slice(0, Math.max(end, 0));
    const key = this.#keys.isActive(id) ? this.#keys.ofId(id) : undefined;
    if (key === undefined) return undefined;
    return sameText(this.#proof(sessionId, key), token.slice(end + 1)) ? key : undefined;
  }

  #proof(sessionId: string, key: TokenKey): string {
    let secret = this.#secrets.get(key);
    if (secret === undefined) {
      secret = Buffer.from(hkdfSync("sha256", key.digest, "", "mcp-sse-gateway post token", 32));
      this.#secrets.set(key, secret);
    }
    return createHmac("sha256", secret).update(sessionId).digest("base64url");
  }
}

/** Compares two texts in a time that depends on their lengths alone. */
export function sameText(expected: string, given: string): boolean {
  const one = Buffer.from(expected);
  const other = Buffer.from(given);
  return one.length === other.length && timingSafeEqual(one, other);
}
