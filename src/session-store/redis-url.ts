import { ConfigError } from "../errors.ts";

/** Where `REDIS_URL` points to. More than one node means a Redis Cluster. */
export interface RedisAddress {
  nodes: readonly { host: string; port: number }[];
  username?: string;
  password?: string;
  db: number;
  tls: boolean;
}

const problem = (words: string): ConfigError => new ConfigError([`REDIS_URL: ${words}`]);

function parseOne(text: string): URL {
  if (!URL.canParse(text)) throw problem("is not a URL; write redis://user:password@host:6379");
  const url = new URL(text);
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") {
    throw problem("must start with redis:// or, for TLS, rediss://");
  }
  if (url.hostname === "") throw problem("names no host");
  return url;
}

function decodePart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw problem("the user name or password is not valid percent-encoding; write % as %25");
  }
}

/**
 * Reads `redis://user:password@host:port/db`, `rediss://` for TLS, or several such URLs with commas between them for a
 * Redis Cluster; user, password and TLS are those of the first. Throws a ConfigError that never shows the value.
 */
export function readRedisUrl(text: string): RedisAddress {
  const urls = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map(parseOne);
  const [first] = urls;
  if (!first) throw problem("is empty");
  const db = /^\/?(\d*)$/.exec(first.pathname)?.[1];
  if (db === undefined) throw problem("the path may only be a database number, as in redis://host:6379/0");
  if (urls.length > 1 && Number(db) !== 0) throw problem("a Redis Cluster has only database 0");
  return {
    nodes: urls.map(({ hostname, port }) => ({
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? 6379 : Number(port),
    })),
    ...(first.username === "" ? {} : { username: decodePart(first.username) }),
    ...(first.password === "" ? {} : { password: decodePart(first.password) }),
    db: Number(db),
    tls: first.protocol === "rediss:",
  };
}
