import { Agent } from "undici";

import { ConfigError } from "../errors.ts";
import { withinDeadline } from "./deadline.ts";
import { replyFailure, StoreFailure, toFailure, unavailable } from "./store-failure.ts";

export interface UpstashPlace {
  /** `UPSTASH_REDIS_REST_URL`. */
  url: string;
  /** `UPSTASH_REDIS_REST_TOKEN`. */
  token: string;
  /** Milliseconds that a verb waits at most. */
  deadlineMs: number;
  /** What URL and token were given as, for errors; by default the two settings. */
  names?: { url: string; token: string };
}

/** The answer to one command. */
export interface Reply {
  result?: unknown;
  error?: string;
}

export interface UpstashConnection {
  /** Posts to a path below the database's, and gives the answer: a list for a batch. Rejects with a StoreFailure. */
  post(path: readonly string[], body: unknown): Promise<Reply | Reply[]>;
  /** Carries out `work` by the deadline, and turns its errors into `store_unavailable`. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** As `SessionStore.ready`. Free. */
  ready(): Promise<void>;
  /** Lets go of the connections; `run` rejects from then on. Safe to call twice. */
  close(): Promise<void>;
}

/** Some databases take no request above 1 MiB, and the client adds a little of its own. */
export const REQUEST_BYTES = 900_000;

/** Code of the failure of a request that is too large, or whose answer would be. */
export const TOO_LARGE = "TOO_LARGE";

/** Bytes of a text in JSON, with its quotes and a comma. */
export const sizeInJson = (text: string): number => Buffer.byteLength(JSON.stringify(text)) + 1;

const CONNECTIONS = 32;
const SETTINGS = { url: "UPSTASH_REDIS_REST_URL", token: "UPSTASH_REDIS_REST_TOKEN" };

function readUrl(text: string, name: string): URL {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  throw new ConfigError([
    `${name}: must be the https:// URL of the REST API tab (a redis:// URL belongs in REDIS_URL)`,
  ]);
}

function parseReply(text: string): Reply | Reply[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the error of one command's answer. */
export const commandFailure = (text: string): StoreFailure =>
  /max request size exceeded/i.test(text) ? new StoreFailure("refused", TOO_LARGE) : replyFailure(text);

function answerFailure(statusCode: number, text: string): StoreFailure {
  const failure = commandFailure(text);
  // 400 is a command that failed; any other status speaks of the service, whatever the text says.
  if (failure.kind !== "refused" || statusCode === 200 || statusCode === 400) return failure;
  return new StoreFailure("unreachable", `HTTP_${statusCode}`);
}

function upstashFailure(error: unknown): StoreFailure {
  if (error instanceof Error && error.name === "UpstashError") return replyFailure(error.message);
  if (error instanceof Error && error.name === "TimeoutError")
    return new StoreFailure("unreachable", "TIMEOUT");
  return toFailure(error);
}

/**
 * Connections to Upstash's REST API that stay open between heartbeats: each request has a deadline, none is repeated,
 * and no error shows a command. Throws a ConfigError when `url` is none.
 */
export function openUpstashConnection(place: UpstashPlace): UpstashConnection {
  const { deadlineMs, names = SETTINGS } = place;
  const base = readUrl(place.url, names.url);
  const token = place.token.trim();
  const root = base.pathname.replace(/\/+$/, "");
  const agent = new Agent({
    keepAliveTimeout: 60_000,
    connections: CONNECTIONS,
    connect: { timeout: deadlineMs, autoSelectFamily: true },
  });
  let syncToken = "";
  let closing: Promise<void> | undefined;

  async function post(path: readonly string[], body: unknown): Promise<Reply | Reply[]> {
    const response = await agent.request({
      origin: base.origin,
      path: [root, ...path].join("/") || "/",
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        // Read regions of a Global database catch up to this before they answer.
        ...(syncToken === "" ? {} : { "upstash-sync-token": syncToken }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(deadlineMs),
    });
    const text = await response.body.text();
    const { statusCode, headers } = response;
    if (statusCode === 401) throw new StoreFailure("credentials", "HTTP_401");
    const reply = parseReply(text);
    if (reply === undefined) {
      throw new StoreFailure("unreachable", statusCode === 200 ? "BAD_ANSWER" : `HTTP_${statusCode}`);
    }
    if (!Array.isArray(reply) && reply.error !== undefined) throw answerFailure(statusCode, reply.error);
    if (statusCode !== 200) throw new StoreFailure("unreachable", `HTTP_${statusCode}`);
    const synced = headers["upstash-sync-token"];
    if (typeof synced === "string") syncToken = synced;
    return reply;
  }

  async function run<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (closing) throw new StoreFailure("unreachable", "CLOSED");
      return await withinDeadline(deadlineMs, work());
    } catch (error) {
      throw unavailable(upstashFailure(error));
    }
  }

  return {
    post,
    run,
    ready: async () => {
      try {
        await run(() => post([], ["PING"]));
      } catch (error) {
        const failure = toFailure(error);
        if (failure.kind !== "credentials") throw error;
        const advice = "copy URL and token from the same database's REST API tab";
        throw new ConfigError([`${names.token}: the database refuses this token; ${advice}`], {
          cause: failure,
        });
      }
    },
    close: () => (closing ??= agent.destroy().then(() => undefined)),
  };
}
