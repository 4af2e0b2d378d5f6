import type { ApiKey } from "./api-keys.ts";
import type { Settings } from "./settings.ts";

export type StoreConfig = { prefix: string; timeoutMs: number } & (
  | { kind: "memory" }
  | { kind: "redis"; url: string }
  | { kind: "upstash"; url: string; token: string }
);

export interface RelayConfig {
  isOn: boolean;
  driver: "auto" | "http" | "redis" | "upstash";
  /** Where other instances reach this one, when the operator says so. */
  url: string | undefined;
  /** Railway's name for all instances, to find our own address by. */
  privateDomain: string | undefined;
  /** Hosts that may be called besides private addresses. */
  allowedHosts: string[];
  /** What the instances share and no client knows: all of it goes into the key of the proofs. */
  secrets: (string | Buffer)[];
}

/** The store to keep sessions in. Undefined when a problem was added. */
export function chooseStore(values: Settings, problems: string[]): StoreConfig | undefined {
  const { UPSTASH_REDIS_REST_URL: restUrl, UPSTASH_REDIS_REST_TOKEN: token, REDIS_URL: redisUrl } = values;
  const common = { prefix: values.REDIS_KEY_PREFIX, timeoutMs: values.STORE_TIMEOUT_MS };
  const hasUpstash = restUrl !== undefined || token !== undefined;
  const wanted = values.SESSION_STORE;
  const kind =
    wanted !== "auto" ? wanted : hasUpstash ? "upstash" : redisUrl !== undefined ? "redis" : "memory";
  switch (kind) {
    case "memory":
      return { kind, ...common };
    case "redis":
      if (redisUrl !== undefined) return { kind, url: redisUrl, ...common };
      problems.push("REDIS_URL is missing; SESSION_STORE=redis needs it.");
      return undefined;
    case "upstash":
      if (restUrl !== undefined && token !== undefined) return { kind, url: restUrl, token, ...common };
      if (restUrl === undefined)
        problems.push("UPSTASH_REDIS_REST_URL is missing; Upstash needs it and the token.");
      if (token === undefined)
        problems.push("UPSTASH_REDIS_REST_TOKEN is missing; Upstash needs it and the URL.");
      return undefined;
  }
}

/** Adds what the relay and the journal need of the store and do not have. */
export function checkRelay(values: Settings, store: StoreConfig | undefined, problems: string[]): void {
  const { SESSION_RELAY: relay, SESSION_RELAY_DRIVER: driver, SESSION_DURABILITY: durability } = values;
  if (store === undefined) return;
  if (relay === "on" && store.kind === "memory")
    problems.push("SESSION_RELAY=on needs a store that instances share: set REDIS_URL or the Upstash pair.");
  if (relay === "on" && driver !== "auto" && driver !== "http" && driver !== store.kind)
    problems.push(`SESSION_RELAY_DRIVER=${driver} needs that store; use auto or http.`);
  if (durability === "store" && store.kind === "memory")
    problems.push(
      "SESSION_DURABILITY=store needs a store that outlives the process: set REDIS_URL or the Upstash pair.",
    );
}

export function relayConfig(
  values: Settings,
  store: StoreConfig,
  keys: readonly ApiKey[],
  env: NodeJS.ProcessEnv,
): RelayConfig {
  return {
    isOn: values.SESSION_RELAY === "on",
    driver: values.SESSION_RELAY_DRIVER,
    url: values.SESSION_RELAY_URL,
    privateDomain: env["RAILWAY_PRIVATE_DOMAIN"] || undefined,
    allowedHosts: values.SESSION_RELAY_ALLOW,
    secrets: relaySecrets(values, store, keys),
  };
}

/** What an operator should hear of a choice that works and may not be meant. */
export function storeWarnings(values: Settings, store: StoreConfig): string[] {
  const warnings: string[] = [];
  if (
    values.SESSION_STORE === "auto" &&
    values.UPSTASH_REDIS_REST_URL !== undefined &&
    values.REDIS_URL !== undefined
  ) {
    warnings.push("Both Upstash and REDIS_URL are set: Upstash is used. Set SESSION_STORE to choose.");
  }
  if (hasWeakSecret(values, store)) {
    warnings.push("SESSION_RELAY is on and REDIS_URL has no password: set SESSION_RELAY_SECRET.");
  }
  return warnings;
}

/** What every instance has and no client does: what the operator sets for this, else the store's credentials and the keys. */
function relaySecrets(values: Settings, store: StoreConfig, keys: readonly ApiKey[]): (string | Buffer)[] {
  if (values.SESSION_RELAY_SECRET !== undefined) return [values.SESSION_RELAY_SECRET];
  const digests = keys.map(({ digest }) => digest).sort((one, other) => Buffer.compare(one, other));
  if (store.kind === "memory") return digests;
  return [store.kind === "upstash" ? store.token : store.url, ...digests];
}

/** Whoever has the only API key and guesses the store's address could then speak as an instance. */
const hasWeakSecret = (values: Settings, store: StoreConfig): boolean =>
  values.SESSION_RELAY === "on" &&
  values.SESSION_RELAY_SECRET === undefined &&
  store.kind === "redis" &&
  !/:\/\/[^/@]*:[^/@]+@/.test(store.url);
