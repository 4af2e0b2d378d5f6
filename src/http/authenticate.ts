import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { LRUCache } from "lru-cache";
import { GatewayError } from "../errors.ts";

/** Whom an API key names. */
export interface Caller {
  readonly name: string;
}

/** A key that opens, as its SHA-256. */
export interface KeyDigest {
  caller: string;
  digest: Buffer;
}

/** A longer one is no key of ours, and is not worth hashing. */
const MAX_CREDENTIAL_LENGTH = 256;
const MAX_FAILURES = 10;
/** A session id that was not found may be an honest client's old one. */
const MAX_MISSES = 60;
const WINDOW_MS = 60_000;

/** Tells callers apart by their API keys, and slows down who guesses. */
export class Authenticator {
  readonly #keys: { caller: Caller; digest: Buffer }[];
  /** Failures in the running minute, by client address or caller. Bounded: a flood of addresses forgets the oldest. */
  readonly #failures = new LRUCache<string, { count: number }>({
    max: 10_000,
    ttl: WINDOW_MS,
    noUpdateTTL: true,
  });

  constructor(keys: readonly KeyDigest[]) {
    const callers = new Map(keys.map(({ caller }) => [caller, { name: caller }]));
    this.#keys = keys.map(({ caller, digest }) => ({ caller: callers.get(caller) as Caller, digest }));
  }

  /**
   * The caller whose key the request shows in a header, or in `queryKey`. Undefined when it shows none. Throws
   * `api_key_invalid` or `auth_rate_limited` for an unknown key, `ambiguous_credentials` for several different ones.
   */
  identify(req: IncomingMessage, queryKey: string | undefined, address: string): Caller | undefined {
    const shown = credentialOf(req, queryKey);
    if (shown === undefined) return undefined;
    const caller = this.#find(shown);
    if (caller === undefined) {
      this.countFailure(address);
      throw new GatewayError("api_key_invalid");
    }
    return caller;
  }

  /** Counts a wrong credential of this address. Throws `auth_rate_limited` when it has shown too many in a minute. */
  countFailure(address: string): void {
    this.#count(`address ${address}`, MAX_FAILURES);
  }

  /** Counts a session id that was not there. Throws `auth_rate_limited` when this caller has tried too many in a minute. */
  countMiss(caller: Caller): void {
    this.#count(`caller ${caller.name}`, MAX_MISSES);
  }

  #count(key: string, most: number): void {
    const failures = this.#failures.get(key) ?? { count: 0 };
    failures.count += 1;
    this.#failures.set(key, failures);
    if (failures.count > most) throw new GatewayError("auth_rate_limited");
  }

  /** Every key is compared, so that the time tells nothing of which one nearly matched. */
  #find(credential: string): Caller | undefined {
    if (credential.length > MAX_CREDENTIAL_LENGTH) return undefined;
    const digest = createHash("sha256").update(credential).digest();
    let found: Caller | undefined;
    for (const key of this.#keys) if (timingSafeEqual(digest, key.digest)) found = key.caller;
    return found;
  }
}

/** The one credential that a request shows, however often it shows it. */
function credentialOf({ headers }: IncomingMessage, queryKey: string | undefined): string | undefined {
  const apiKey = headers["x-api-key"] as string | undefined;
  const { authorization } = headers;
  const bearer = authorization === undefined ? undefined : (/^bearer +(.*)$/i.exec(authorization)?.[1] ?? "");
  const shown = bearer ?? apiKey ?? queryKey;
  for (const other of [apiKey, queryKey]) {
    if (other !== undefined && other !== shown) throw new GatewayError("ambiguous_credentials");
  }
  return shown;
}
