import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../log.ts";
import type { Alert } from "./alerts-states.ts";
import { type Attempt, createPost, type Post } from "./webhook-post.ts";

/** An alert that began or ended. */
export interface Notice extends Alert {
  readonly state: "raised" | "cleared";
  /** Which instance of the gateway says it. */
  readonly instance: string;
  /** When, as ISO 8601 in UTC. */
  readonly at: string;
}

export interface WebhookOptions {
  url: URL | string;
  /** Signs what is posted. */
  secret?: string | undefined;
  log: Log;
  /** How long one try may take. */
  timeoutMs?: number;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Waits between tries, and rejects when the signal is aborted. */
  wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** From 0 up to 1. */
  random?: () => number;
}

export interface Webhook {
  /** Never waits and never throws. */
  send(notice: Notice): void;
  /** Gives up what is not sent. */
  close(): Promise<void>;
}

/** Tries of one notice, over some four minutes. */
const MAX_TRIES = 6;
const FIRST_DELAY_MS = 2000;
const MAX_DELAY_MS = 120_000;
/** A receiver may ask for more time, but not for any. */
const MAX_RETRY_AFTER_MS = 300_000;
/** Notices that wait: at most one for each alert, so only very many servers come to this. */
const MAX_WAITING = 100;
const TIMEOUT_MS = 5000;

/** Posts alerts to a URL, one after the other, each until it is taken or has been tried often enough. */
export function openWebhook({
  url,
  secret,
  log,
  timeoutMs = TIMEOUT_MS,
  now = Date.now,
  wait = (ms, signal) => sleep(ms, undefined, { signal, ref: false }),
  random = Math.random,
}: WebhookOptions): Webhook {
  const closing = new AbortController();
  const waiting = new Map<string, Notice>();
  const target = new URL(url);
  const post: Post = createPost({ url: target, secret, timeoutMs, now, signal: closing.signal });
  let running: Promise<void> | undefined;
  let isOut = false;
  let lost = 0;

  /** One line when an outage begins and one when it ends. A URL's path may be a secret as well. */
  function note({ isTaken, why }: Attempt): void {
    if (isTaken && isOut) log.info({ webhook: target.host, lost }, "The alert webhook takes alerts again");
    if (!isTaken && !isOut) log.warn({ webhook: target.host, why }, "The alert webhook takes no alerts");
    if (isTaken) lost = 0;
    isOut = !isTaken;
  }

  async function deliver(notice: Notice): Promise<void> {
    const key = randomUUID();
    const body = JSON.stringify({ version: 1, ...notice });
    for (let tries = 1; ; tries += 1) {
      const attempt = await post(body, key);
      if (closing.signal.aborted) return;
      note(attempt);
      if (attempt.isTaken) return;
      if (!attempt.mayRetry || tries >= MAX_TRIES) {
        lost += 1;
        return;
      }
      const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 3 ** (tries - 1)) * (0.75 + random() / 2);
      await wait(Math.max(delayMs, Math.min(attempt.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS)), closing.signal);
    }
  }

  async function run(): Promise<void> {
    try {
      for (let [next] = waiting; next !== undefined; [next] = waiting) {
        waiting.delete(next[0]);
        await deliver(next[1]);
        if (closing.signal.aborted) return;
      }
    } catch (err) {
      if (!closing.signal.aborted) log.error({ err }, "An alert could not be posted");
    } finally {
      running = undefined;
    }
  }

  return {
    send(notice) {
      if (closing.signal.aborted) return;
      const key = `${notice.alert}:${notice.server ?? ""}`;
      const before = waiting.get(key);
      waiting.delete(key);
      // What began and ended unsent is no news any more.
      if (before !== undefined && before.state !== notice.state) return;
      const [oldest] = waiting.keys();
      if (waiting.size >= MAX_WAITING && oldest !== undefined) {
        waiting.delete(oldest);
        lost += 1;
      }
      waiting.set(key, notice);
      running ??= run();
    },
    async close() {
      closing.abort();
      waiting.clear();
      await running;
    },
  };
}
