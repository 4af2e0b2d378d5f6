import type { ApiKey } from "./keys/api-key.ts";
import { ConfigError } from "./errors.ts";
import { labelOf, readStoreUrl } from "./session-store/store-url.ts";
import type { StoreTarget } from "./session-store/target.ts";
import type { SettingName, Settings } from "./settings.ts";

export interface StoreConfig {
  target: StoreTarget;
  prefix: string;
  timeoutMs: number;
  fallback: "off" | "memory";
  mirror: MirrorConfig | undefined;
}

export interface MirrorConfig {
  target: StoreTarget;
  /** 0: only after the store was away. */
  syncSeconds: number;
  /** Writes that may wait for it. */
  queueLimit: number;
}

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

/** The settings that say where sessions are recorded. */
export const STORE_SETTINGS = [
  "SESSION_STORE",
  "SESSION_DIR",
  "SESSION_FILE_SYNC",
  "UPSTASH_REDIS_REST_URL",
  "UPSTASH_REDIS_REST_TOKEN",
  "REDIS_URL",
  "REDIS_CA_FILE",
  "REDIS_KEY_PREFIX",
  "STORE_TIMEOUT_MS",
] as const satisfies readonly SettingName[];

/** The store to keep sessions in. Undefined when a problem was added. */
export function chooseStore(values: Settings, problems: string[]): StoreConfig | undefined {
  const before = problems.length;
  const target = chooseTarget(values, problems);
  const mirror = chooseMirror(values, problems);
  const { SESSION_STORE_FALLBACK: fallback } = values;
  if (target !== undefined && !isShared(target)) {
    if (fallback === "memory")
      problems.push("SESSION_STORE_FALLBACK=memory is for Redis and Upstash; other stores do not go away.");
    if (mirror !== undefined && target.kind === "memory")
      problems.push(
        "SESSION_MIRROR needs a store to mirror: set SESSION_STORE to something else than memory.",
      );
  }
  if (fallback === "memory" && values.SESSION_RELAY === "on")
    problems.push(
      "SESSION_STORE_FALLBACK=memory is for one instance, and SESSION_RELAY=on for several: choose one.",
    );
  if (target !== undefined && mirror !== undefined && labelOf(target) === labelOf(mirror.target))
    problems.push("SESSION_MIRROR is the session store itself. Name another one, or remove it.");
  if (fallback === "memory" && mirror !== undefined)
    problems.push("SESSION_STORE_FALLBACK and SESSION_MIRROR exclude each other: choose one.");
  if (target === undefined || problems.length > before) return undefined;
  return { target, prefix: values.REDIS_KEY_PREFIX, timeoutMs: values.STORE_TIMEOUT_MS, fallback, mirror };
}

/** Whether several instances can share it. */
export const isShared = ({ kind }: StoreTarget): boolean => kind === "redis" || kind === "upstash";

function chooseTarget(values: Settings, problems: string[]): StoreTarget | undefined {
  const { UPSTASH_REDIS_REST_URL: restUrl, UPSTASH_REDIS_REST_TOKEN: token, REDIS_URL: redisUrl } = values;
  switch (kindOf(values)) {
    case "memory":
      return { kind: "memory" };
    case "file":
      return {
        kind: "file",
        directory: values.SESSION_DIR ?? "data/sessions",
        sync: values.SESSION_FILE_SYNC,
      };
    case "redis":
      if (redisUrl !== undefined) return { kind: "redis", url: redisUrl, caFile: values.REDIS_CA_FILE };
      problems.push("REDIS_URL is missing; SESSION_STORE=redis needs it.");
      return undefined;
    case "upstash":
      if (restUrl !== undefined && token !== undefined) return { kind: "upstash", url: restUrl, token };
      if (restUrl === undefined)
        problems.push("UPSTASH_REDIS_REST_URL is missing; Upstash needs it and the token.");
      if (token === undefined)
        problems.push("UPSTASH_REDIS_REST_TOKEN is missing; Upstash needs it and the URL.");
      return undefined;
  }
}

function kindOf(values: Settings): StoreTarget["kind"] {
  if (values.SESSION_STORE !== "auto") return values.SESSION_STORE;
  const hasUpstash =
    values.UPSTASH_REDIS_REST_URL !== undefined || values.UPSTASH_REDIS_REST_TOKEN !== undefined;
  if (hasUpstash) return "upstash";
  if (values.REDIS_URL !== undefined) return "redis";
  return values.SESSION_DIR === undefined ? "memory" : "file";
}

function chooseMirror(values: Settings, problems: string[]): MirrorConfig | undefined {
  if (values.SESSION_MIRROR === undefined) return undefined;
  try {
    const target = readStoreUrl(values.SESSION_MIRROR, { name: "SESSION_MIRROR" });
    const caFile = target.kind === "redis" ? { caFile: values.REDIS_CA_FILE } : {};
    return {
      target: { ...target, ...caFile },
      syncSeconds: values.SESSION_MIRROR_SYNC_SECONDS,
      queueLimit: values.SESSION_MIRROR_QUEUE,
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

/** Adds what the relay and the journal need of the store and do not have. */
export function checkRelay(
  values: Settings,
  store: StoreConfig | undefined,
  /** Those of the settings: what a file has changes while instances run, and at different moments. */
  keys: readonly ApiKey[],
  problems: string[],
): void {
  const { SESSION_RELAY: relay, SESSION_RELAY_DRIVER: driver, SESSION_DURABILITY: durability } = values;
  if (store === undefined) return;
  const { kind } = store.target;
  if (relay === "on" && !isShared(store.target))
    problems.push("SESSION_RELAY=on needs a store that instances share: set REDIS_URL or the Upstash pair.");
  if (relay === "on" && driver !== "auto" && driver !== "http" && driver !== kind)
    problems.push(`SESSION_RELAY_DRIVER=${driver} needs that store; use auto or http.`);
  if (hasWeakSecret(values, store) && keys.length === 0)
    problems.push(
      "SESSION_RELAY=on needs something that only instances know: set SESSION_RELAY_SECRET, or a password in REDIS_URL.",
    );
  if (durability === "store" && kind === "memory")
    problems.push(
      "SESSION_DURABILITY=store needs a store that outlives the process: set REDIS_URL, the Upstash pair or SESSION_DIR.",
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
  const { target } = store;
  if (target.kind === "upstash") return [target.token, ...digests];
  return target.kind === "redis" ? [target.url, ...digests] : digests;
}

/** Whoever has the only API key and guesses the store's address could then speak as an instance. */
const hasWeakSecret = (values: Settings, store: StoreConfig): boolean =>
  values.SESSION_RELAY === "on" &&
  values.SESSION_RELAY_SECRET === undefined &&
  store.target.kind === "redis" &&
  !/:\/\/[^/@]*:[^/@]+@/.test(store.target.url);
