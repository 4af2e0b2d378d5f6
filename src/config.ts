import { z } from "zod";
import { readApiKeys, type ApiKey } from "./api-keys.ts";
import { ConfigError } from "./errors.ts";
import type { LogLevel } from "./log.ts";
import { SETTINGS } from "./settings.ts";
import { splitCommand } from "./upstream/command-line.ts";

/** Whose word on the client's address is believed. */
export type TrustProxy = "off" | "railway" | number;

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
  keys: ApiKey[];
  /** The key that was drawn because none was set: to be shown once. */
  drawnKey: string | undefined;
  server: {
    /** The program and its arguments, or undefined for the built-in server. */
    command: string[] | undefined;
    /** Names of variables that the server may see. */
    envNames: string[];
    maxLineBytes: number;
    maxChildren: number;
    spawnConcurrency: number;
    startSeconds: number;
    /** How often within a minute a session's server is started again when it ended by itself. */
    restarts: number;
  };
  store: StoreConfig;
  relay: RelayConfig;
  session: {
    ttlSeconds: number;
    extend: "late" | "always";
    heartbeatSeconds: number;
    idleSeconds: number;
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
  drainSeconds: number;
  logLevel: LogLevel;
  /** What the operator should hear at start: never an error, never a value. */
  warnings: string[];
}

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

type Values = z.output<z.ZodObject<typeof SETTINGS>>;

/** Prefixes under which an unknown variable is likely a misspelt setting. */
const OUR_PREFIXES = /^(MCP|SESSION|STREAM|UPSTASH|REDIS)_/;

/**
 * Reads the environment. Throws one ConfigError that lists every problem; its lines name variables and never values.
 * `flags` are what the command line says and win over the environment.
 */
export function loadConfig(
  env: NodeJS.ProcessEnv,
  flags: { port?: string | undefined; command?: string[] | undefined } = {},
): Config {
  const given: Record<string, string> = {};
  const problems: string[] = [];
  for (const name of Object.keys(SETTINGS)) {
    const value = env[name];
    if (value === "") problems.push(`${name} is empty. Give it a value or remove it.`);
    else if (value !== undefined) given[name] = value;
  }
  if (flags.port !== undefined) given["PORT"] = flags.port;

  const read = z.object(SETTINGS).safeParse(given);
  for (const issue of read.error?.issues ?? []) problems.push(`${issue.path.join(".")} ${issue.message}.`);
  const keys = readApiKeys(env["MCP_API_KEY"], env["MCP_API_KEYS"], env["NODE_ENV"] === "production");
  problems.push(...keys.problems);
  const store = read.success ? chooseStore(read.data, problems) : undefined;
  if (read.success && read.data.MAX_LINE_BYTES > read.data.MAX_OUTBOX_BYTES) {
    problems.push("MAX_LINE_BYTES must not be larger than MAX_OUTBOX_BYTES.");
  }
  const command = flags.command ?? readCommand(given["MCP_SERVER_COMMAND"], problems);
  if (read.success) checkRelay(read.data, store, problems);
  if (problems.length > 0 || !read.success || store === undefined) throw new ConfigError(problems);

  const values = read.data;
  const warnings = [...keys.warnings, ...unknownNames(env)];
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
    drawnKey: keys.drawn,
    server: {
      command,
      envNames: values.MCP_SERVER_ENV,
      maxLineBytes: values.MAX_LINE_BYTES,
      maxChildren: values.MAX_CHILDREN,
      spawnConcurrency: values.SPAWN_CONCURRENCY,
      startSeconds: values.SERVER_START_SECONDS,
      restarts: values.SERVER_RESTARTS,
    },
    store,
    relay: {
      isOn: values.SESSION_RELAY === "on",
      driver: values.SESSION_RELAY_DRIVER,
      url: values.SESSION_RELAY_URL,
      privateDomain: env["RAILWAY_PRIVATE_DOMAIN"] || undefined,
      allowedHosts: values.SESSION_RELAY_ALLOW,
      secrets: relaySecrets(values, store, keys.keys),
    },
    session: {
      ttlSeconds: values.SESSION_TTL_SECONDS,
      extend: values.SESSION_EXTEND,
      heartbeatSeconds: values.HEARTBEAT_SECONDS,
      idleSeconds: values.SESSION_IDLE_SECONDS,
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
    drainSeconds: values.DRAIN_SECONDS ?? railwayDrainSeconds(env) ?? 25,
    logLevel: values.LOG_LEVEL,
    warnings,
  };
}

function readCommand(text: string | undefined, problems: string[]): string[] | undefined {
  if (text === undefined) return undefined;
  try {
    const command = splitCommand(text);
    if (command.length > 0) return command;
    problems.push("MCP_SERVER_COMMAND names no program.");
  } catch (error) {
    problems.push(`MCP_SERVER_COMMAND: ${(error as Error).message}`);
  }
  return undefined;
}

function chooseStore(values: Values, problems: string[]): StoreConfig | undefined {
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

function unknownNames(env: NodeJS.ProcessEnv): string[] {
  const known = Object.keys(SETTINGS);
  return Object.keys(env)
    .filter((name) => OUR_PREFIXES.test(name) && !known.includes(name))
    .map((name) => {
      const [near] = known
        .filter((setting) => distance(name, setting) <= 3)
        .sort((one, other) => distance(name, one) - distance(name, other));
      return `${name} is not a setting of the gateway.${near === undefined ? "" : ` Did you mean ${near}?`}`;
    });
}

/** Levenshtein's distance: how many letters to change, add or remove. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (let line = 1; line <= one.length; line += 1) {
    const next = [line];
    for (let column = 1; column <= other.length; column += 1) {
      const change = (row[column - 1] as number) + (one[line - 1] === other[column - 1] ? 0 : 1);
      next.push(Math.min(change, (row[column] as number) + 1, (next[column - 1] as number) + 1));
    }
    row = next;
  }
  return row[other.length] as number;
}

/** The names we know to be ours join the operator's; a gateway on a local address answers to local names only. */
function allowedHosts({ ALLOWED_HOSTS: listed, HOST }: Values, env: NodeJS.ProcessEnv): string[] {
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

function checkRelay(values: Values, store: StoreConfig | undefined, problems: string[]): void {
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

/** What every instance has and no client does: what the operator sets for this, else the store's credentials and the keys. */
function relaySecrets(values: Values, store: StoreConfig, keys: readonly ApiKey[]): (string | Buffer)[] {
  if (values.SESSION_RELAY_SECRET !== undefined) return [values.SESSION_RELAY_SECRET];
  const digests = keys.map(({ digest }) => digest).sort((one, other) => Buffer.compare(one, other));
  if (store.kind === "memory") return digests;
  return [store.kind === "upstash" ? store.token : store.url, ...digests];
}

/** Whoever has the only API key and guesses the store's address could then speak as an instance. */
const hasWeakSecret = (values: Values, store: StoreConfig): boolean =>
  values.SESSION_RELAY === "on" &&
  values.SESSION_RELAY_SECRET === undefined &&
  store.kind === "redis" &&
  !/:\/\/[^/@]*:[^/@]+@/.test(store.url);

/** Railway kills this long after SIGTERM, and ending stubborn servers takes some seconds after the drain. */
function railwayDrainSeconds(env: NodeJS.ProcessEnv): number | undefined {
  const seconds = Number(env["RAILWAY_DEPLOYMENT_DRAINING_SECONDS"] ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.max(0, seconds - 10, seconds / 2) : undefined;
}
