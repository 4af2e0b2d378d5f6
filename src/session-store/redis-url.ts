import { ConfigError } from "../errors.ts";

/** Where a Redis URL points to. More than one node means a Redis Cluster, or the sentinels of one master. */
export interface RedisAddress {
  nodes: readonly { host: string; port: number }[];
  /** The master's name among its sentinels, which the nodes are then. */
  master?: string;
  username?: string;
  password?: string;
  db: number;
  tls: boolean;
}

/** Makes a ConfigError of words about the URL. */
type Problem = (words: string) => ConfigError;

const SENTINEL_PORT = 26379;

function parseOne(text: string, problem: Problem): URL {
  if (!URL.canParse(text)) throw problem("is not a URL; write redis://user:password@host:6379");
  const url = new URL(text);
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") {
    throw problem("must start with redis:// or, for TLS, rediss://");
  }
  if (url.hostname === "") throw problem("names no host");
  return url;
}

function decodePart(text: string, problem: Problem): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw problem("the user name or password is not valid percent-encoding; write % as %25");
  }
}

function databaseIn(pathname: string, problem: Problem): number {
  const db = /^\/?(\d*)$/.exec(pathname)?.[1];
  if (db === undefined) throw problem("the path may only be a database number, as in redis://host:6379/0");
  return Number(db);
}

const nodeOf = ({ hostname, port }: URL, usualPort: number) => ({
  host: hostname.replace(/^\[|\]$/g, ""),
  port: port === "" ? usualPort : Number(port),
});

const credentialsOf = ({ username, password }: URL, problem: Problem) => ({
  ...(username === "" ? {} : { username: decodePart(username, problem) }),
  ...(password === "" ? {} : { password: decodePart(password, problem) }),
});

/** `redis+sentinel://user:password@host:26379,host:26379/name/db`: its hosts are read as URLs of their own. */
function readSentinels(text: string, problem: Problem): RedisAddress {
  const [, scheme = "", hosts = "", master = "", db = ""] =
    /^(rediss?)\+sentinel:\/\/([^/]*)(?:\/([^/]*))?(\/\d*)?$/.exec(text) ?? [];
  if (hosts === "" || master === "")
    throw problem("must name hosts and the master: redis+sentinel://host:26379,host:26379/mymaster");
  const urls = hosts.split(",").map((host) => parseOne(`${scheme}://${host}`, problem));
  return {
    nodes: urls.map((url) => nodeOf(url, SENTINEL_PORT)),
    master: decodePart(master, problem),
    ...credentialsOf(urls[0] as URL, problem),
    db: databaseIn(db, problem),
    tls: scheme === "rediss",
  };
}

/**
 * Reads `redis://user:password@host:port/db`, `rediss://` for TLS, several such URLs with commas between them for a
 * Redis Cluster, or `redis+sentinel://user:password@host:port,host:port/master/db` for a master that sentinels know
 * (`rediss+sentinel://` for TLS). User, password and TLS are those of the first, and are for the master, not for the
 * sentinels. Throws a ConfigError that never shows the value.
 *
 * @param name what the URL was given as, for the error.
 */
export function readRedisUrl(text: string, name = "REDIS_URL"): RedisAddress {
  const problem: Problem = (words) => new ConfigError([`${name}: ${words}`]);
  if (/^rediss?\+sentinel:/.test(text.trim())) return readSentinels(text.trim(), problem);
  const urls = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => parseOne(part, problem));
  const [first] = urls;
  if (!first) throw problem("is empty");
  const db = databaseIn(first.pathname, problem);
  if (urls.length > 1 && db !== 0) throw problem("a Redis Cluster has only database 0");
  return {
    nodes: urls.map((url) => nodeOf(url, 6379)),
    ...credentialsOf(first, problem),
    db,
    tls: first.protocol === "rediss:",
  };
}
