import type { Events } from "./events.ts";
import type { ApiKey } from "./keys/api-key.ts";
import type { CallerEntry } from "./keys/key-entries.ts";
import { KeyRing, type KeyChange } from "./keys/key-ring.ts";
import type { KeysFile } from "./keys/keys-file.ts";
import { parseScope, type Scope } from "./upstream/scope.ts";

/** Who may come in, from the settings and the keys file. */
export interface CallersConfig {
  /** Keys of the settings. */
  keys: readonly ApiKey[];
  /** What each caller may use, as the settings say. Undefined: everybody everything. */
  scopes: ReadonlyMap<string, Scope> | undefined;
  /** What the keys file said at start. */
  file: Pick<KeysFile, "keys" | "callers">;
  /** Sessions of a caller of which the file says nothing else. */
  maxSessionsPerCaller: number;
}

/** The callers and what each of them may, while the keys file changes. */
export class Callers {
  readonly ring: KeyRing;
  readonly #config: CallersConfig;
  #entries: ReadonlyMap<string, CallerEntry>;

  /** Throws a ConfigError for keys that cannot stand together. */
  constructor(config: CallersConfig, events: Events) {
    this.#config = config;
    this.#entries = byName(config.file.callers);
    this.ring = new KeyRing([...config.keys, ...config.file.keys], { events });
  }

  /** What each caller may use. Undefined: everybody everything. */
  get scopes(): ReadonlyMap<string, Scope> | undefined {
    return scopesOf(this.#config, [...this.#entries.values()]);
  }

  /** Sessions that a caller may have on all instances together. */
  maxSessionsOf(caller: string): number {
    return this.#entries.get(caller)?.maxSessions ?? this.#config.maxSessionsPerCaller;
  }

  /**
   * Takes what the keys file says now. Also whose scope changed, by name. Throws a ConfigError, and stays as it is, for
   * keys that cannot stand together.
   */
  replace({ keys, callers }: Pick<KeysFile, "keys" | "callers">): KeyChange & { rescoped: string[] } {
    const change = this.ring.replace([...this.#config.keys, ...keys]);
    const before = this.#entries;
    this.#entries = byName(callers);
    const names = new Set([...before.keys(), ...this.#entries.keys()]);
    const rescoped = [...names].filter((name) => before.get(name)?.scope !== this.#entries.get(name)?.scope);
    return { ...change, rescoped };
  }
}

/**
 * A caller's scope in the file stands before the one in the settings. Where the settings have none, a caller of the file
 * without one may use everything.
 */
export function scopesOf(
  { keys, scopes }: Pick<CallersConfig, "keys" | "scopes">,
  entries: readonly CallerEntry[],
): ReadonlyMap<string, Scope> | undefined {
  if (scopes === undefined && entries.every(({ scope }) => scope === undefined)) return undefined;
  const all = parseScope("*") as Scope;
  const found = new Map<string, Scope>(scopes);
  if (scopes === undefined) for (const { caller } of keys) found.set(caller, all);
  for (const { name, scope } of entries) {
    // Once the settings have scopes, whom they do not name may use nothing.
    const read = scope === undefined ? (scopes === undefined ? all : scopes.get(name)) : parseScope(scope);
    // The file was refused for a scope that cannot be read; whoever has one all the same may use nothing.
    if (typeof read === "object") found.set(name, read);
    else found.delete(name);
  }
  return found;
}

const byName = (entries: readonly CallerEntry[]): ReadonlyMap<string, CallerEntry> =>
  new Map(entries.map((entry) => [entry.name, entry]));
