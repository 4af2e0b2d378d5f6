import { timingSafeEqual } from "node:crypto";
import { ConfigError } from "../errors.ts";
import { NO_EVENTS, type Events } from "../events.ts";
import { digestOf, type ApiKey } from "./api-key.ts";

/** What another set of keys made of the one before. A key whose id now means another key is both removed and added. */
export interface KeyChange {
  added: ApiKey[];
  /** What these opened is to be closed. */
  removed: ApiKey[];
  /** Those that end at another time than before. */
  changed: ApiKey[];
}

export interface KeyRingOptions {
  /** Told of keys that come, change, go and end; not of those that are there from the start. */
  events?: Events;
  /** The time, in ms since 1970. */
  now?: () => number;
}

/** Each credential is compared with every key; a thousand take 60 µs. */
const MAX_KEYS = 1000;
/** A longer one is no key of ours, and is not worth hashing. */
const MAX_CREDENTIAL_LENGTH = 256;

/** The keys that open, while they change. */
export class KeyRing {
  readonly #events: Events;
  readonly #now: () => number;
  #byId: Map<string, ApiKey>;
  /** Ids of those that had not ended when it was last looked. */
  readonly #running: Set<string>;

  /** Throws a ConfigError for keys that cannot stand together. */
  constructor(keys: readonly ApiKey[], { events = NO_EVENTS, now = Date.now }: KeyRingOptions = {}) {
    this.#events = events;
    this.#now = now;
    this.#byId = ringOf(keys);
    this.#running = new Set(keys.filter((key) => !hasEnded(key, now())).map(({ id }) => id));
  }

  /** Names of those who have a key, whether or not it has ended. */
  get callers(): string[] {
    return [...new Set([...this.#byId.values()].map(({ caller }) => caller))];
  }

  /** The key that this text is. Undefined when it is none, or one that has ended. */
  find(credential: string): ApiKey | undefined {
    if (credential.length > MAX_CREDENTIAL_LENGTH) return undefined;
    const digest = digestOf(credential);
    let found: ApiKey | undefined;
    // Every key is compared, so that the time tells nothing of which one nearly matched.
    for (const key of this.#byId.values()) if (timingSafeEqual(digest, key.digest)) found = key;
    return found === undefined || hasEnded(found, this.#now()) ? undefined : found;
  }

  /** The key of this id, which may have ended. */
  ofId(id: string): ApiKey | undefined {
    return this.#byId.get(id);
  }

  /** Whether the key of this id is here and has not ended. */
  isActive(id: string, now = this.#now()): boolean {
    const key = this.#byId.get(id);
    return key !== undefined && !hasEnded(key, now);
  }

  /** Takes these keys for the ones before, at once. Throws a ConfigError, and stays as it is, when they cannot stand together. */
  replace(keys: readonly ApiKey[]): KeyChange {
    const next = ringOf(keys);
    const change: KeyChange = { added: [], removed: [], changed: [] };
    for (const key of this.#byId.values()) if (!isSame(key, next.get(key.id))) change.removed.push(key);
    for (const key of next.values()) {
      const before = this.#byId.get(key.id);
      if (!isSame(key, before)) change.added.push(key);
      else if (key.expiresAt !== before?.expiresAt) change.changed.push(key);
    }
    this.#byId = next;
    const now = this.#now();
    for (const { id } of change.removed) this.#running.delete(id);
    for (const key of [...change.added, ...change.changed]) {
      if (!hasEnded(key, now)) this.#running.add(key.id);
    }
    for (const key of change.removed) this.#tell("key_removed", key);
    for (const key of change.added) this.#tell("key_added", key);
    for (const key of change.changed) this.#tell("key_changed", key);
    return change;
  }

  /** The keys that have ended since it was last asked; what they opened is to be closed. */
  expire(now = this.#now()): ApiKey[] {
    const ended = [...this.#running]
      .map((id) => this.#byId.get(id) as ApiKey)
      .filter((key) => hasEnded(key, now));
    for (const key of ended) {
      this.#running.delete(key.id);
      this.#tell("key_expired", key);
    }
    return ended;
  }

  #tell(type: "key_added" | "key_removed" | "key_changed" | "key_expired", { caller, id }: ApiKey): void {
    this.#events.emit({ type, caller, key: id });
  }
}

const hasEnded = ({ expiresAt }: ApiKey, now: number): boolean => expiresAt !== undefined && expiresAt <= now;

const isSame = (key: ApiKey, other: ApiKey | undefined): boolean =>
  other !== undefined && other.caller === key.caller && other.digest.equals(key.digest);

function ringOf(keys: readonly ApiKey[]): Map<string, ApiKey> {
  const problems: string[] = [];
  if (keys.length > MAX_KEYS) problems.push(`There are ${keys.length} API keys; at most ${MAX_KEYS} may be.`);
  const ring = new Map<string, ApiKey>();
  const digests = new Map<string, ApiKey>();
  for (const key of keys) {
    const digest = key.digest.toString("hex");
    const twin = digests.get(digest);
    if (twin !== undefined)
      problems.push(`The key ${key.id} of ${key.caller} is the key ${twin.id} of ${twin.caller} too.`);
    else if (ring.has(key.id))
      problems.push(`Two different keys have the id ${key.id}: replace one of them.`);
    digests.set(digest, key);
    ring.set(key.id, key);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return ring;
}
