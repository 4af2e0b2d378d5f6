import { createHmac } from "node:crypto";

/** What became of one try. */
export interface Attempt {
  readonly isTaken: boolean;
  /** Whether the same may be taken later. */
  readonly mayRetry: boolean;
  /** A status or an error's code: nothing of the URL. */
  readonly why: string;
  /** How long the receiver asks to be left alone. */
  readonly retryAfterMs?: number | undefined;
}

/** Posts a body under its idempotency key. Never rejects. */
export type Post = (body: string, key: string) => Promise<Attempt>;

interface PostOptions {
  url: URL;
  secret: string | undefined;
  timeoutMs: number;
  now: () => number;
  signal: AbortSignal;
}

export function createPost({ url, secret, timeoutMs, now, signal }: PostOptions): Post {
  // `fetch` refuses a URL with a user in it.
  const { username, password } = url;
  const target = new URL(url);
  target.username = target.password = "";
  const authorization =
    username === "" && password === "" ? {} : { Authorization: basic(username, password) };
  return async (body, key) => {
    const timestamp = String(Math.floor(now() / 1000));
    try {
      const response = await fetch(target, {
        method: "POST",
        redirect: "manual",
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
        headers: {
          "Content-Type": "application/json",
          "User-Agent": "mcp-sse-gateway",
          "Idempotency-Key": key,
          "X-Timestamp": timestamp,
          ...(secret === undefined ? {} : { "X-Signature": signatureOf(secret, timestamp, body) }),
          ...authorization,
        },
        body,
      });
      await response.body?.cancel();
      const { ok, status, headers } = response;
      return {
        isTaken: ok,
        mayRetry: status >= 500 || status === 429 || status === 408,
        why: `status ${status}`,
        retryAfterMs: retryAfterMs(headers.get("retry-after"), now()),
      };
    } catch (error) {
      return { isTaken: false, mayRetry: true, why: codeOf(error) };
    }
  };
}

/** What a receiver compares with `X-Signature`. */
const signatureOf = (secret: string, timestamp: string, body: string): string =>
  `sha256=${createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex")}`;

const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64")}`;

/** Seconds, or a date. */
function retryAfterMs(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const ms = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : ms;
}

/** An error's message may hold the URL; `fetch` puts the cause's code below its own error. */
function codeOf(error: unknown): string {
  const { cause, name } = error as { cause?: { code?: unknown }; name?: unknown };
  return typeof cause?.code === "string" ? cause.code : String(name);
}
