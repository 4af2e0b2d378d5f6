import type { IncomingMessage } from "node:http";
import { LRUCache } from "lru-cache";
import { GatewayError, type Reason } from "../errors.ts";
import { NO_EVENTS, type Events, type Shown } from "../events.ts";

/** Whom an API key names. */
export interface Caller {
  readonly name: string;
  /** Id of the key. */
  readonly key: string;
  readonly shown: Shown;
}

/** The keys that open. */
export interface Keys {
  /** The key that this text is, found in a time that says nothing of the keys. */
  find(credential: string): { id: string; caller: string } | undefined;
}

const MAX_FAILURES = 10;
/** A session id that was not found may be an honest client's old one. */
const MAX_MISSES = 60;
const WINDOW_MS = 60_000;

/** Tells callers apart by their API keys, and slows down who guesses. */
export class Authenticator {
  readonly #keys: Keys;
  readonly #events: Events;
  /** Failures in the running minute, by client address or caller. Bounded: a flood of addresses forgets the oldest. */
  readonly #failures = new LRUCache<string, { count: number }>({
    max: 10_000,
    ttl: WINDOW_MS,
    noUpdateTTL: true,
  });

  constructor(keys: Keys, { events = NO_EVENTS }: { events?: Events } = {}) {
    this.#keys = keys;
    this.#events = events;
  }

  /**
   * The caller whose key the request shows in a header, or in `queryKey`. Undefined when it shows none. Throws
   * `api_key_invalid` or `auth_rate_limited` for an unknown key, `ambiguous_credentials` for several different ones.
   */
  identify(req: IncomingMessage, queryKey: string | undefined, address: string): Caller | undefined {
    const credential = credentialOf(req, queryKey);
    if (credential === undefined) return undefined;
    const key = this.#keys.find(credential.text);
    if (key === undefined) {
      this.countFailure(address, credential.shown, "api_key_invalid");
      throw new GatewayError("api_key_invalid");
    }
    return { name: key.caller, key: key.id, shown: credential.shown };
  }

  /**
   * Counts a wrong credential of this address, and tells of it. Throws `auth_rate_limited` when it has shown too many in a
   * minute; that is told once, and what it tries after that is not.
   */
  countFailure(address: string, shown: Shown, reason: Reason): void {
    const count = this.#count(`address ${address}`);
    const isTooMany = count > MAX_FAILURES;
    if (count <= MAX_FAILURES + 1) {
      const told = isTooMany ? "auth_rate_limited" : reason;
      this.#events.emit({ type: "credential_refused", reason: told, shown, address });
    }
    if (isTooMany) throw new GatewayError("auth_rate_limited");
  }

  /** Counts a session id that was not there. Throws `auth_rate_limited` when this caller has tried too many in a minute. */
  countMiss({ name }: Pick<Caller, "name">): void {
    if (this.#count(`caller ${name}`) > MAX_MISSES) throw new GatewayError("auth_rate_limited");
  }

  #count(whose: string): number {
    const failures = this.#failures.get(whose) ?? { count: 0 };
    failures.count += 1;
    this.#failures.set(whose, failures);
    return failures.count;
  }
}

/** The one credential that a request shows, however often it shows it. */
function credentialOf(
  { headers }: IncomingMessage,
  queryKey: string | undefined,
): { text: string; shown: Shown } | undefined {
  const apiKey = headers["x-api-key"] as string | undefined;
  const { authorization } = headers;
  const bearer = authorization === undefined ? undefined : (/^bearer +(.*)$/i.exec(authorization)?.[1] ?? "");
  const text = bearer ?? apiKey ?? queryKey;
  for (const other of [apiKey, queryKey]) {
    if (other !== undefined && other !== text) throw new GatewayError("ambiguous_credentials");
  }
  if (text === undefined) return undefined;
  if (bearer !== undefined) return { text, shown: "bearer" };
  return { text, shown: apiKey === undefined ? "query" : "x_api_key" };
}
