import { ConfigError } from "../errors.ts";
import { readRedisUrl } from "./redis-url.ts";
import type { StoreTarget } from "./target.ts";

export interface StoreUrlOptions {
  /** What the URL was given as, such as SESSION_MIRROR or --from: for errors. */
  name: string;
  /** File of the authority that signed the certificate of a `rediss://` server. */
  caFile?: string | undefined;
  /** When a file store forces what it wrote to the disk; once a second by default. */
  sync?: "always" | "second" | "off";
}

const SHAPES = "redis://, rediss://, redis+sentinel://, https://:TOKEN@host for Upstash, or file:directory";

/**
 * Reads where a store is: a URL as `readRedisUrl` takes it, `https://:TOKEN@host/path` for Upstash (`http://` only on this
 * machine), or `file:directory`. Throws a ConfigError that names the thing it was given as and never shows the value.
 */
export function readStoreUrl(text: string, options: StoreUrlOptions): StoreTarget {
  const { name, caFile, sync = "second" } = options;
  const trimmed = text.trim();
  const scheme = /^[a-z+]+(?=:)/.exec(trimmed)?.[0];
  switch (scheme) {
    case "redis":
    case "rediss":
    case "redis+sentinel":
    case "rediss+sentinel":
      readRedisUrl(trimmed, name);
      return { kind: "redis", url: trimmed, caFile };
    case "https":
    case "http":
      return readUpstash(trimmed, name);
    case "file":
      return { kind: "file", directory: directoryIn(trimmed.slice("file:".length), name), sync };
    default:
      throw new ConfigError([`${name}: is no URL of a store; write ${SHAPES}`]);
  }
}

function readUpstash(text: string, name: string): StoreTarget {
  const problem = (words: string): ConfigError => new ConfigError([`${name}: ${words}`]);
  if (!URL.canParse(text)) throw problem("is not a URL; write https://:TOKEN@host");
  const url = new URL(text);
  if (url.protocol === "http:" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))
    throw problem("must begin with https://, for the token must not be sent in the clear");
  if (url.username !== "" || url.search !== "" || url.hash !== "")
    throw problem("may only hold a token, a host and a path: https://:TOKEN@host");
  let token: string;
  try {
    token = decodeURIComponent(url.password);
  } catch {
    throw problem("the token is not valid percent-encoding; write % as %25");
  }
  if (!/^\S+$/.test(token)) throw problem("holds no token; write https://:TOKEN@host");
  return { kind: "upstash", url: url.origin + url.pathname, token };
}

/** `file:` takes a path as it stands, and `file:///` an absolute one. */
function directoryIn(rest: string, name: string): string {
  const directory = rest.startsWith("//") ? rest.slice(2) : rest;
  if (directory === "" || (rest.startsWith("//") && !directory.startsWith("/")))
    throw new ConfigError([`${name}: names no directory on this machine; write file:directory`]);
  return directory;
}

const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host);

/** A name of a store that may be shown: without user, password, token or path of its URL. */
export function labelOf(target: StoreTarget): string {
  switch (target.kind) {
    case "memory":
      return "memory";
    case "file":
      return `file:${target.directory}`;
    case "upstash":
      return new URL(target.url).origin;
    case "redis": {
      const { nodes, master, db, tls } = readRedisUrl(target.url);
      const scheme = tls ? "rediss" : "redis";
      const hosts = nodes.map(({ host, port }) => `${bracketed(host)}:${port}`);
      if (master !== undefined) return `${scheme}+sentinel://${hosts.join(",")}/${master}/${db}`;
      return hosts.map((host) => `${scheme}://${host}/${db}`).join(",");
    }
  }
}
