import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { LOG_LEVELS } from "./log.ts";
import { readRedisUrl } from "./session-store/redis-url.ts";

interface SettingMeta {
  /** What it means, for `docs/configuration.md`. */
  meaning: string;
  group: string;
  /** Shown in `.env.example` where there is no default. */
  example?: string;
}

const meta = z.registry<SettingMeta>();
let group = "";

function setting<T extends z.ZodType>(shape: T, meaning: string, example?: string): T {
  meta.add(shape, { meaning, group, ...(example === undefined ? {} : { example }) });
  return shape;
}

const MIB = 1024 * 1024;
const whole = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be a whole number from ${least} to ${most}`);
const orElse = <T extends z.ZodType>(shape: T, value: string) =>
  shape.prefault(value as Exclude<z.input<T>, undefined>);
const oneOf = <const T extends readonly [string, ...string[]]>(words: T) =>
  z.enum(words, `must be one of ${words.join(", ")}`);
const list = z.string().transform((text) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean),
);
const url = (...schemes: string[]) =>
  z.string().refine(
    (text) => {
      return URL.canParse(text) && schemes.includes(new URL(text).protocol);
    },
    `must be a URL that begins with ${schemes.map((scheme) => `${scheme}//`).join(" or ")}`,
  );

/** What keys of a store may begin with: no pattern, and never nothing. */
export const KEY_PREFIX = /^[\w:.{}-]{1,64}$/;
export const KEY_PREFIX_WORDS = "must be 1 to 64 letters, digits, or any of _ : . - { }";

const redisUrl = z.string().superRefine((text, context) => {
  try {
    readRedisUrl(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems)
      context.addIssue({ code: "custom", message: problem.replace("REDIS_URL: ", "") });
  }
});

const inGroup = <T>(name: string, settings: () => T): T => {
  group = name;
  return settings();
};

/** Every setting there is, once. `.env.example` and `docs/configuration.md` are made from this list. */
export const SETTINGS = {
  ...inGroup("Where it listens", () => ({
    PORT: setting(orElse(whole(0, 65_535), "3000"), "Port to listen on. 0 draws a free one."),
    HOST: setting(
      z
        .string()
        .regex(/^[0-9a-zA-Z.:-]+$/, "must be a host name or an address")
        .optional(),
      "Address to listen on. Unset: all interfaces.",
      "127.0.0.1",
    ),
    PUBLIC_URL: setting(
      url("http:", "https:").optional(),
      "Address under which clients reach the gateway, for the lines printed at start. On Railway it is found by itself.",
      "https://gateway.example.com",
    ),
  })),
  ...inGroup("Who may come in", () => ({
    MCP_API_KEY: setting(
      z.string().optional(),
      "The API key. Make one with `openssl rand -hex 32`. Unset: one is drawn at start and shown, but never with NODE_ENV=production.",
      "replace-me",
    ),
    MCP_API_KEYS: setting(
      z.string().optional(),
      "Several keys, each with the name of its caller: `name=key` or `name=sha256:<hex>`, separated by commas. Two keys may have one name.",
      "alice=replace-me,ci=sha256:<64 hex digits>",
    ),
    MCP_API_KEYS_FILE: setting(
      z.string().min(1, "must not be empty").optional(),
      "File of keys with their callers, scopes, limits and expiry, as `mcp-sse-gateway keys` writes it. It is read again when it changes and on SIGHUP; what a revoked key opened is closed.",
      "keys.json",
    ),
    MCP_KEY_SCOPES: setting(
      z.string().optional(),
      "What each caller may use: `name=` and servers, or `server/tool` with `*` for any letters, separated by spaces; callers are separated by commas. Unset: every caller may use everything. Set: every caller must stand here. A server that no file names is called `default`.",
      "alice=github files/read_*,ci=*",
    ),
    ALLOWED_ORIGINS: setting(
      orElse(list, ""),
      "Web origins whose pages may call the gateway, separated by commas. Unset: none. Programs send no origin and need none.",
      "https://app.example.com",
    ),
    ALLOWED_HOSTS: setting(
      orElse(list, ""),
      "Host names that requests may name, separated by commas. Unset: any, or only local ones when HOST is a local address. `/health` answers to all.",
      "gateway.example.com",
    ),
    TRUST_PROXY: setting(
      orElse(
        z.string().regex(/^(auto|off|railway|[1-9])$/, "must be auto, off, railway or a number from 1 to 9"),
        "auto",
      ),
      "Whose word on a client's address is believed: `off` (the socket), `railway` (X-Real-IP), or how many proxies stand in front (X-Forwarded-For). `auto`: `railway` on Railway, else `off`.",
    ),
  })),
  ...inGroup("The MCP servers behind", () => ({
    MCP_SERVERS_FILE: setting(
      z.string().optional(),
      "File that lists the servers to front, as `mcpServers` in the `mcp.json` of MCP clients. It is read again when it changes and on SIGHUP. The settings below are then what a server has for which the file says nothing else.",
      "mcp.json",
    ),
    MCP_SERVER_COMMAND: setting(
      z.string().min(1, "must not be empty").optional(),
      "Command of the stdio server to front, as one line. No shell reads it: quotes group words, nothing else is special. Unset, with no file and no URL either: the built-in demo server.",
      "npx -y @modelcontextprotocol/server-everything",
    ),
    MCP_SERVER_ENV: setting(
      orElse(list, ""),
      "Names of variables that the server of MCP_SERVER_COMMAND may see, separated by commas. It sees PATH, HOME and the like, and nothing else.",
      "GITHUB_TOKEN",
    ),
    MCP_SERVER_URL: setting(
      url("http:", "https:").optional(),
      "URL of the remote server to front, in place of a command.",
      "https://mcp.example.com/mcp",
    ),
    MCP_SERVER_HEADERS: setting(
      z.string().optional(),
      "Headers for every request to MCP_SERVER_URL: lines of `Name: value`, or a JSON object. `${VAR}` stands for another variable's value.",
      "Authorization: Bearer ${REMOTE_TOKEN}",
    ),
    MCP_SERVER_TRANSPORT: setting(
      orElse(oneOf(["auto", "http", "sse"]), "auto"),
      "How MCP_SERVER_URL is spoken to: `http` (Streamable HTTP), `sse` (HTTP+SSE), or `auto`, which finds out.",
    ),
    MCP_SERVER_MODEL: setting(
      orElse(oneOf(["per-session", "shared", "pool"]), "per-session"),
      "How sessions share a stdio server's processes: `per-session` (each its own), `shared` (one for all), `pool` (each its own, started ahead).",
    ),
    MCP_SERVER_DISCOVERY: setting(
      orElse(oneOf(["fallback", "translate"]), "fallback"),
      "What a client of 2026-07-28 is told that asks a server of older versions which it speaks. `fallback`: none of its own, so that it begins a session and loses nothing. `translate`: that the gateway translates, for clients that know nothing older.",
    ),
    POOL_SIZE: setting(orElse(whole(1, 1000), "2"), "Processes that a pool keeps started ahead."),
    SERVER_IDLE_SECONDS: setting(
      orElse(whole(0, 604_800), "300"),
      "How long a shared process, or one that was started ahead, lives without use. 0: for ever.",
    ),
    MAX_LINE_BYTES: setting(
      orElse(whole(1024, 256 * MIB), String(4 * MIB)),
      "Longest message that a server may send.",
    ),
    MAX_CHILDREN: setting(orElse(whole(1, 100_000), "100"), "Server processes at once."),
    SPAWN_CONCURRENCY: setting(
      orElse(whole(1, 1000), "4"),
      "Server processes that may be starting at once; others wait their turn.",
    ),
    SERVER_START_SECONDS: setting(
      orElse(whole(1, 3600), "60"),
      "How long a message waits for its server to be started.",
    ),
    SERVER_RESTARTS: setting(
      orElse(whole(0, 1000), "3"),
      "How often within a minute a server that ended by itself is started again for a session, which then goes on. 0: the session ends.",
    ),
    REQUEST_TIMEOUT_SECONDS: setting(
      orElse(whole(1, 86_400), "600"),
      "How long a request waits for its answer. Progress starts the count again.",
    ),
  })),
  ...inGroup("Where sessions are recorded", () => ({
    SESSION_STORE: setting(
      orElse(oneOf(["auto", "memory", "file", "redis", "upstash"]), "auto"),
      "`auto`: Upstash when its two variables are set, else Redis when REDIS_URL is, else a file when SESSION_DIR is, else memory. `file` is for one instance.",
    ),
    SESSION_DIR: setting(
      z.string().min(1, "must not be empty").optional(),
      "Directory of the file store. With SESSION_STORE=file and this unset: `data/sessions`.",
      "data/sessions",
    ),
    SESSION_FILE_SYNC: setting(
      orElse(oneOf(["always", "second", "off"]), "second"),
      "When the file store forces what it wrote to the disk: `always`, before it answers; `second`, once a second; `off`, when the system does. A killed process loses nothing either way; a machine that loses power may.",
    ),
    SESSION_STORE_FALLBACK: setting(
      orElse(oneOf(["off", "memory"]), "off"),
      "`memory`: while the store is away, its work is done in memory, and written to the store when it is back. Right for one instance only.",
    ),
    UPSTASH_REDIS_REST_URL: setting(
      url("http:", "https:").optional(),
      "REST URL of the Upstash database.",
      "https://your-database.upstash.io",
    ),
    UPSTASH_REDIS_REST_TOKEN: setting(
      z.string().regex(/^\S+$/, "must not be empty or hold spaces").optional(),
      "REST token of the Upstash database; not the read-only one.",
      "replace-me",
    ),
    REDIS_URL: setting(
      redisUrl.optional(),
      "URL of a Redis server; `rediss://` for TLS; several, separated by commas, for a cluster; `redis+sentinel://host:26379,host:26379/master` for Sentinel.",
      "redis://localhost:6379",
    ),
    REDIS_CA_FILE: setting(
      z.string().min(1, "must not be empty").optional(),
      "File of the certificate authority that signed the Redis server's certificate, in PEM. Unset: those that Node trusts.",
      "redis-ca.pem",
    ),
    REDIS_KEY_PREFIX: setting(
      orElse(z.string().regex(KEY_PREFIX, KEY_PREFIX_WORDS), "mcp:"),
      "What every key begins with.",
    ),
    STORE_TIMEOUT_MS: setting(
      orElse(whole(50, 60_000), "1000"),
      "How long the store may take to answer, in ms.",
    ),
    SESSION_MIRROR: setting(
      z
        .string()
        .regex(
          /^(rediss?(\+sentinel)?|https?|file):/,
          "must begin with redis://, rediss://, https:// or file:",
        )
        .optional(),
      "A second store, to which every write goes as well: `redis://…`, `https://:token@…` for Upstash, `file:directory`. It is read while the first one is down.",
      "redis://localhost:6380",
    ),
    SESSION_MIRROR_SYNC_SECONDS: setting(
      orElse(whole(0, 86_400), "300"),
      "How often the mirror is compared with the store and put right. 0: only after the store was away.",
    ),
    SESSION_MIRROR_QUEUE: setting(
      orElse(whole(100, 1_000_000), "10000"),
      "Writes that may wait for the mirror. Beyond it the oldest are dropped and counted, and the next comparison puts them right.",
    ),
  })),
  ...inGroup("Sessions", () => ({
    SESSION_TTL_SECONDS: setting(
      orElse(whole(2, 2_592_000), "3600"),
      "Expiry of a session's record. An open stream extends it.",
    ),
    SESSION_EXTEND: setting(
      orElse(oneOf(["late", "always"]), "late"),
      "When a record is extended: `late`, once less than half of its expiry is left; `always`, at each heartbeat (120 commands an hour and session).",
    ),
    SESSION_ORPHAN_GRACE: setting(
      orElse(whole(0, 86_400), "120"),
      "How long, in seconds, a session whose stream was cut waits for its client to come back. 0: it ends with its stream.",
    ),
    SESSION_RELAY: setting(
      orElse(oneOf(["off", "on"]), "off"),
      "`on`: a message or a returning client that reaches the wrong instance is carried to the right one. `off`: it is answered 503. Needs a shared store.",
    ),
    SESSION_RELAY_DRIVER: setting(
      orElse(oneOf(["auto", "http", "redis", "upstash"]), "auto"),
      "How instances reach each other: `http` directly, `redis` or `upstash` through the store. `auto`: `http` when this instance finds an address of its own, else through the store.",
    ),
    SESSION_RELAY_URL: setting(
      url("http:").optional(),
      "Address under which other instances reach this one, for `http`. Unset: found on Railway's private network, or HOST when that is a private or local address.",
      "http://10.0.0.5:3000",
    ),
    SESSION_RELAY_ALLOW: setting(
      orElse(list, ""),
      "Host names that an instance may be called at, separated by commas. Private and local addresses need not be listed.",
      "gateway-1.internal,gateway-2.internal",
    ),
    SESSION_RELAY_SECRET: setting(
      z.string().min(32, "must have at least 32 characters").optional(),
      "What instances prove themselves to each other with: the same on all. Unset: derived from the API keys and the store's credentials, which must then be the same too.",
      "replace-me",
    ),
    SESSION_DURABILITY: setting(
      orElse(oneOf(["off", "store"]), "off"),
      "`store`: requests that were accepted and messages that wait for the client are kept in the store too, so that a killed instance loses none. Costs about two commands a request.",
    ),
    STREAM_MAX_AGE: setting(
      whole(0, 604_800).optional(),
      "Age in seconds at which a stream is ended by the gateway, at a quiet moment, so that its client reconnects before a proxy cuts it. 0: never. Unset: 840 on Railway, else never.",
      "840",
    ),
    HEARTBEAT_SECONDS: setting(
      orElse(whole(1, 300), "30"),
      "How often the comment `: ping` is written to each stream.",
    ),
    SESSION_IDLE_SECONDS: setting(
      orElse(whole(1, 604_800), "1800"),
      "How long a session may live without a message either way.",
    ),
    SESSION_MAX_SECONDS: setting(
      orElse(whole(0, 31_536_000), "0"),
      "How long a session may live, whatever it does, on all instances together. 0: as long as it is used.",
    ),
    FIRST_POST_SECONDS: setting(
      orElse(whole(1, 3600), "30"),
      "How long a client may take to send its first message.",
    ),
    MAX_SESSIONS: setting(
      orElse(whole(1, 1_000_000), "1000"),
      "Sessions that this instance holds. Above: 503.",
    ),
    MAX_SESSIONS_PER_KEY: setting(
      orElse(whole(1, 1_000_000), "50"),
      "Sessions that one caller has open, on all instances together. Above: 429. While the store is away each instance counts its own.",
    ),
    MAX_IN_FLIGHT: setting(
      orElse(whole(1, 100_000), "64"),
      "Unanswered requests of one session. Above: 429.",
    ),
    MAX_BODY_BYTES: setting(
      orElse(whole(1024, 64 * MIB), String(4 * MIB)),
      "Largest message that a client may send. Above: 413.",
    ),
    MAX_OUTBOX_BYTES: setting(
      orElse(whole(64 * 1024, 1024 * MIB), String(8 * MIB)),
      "What may wait for a client that reads slowly. From an eighth of it on the server is paused; above it the session ends.",
    ),
  })),
  ...inGroup("Watching it", () => ({
    METRICS_PORT: setting(
      whole(1, 65_535).optional(),
      "Port of its own for `/metrics`, without a key: for a private network. Unset: `/metrics` on the main port, when METRICS_TOKEN is set.",
      "9464",
    ),
    METRICS_HOST: setting(
      z
        .string()
        .regex(/^[0-9a-zA-Z.:-]+$/, "must be a host name or an address")
        .optional(),
      "Address for METRICS_PORT. Unset: that of HOST.",
      "127.0.0.1",
    ),
    METRICS_TOKEN: setting(
      z.string().min(16, "must have at least 16 characters").optional(),
      "What `/metrics` wants as `Authorization: Bearer`.",
      "replace-me-with-16-or-more",
    ),
    AUDIT_LOG: setting(
      z.string().min(1, "must not be empty").optional(),
      "File for audit records, one JSON line each, or `stdout`. Unset: none.",
      "data/audit.log",
    ),
    AUDIT_LOG_MAX_BYTES: setting(
      orElse(whole(64 * 1024, 1024 * MIB), String(64 * MIB)),
      "Size at which the audit file is set aside under a number and a new one is begun.",
    ),
    AUDIT_LOG_FILES: setting(
      orElse(whole(0, 10_000), "0"),
      "Audit files that are kept beside the present one; older ones are removed. 0: all.",
    ),
    ALERT_WEBHOOK_URL: setting(
      url("http:", "https:").optional(),
      "Where alerts are posted when they begin and end, as JSON. Unset: they are log lines and metrics only.",
      "https://hooks.example.com/mcp",
    ),
    ALERT_WEBHOOK_SECRET: setting(
      z.string().min(16, "must have at least 16 characters").optional(),
      "Signs what is posted: `X-Signature: sha256=` and the HMAC-SHA256 of timestamp, a dot, and body.",
      "replace-me-with-16-or-more",
    ),
    ALERT_LATENCY_MS: setting(
      orElse(whole(0, 3_600_000), "0"),
      "An alert begins when more than 5 of 100 calls of the last 5 minutes took this long or longer, in ms. 0: never.",
    ),
    ALERT_ERROR_PERCENT: setting(
      orElse(whole(0, 100), "5"),
      "An alert begins when this share of the calls of the last 5 minutes, in percent, failed in the gateway or the server's transport. 0: never.",
    ),
    ALERT_SESSIONS_PERCENT: setting(
      orElse(whole(0, 100), "80"),
      "An alert begins when this share of MAX_SESSIONS, in percent, is open. 0: never.",
    ),
    ALERT_SLOW_READERS: setting(
      orElse(whole(0, 100_000), "5"),
      "An alert begins when so many clients were cut within 5 minutes because they did not read. 0: never.",
    ),
    ALERT_SERVER_RESTARTS: setting(
      orElse(whole(0, 100_000), "5"),
      "An alert begins when a server was started again so often within 5 minutes. 0: never.",
    ),
  })),
  ...inGroup("The process", () => ({
    DRAIN_SECONDS: setting(
      whole(0, 3600).optional(),
      "How long SIGTERM lets requests finish. Unset: 25, or 10 less than RAILWAY_DEPLOYMENT_DRAINING_SECONDS where that is set.",
      "25",
    ),
    LOG_LEVEL: setting(
      orElse(oneOf(LOG_LEVELS), "info"),
      "trace, debug, info, warn, error, fatal or silent.",
    ),
    NODE_ENV: setting(
      z.string().optional(),
      "With `production` a key must be set, and it must be strong.",
      "production",
    ),
  })),
} as const;

export type SettingName = keyof typeof SETTINGS;

/** Every setting, read. */
export type Settings = z.output<z.ZodObject<typeof SETTINGS>>;

/** What a person reads about one setting. */
export interface SettingWords {
  name: string;
  group: string;
  meaning: string;
  default: string | undefined;
  example: string | undefined;
}

/** Every setting in words, for the documents made from them. */
export function settingWords(): SettingWords[] {
  return Object.entries(SETTINGS).map(([name, shape]) => {
    const { meaning, group: inGroupNamed, example } = meta.get(shape) as SettingMeta;
    const fallback = shape instanceof z.ZodPrefault ? String(shape.def.defaultValue) : undefined;
    return { name, group: inGroupNamed, meaning, default: fallback, example };
  });
}
