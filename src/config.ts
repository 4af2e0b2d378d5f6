import { z } from "zod";
import { readApiKeys } from "./api-keys.ts";
import { chooseServers, serverDefaults, type ServerFlags } from "./config-servers.ts";
import {
  checkRelay,
  chooseStore,
  relayConfig,
  STORE_SETTINGS,
  storeWarnings,
  type RelayConfig,
  type StoreConfig,
} from "./config-store.ts";
import { checkWatching, watchConfig, type WatchConfig } from "./config-watch.ts";
import { ConfigError } from "./errors.ts";
import type { LogLevel } from "./log.ts";
import { readKeyScopes, scopeProblem } from "./key-scopes.ts";
import type { ApiKey } from "./keys/api-key.ts";
import { loadKeysFile, type KeysFile } from "./keys/keys-file.ts";
import { nearestName } from "./nearest-name.ts";
import type { ServerConfig, ServerDefaults } from "./server-config.ts";
import { readAliases, SETTING_ALIASES } from "./setting-aliases.ts";
import { SETTINGS, type SettingName, type Settings } from "./settings.ts";
import type { Scope } from "./upstream/scope.ts";

export type { RelayConfig, StoreConfig } from "./config-store.ts";

/** Whose word on the client's address is believed. */
export type TrustProxy = "off" | "railway" | number;

export interface KeysFileConfig {
  path: string;
  /** What it said at start. */
  read: KeysFile;
}

/** All settings, shaped for the code: each part is handed its own slice. Durations and sizes carry their unit. */
export interface Config {
  http: {
    port: number;
    /** Undefined: all interfaces, IPv6 and IPv4. */
    host: string | undefined;
    publicUrl: string | undefined;
    allowedOrigins: string[];
    allowedHosts: string[];
    trustProxy: TrustProxy;
    maxBodyBytes: number;
  };
  /** Of the settings; those of the file come to them. */
  keys: ApiKey[];
  keysFile: KeysFileConfig | undefined;
  /** The key that was drawn because none was set: to be shown once. */
  drawnKey: string | undefined;
  /** What each caller may use. Undefined: everybody everything. */
  scopes: Map<string, Scope> | undefined;
  /** What stands behind, one or more. */
  servers: ServerConfig[];
  /** Path of the file that they were read from. */
  serversFile: string | undefined;
  /** What a server has for which its entry says nothing else, for reading the file again. */
  serverDefaults: ServerDefaults;
  store: StoreConfig;
  relay: RelayConfig;
  session: {
    ttlSeconds: number;
    extend: "late" | "always";
    heartbeatSeconds: number;
    idleSeconds: number;
    /** 0: as long as it is used. */
    maxSeconds: number;
    firstPostSeconds: number;
    requestTimeoutSeconds: number;
    maxSessions: number;
    maxSessionsPerCaller: number;
    maxInFlight: number;
    maxOutboxBytes: number;
    orphanGraceSeconds: number;
    durability: "off" | "store";
    /** 0: never. */
    streamMaxAgeSeconds: number;
  };
  watch: WatchConfig;
  drainSeconds: number;
  logLevel: LogLevel;
  /** What the operator should hear at start: never an error, never a value. */
  warnings: string[];
}

/** Prefixes under which an unknown variable is likely a misspelt setting. */
const OUR_PREFIXES = /^(MCP|SESSION|STREAM|UPSTASH|REDIS|METRICS|AUDIT|ALERT)_/;

/**
 * Reads the environment. Throws one ConfigError that lists every problem; its lines name variables and never values.
 * `flags` are what the command line says and win over the environment.
 */
export function loadConfig(
  env: NodeJS.ProcessEnv,
  flags: ServerFlags & { port?: string | undefined } = {},
): Config {
  const { values, problems, aliases, isWhole } = readSettings(env, { PORT: flags.port });
  const keysFile = openKeysFile(values.MCP_API_KEYS_FILE);
  const { MCP_API_KEY: single, MCP_API_KEYS: several, NODE_ENV: mode } = env;
  const keys = readApiKeys(single, several, mode === "production", keysFile !== undefined);
  problems.push(...keys.problems, ...(keysFile?.read.problems ?? []));
  const store = isWhole ? chooseStore(values, problems) : undefined;
  if (isWhole && values.MAX_LINE_BYTES > values.MAX_OUTBOX_BYTES) {
    problems.push("MAX_LINE_BYTES must not be larger than MAX_OUTBOX_BYTES.");
  }
  const behind = chooseServers(values, env, flags);
  const callers = keys.keys.map(({ caller }) => caller);
  const inFile = (keysFile?.read.callers ?? []).map(({ name }) => name);
  const permits = readKeyScopes(values.MCP_KEY_SCOPES, callers, behind.servers, inFile);
  problems.push(...behind.problems, ...permits.problems);
  if (isWhole) checkRelay(values, store, keys.keys, problems);
  if (isWhole) checkWatching(values, problems);
  if (problems.length > 0 || store === undefined) throw new ConfigError(problems);

  const warnings = [
    ...keys.warnings,
    ...aliases,
    ...unknownNames(env),
    ...storeWarnings(values, store),
    ...behind.warnings,
    ...permits.warnings,
  ];
  return {
    http: {
      port: values.PORT,
      host: values.HOST,
      publicUrl: values.PUBLIC_URL ?? railwayUrl(env),
      allowedOrigins: values.ALLOWED_ORIGINS,
      allowedHosts: allowedHosts(values, env),
      trustProxy: trustProxy(values.TRUST_PROXY, env),
      maxBodyBytes: values.MAX_BODY_BYTES,
    },
    keys: keys.keys,
    keysFile,
    drawnKey: keys.drawn,
    scopes: permits.scopes,
    servers: behind.servers,
    serversFile: behind.file,
    serverDefaults: serverDefaults(values),
    store,
    relay: relayConfig(values, store, keys.keys, env),
    session: {
      ttlSeconds: values.SESSION_TTL_SECONDS,
      extend: values.SESSION_EXTEND,
      heartbeatSeconds: values.HEARTBEAT_SECONDS,
      idleSeconds: values.SESSION_IDLE_SECONDS,
      maxSeconds: values.SESSION_MAX_SECONDS,
      firstPostSeconds: values.FIRST_POST_SECONDS,
      requestTimeoutSeconds: values.REQUEST_TIMEOUT_SECONDS,
      maxSessions: values.MAX_SESSIONS,
      maxSessionsPerCaller: values.MAX_SESSIONS_PER_KEY,
      maxInFlight: values.MAX_IN_FLIGHT,
      maxOutboxBytes: values.MAX_OUTBOX_BYTES,
      orphanGraceSeconds: values.SESSION_ORPHAN_GRACE,
      durability: values.SESSION_DURABILITY,
      streamMaxAgeSeconds: values.STREAM_MAX_AGE ?? (isRailway(env) ? RAILWAY_MAX_AGE_SECONDS : 0),
    },
    watch: watchConfig(values),
    drainSeconds: values.DRAIN_SECONDS ?? railwayDrainSeconds(env) ?? 25,
    logLevel: values.LOG_LEVEL,
    warnings,
  };
}

/** The store that an environment names, for those who need nothing else of it. Throws a ConfigError as `loadConfig` does. */
export function loadStoreConfig(env: NodeJS.ProcessEnv): StoreConfig {
  const names = new Set<string>(STORE_SETTINGS);
  for (const { name, setting } of SETTING_ALIASES) if (setting && names.has(setting)) names.add(name);
  const own = Object.fromEntries(Object.entries(env).filter(([name]) => names.has(name)));
  const { values, problems, isWhole } = readSettings(own);
  const store = isWhole ? chooseStore(values, problems) : undefined;
  if (store === undefined) throw new ConfigError(problems);
  return store;
}

interface ReadSettings {
  values: Settings;
  problems: string[];
  /** What the operator should hear of names that others have for our settings. */
  aliases: string[];
  /** Whether `values` are what was given; else defaults stand in for what makes no sense. */
  isWhole: boolean;
}

/** @param flags what the command line says, which wins over the environment. */
function readSettings(
  env: NodeJS.ProcessEnv,
  flags: Partial<Record<SettingName, string | undefined>> = {},
): ReadSettings {
  const given: Record<string, string> = {};
  const problems: string[] = [];
  const aliases = readAliases(env);
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const value = aliases.given.get(name) ?? env[name];
    if (value === "") problems.push(`${name} is empty. Give it a value or remove it.`);
    else if (value !== undefined) given[name] = value;
  }
  for (const [name, value] of Object.entries(flags)) if (value !== undefined) given[name] = value;
  const read = z.object(SETTINGS).safeParse(given);
  for (const issue of read.error?.issues ?? []) {
    problems.push(`${issue.path.join(".")} ${issue.message}.`);
    // The rest is looked at as if it was not set, to tell all problems at once.
    delete given[String(issue.path[0])];
  }
  const values = read.data ?? z.object(SETTINGS).parse(given);
  return { values, problems, aliases: aliases.notes, isWhole: read.success };
}

function openKeysFile(path: string | undefined): KeysFileConfig | undefined {
  return path === undefined ? undefined : { path, read: loadKeysFile(path, scopeProblem) };
}

function unknownNames(env: NodeJS.ProcessEnv): string[] {
  const known = Object.keys(SETTINGS);
  const aliases = SETTING_ALIASES.map(({ name }) => name);
  return Object.keys(env)
    .filter((name) => OUR_PREFIXES.test(name) && !known.includes(name) && !aliases.includes(name))
    .map((name) => {
      const near = nearestName(name, known);
      return `${name} is not a setting of the gateway.${near === undefined ? "" : ` Did you mean ${near}?`}`;
    });
}

/** The names we know to be ours join the operator's; a gateway on a local address answers to local names only. */
function allowedHosts({ ALLOWED_HOSTS: listed, HOST }: Settings, env: NodeJS.ProcessEnv): string[] {
  const local = ["localhost", "127.0.0.1", "[::1]"];
  if (listed.length === 0) return HOST !== undefined && [...local, "::1"].includes(HOST) ? local : [];
  const railway = [env["RAILWAY_PUBLIC_DOMAIN"], env["RAILWAY_PRIVATE_DOMAIN"]].filter(
    (name) => name !== undefined,
  );
  return [...listed, ...railway];
}

function trustProxy(setting: string, env: NodeJS.ProcessEnv): TrustProxy {
  if (setting === "auto") return isRailway(env) ? "railway" : "off";
  return setting === "off" || setting === "railway" ? setting : Number(setting);
}

function railwayUrl(env: NodeJS.ProcessEnv): string | undefined {
  const domain = env["RAILWAY_PUBLIC_DOMAIN"];
  return domain === undefined || domain === "" ? undefined : `https://${domain}`;
}

/** Railway ends every response after 15 minutes. */
const RAILWAY_MAX_AGE_SECONDS = 840;

const isRailway = (env: NodeJS.ProcessEnv): boolean => env["RAILWAY_ENVIRONMENT_ID"] !== undefined;

/** Railway kills this long after SIGTERM, and ending stubborn servers takes some seconds after the drain. */
function railwayDrainSeconds(env: NodeJS.ProcessEnv): number | undefined {
  const seconds = Number(env["RAILWAY_DEPLOYMENT_DRAINING_SECONDS"] ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.max(0, seconds - 10, seconds / 2) : undefined;
}
