import { Redis, type Requester } from "@upstash/redis";
import { Agent } from "undici";
import { ConfigError } from "../errors.ts";
import { openChannelRelay, type ChannelRelayPlace } from "./channel-relay.ts";
import { within, type Channels, type Published } from "./channels.ts";
import { toText } from "./envelope.ts";
import { wasNeverSent } from "./http-failure.ts";
import type { Relay } from "./relay.ts";
import { openUpstashStream } from "./upstash-stream.ts";

export interface UpstashRelayOptions extends ChannelRelayPlace {
  /** `UPSTASH_REDIS_REST_URL`. */
  url: string;
  /** `UPSTASH_REDIS_REST_TOKEN`. */
  token: string;
  /** After how many ms of silence it is looked whether we still hear, and how long that may take; 45 s and 5 s by default, one billed command. */
  selfTest?: { silenceMs: number; echoMs: number };
}

const CONNECTIONS = 16;
const CONNECT_MS = 3000;
/** Frees the connection of a request that hangs; whoever waited for it has given up before. */
const REQUEST_MS = 30_000;

function readUrl(text: string): URL {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  throw new ConfigError(["UPSTASH_REDIS_REST_URL: must be the https:// URL of the REST API tab"]);
}

/** The database's word that a command failed, or that it does not take our commands now: nothing was published. */
class Refusal extends Error {}

/** Carries the client's requests over connections that stay open, none repeated. */
function createRequester(url: URL, token: string, agent: Agent): Requester {
  const root = url.pathname.replace(/\/+$/, "");

  async function exchange(path: readonly string[], command: unknown): Promise<{ result: unknown }> {
    const { statusCode, body } = await agent.request({
      origin: url.origin,
      path: [root, ...path].join("/") || "/",
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(command),
      signal: AbortSignal.timeout(REQUEST_MS),
    });
    const text = await body.text();
    // Of a proxy's failure in between nobody knows what it let through.
    if (statusCode >= 400 && statusCode < 500) throw new Refusal();
    const { result, error } = JSON.parse(text) as { result?: unknown; error?: unknown };
    if (statusCode === 200 && error !== undefined) throw new Refusal();
    if (statusCode !== 200) throw new Error(`HTTP ${statusCode}`);
    return { result };
  }

  return {
    request: async <TResult>({ path = [], body }: { path?: string[]; body?: unknown }) =>
      (await exchange(path, body)) as { result?: TResult },
  };
}

function openUpstashChannels({ log, ...options }: UpstashRelayOptions): Channels {
  const [url, token] = [readUrl(options.url), options.token.trim()];
  const agent = new Agent({
    connections: CONNECTIONS,
    keepAliveTimeout: 60_000,
    connect: { timeout: CONNECT_MS, autoSelectFamily: true },
  });
  const redis = new Redis(createRequester(url, token, agent));
  let closing: Promise<void> | undefined;

  async function publish(channel: string, text: string): Promise<Published> {
    try {
      const count: unknown = await redis.exec(["PUBLISH", channel, text]);
      return typeof count === "number" ? count : "unknown";
    } catch (error) {
      return error instanceof Refusal || wasNeverSent(error) ? "unreachable" : "unknown";
    }
  }

  return {
    opened: Promise.resolve(),
    publish: (channel, publication, deadlineMs) =>
      within(deadlineMs, publish(channel, publication === "ping" ? "ping" : toText(publication)), "unknown"),
    listen: (channel, events) => openUpstashStream({ url, token, channel, events, log }),
    close: () => (closing ??= agent.destroy().then(() => undefined)),
  };
}

/**
 * Instances call each other through Upstash's REST API: a message and its answer are one billed PUBLISH each. Throws a
 * ConfigError when `url` is none.
 */
export async function openUpstashRelay(options: UpstashRelayOptions): Promise<Relay> {
  const { prefix, instanceId, key, log, events, selfTest } = options;
  return openChannelRelay({
    kind: "upstash",
    channels: openUpstashChannels(options),
    prefix,
    instanceId,
    key,
    log,
    events,
    helloMs: 5000,
    retryMs: [500, 1000],
    countsAll: true,
    selfTest: selfTest ?? { silenceMs: 45_000, echoMs: 5000 },
    openMs: 3000,
  });
}
