import { Agent } from "undici";
import type { Log } from "../log.ts";
import { createLineReader } from "../protocol/lines.ts";
import { reconnectDelayMs, type Listener, type ListenerEvents } from "./channels.ts";
import { fromText, MAX_PAYLOAD_BYTES } from "./envelope.ts";

export interface UpstashStreamOptions {
  url: URL;
  token: string;
  channel: string;
  events: ListenerEvents;
  log: Log;
}

const MAX_RECONNECT_MS = 5000;
/** How long the first event may take. */
const FIRST_EVENT_MS = 10_000;
/** A payload in base64, and the seal before it. */
const MAX_LINE_BYTES = Math.ceil((MAX_PAYLOAD_BYTES * 4) / 3) + 8192;

/**
 * Reads one channel over Upstash's event stream. The client's own reader neither connects again nor tells that its
 * stream has ended.
 */
export function openUpstashStream({ url, token, channel, events, log }: UpstashStreamOptions): Listener {
  const agent = new Agent({
    connect: { timeout: FIRST_EVENT_MS, autoSelectFamily: true },
    pipelining: 0,
    headersTimeout: FIRST_EVENT_MS,
    // It is the self-test that finds a silent stream.
    bodyTimeout: 0,
  });
  const path = `${url.pathname.replace(/\/+$/, "")}/subscribe/${encodeURIComponent(channel)}`;
  // The channel's name may have commas in it, and the payload too.
  const [ready, message] = [`data: subscribe,${channel},`, `data: message,${channel},`];
  let current = new AbortController();
  let attempt = 0;
  let timer: NodeJS.Timeout | undefined;
  let isTold = false;
  let closing: Promise<void> | undefined;

  function takeLine(line: string): void {
    if (line.startsWith(message)) {
      const text = line.slice(message.length);
      events.onPublication(text === "ping" ? text : fromText(text));
    } else if (line.startsWith(ready)) {
      if (isTold) log.info("relay's Upstash stream is back");
      [attempt, isTold] = [0, false];
      events.onUp();
    }
  }

  /** Reads until the stream ends; rejects when it cannot be had or breaks. */
  async function read(ending: AbortController): Promise<void> {
    const { statusCode, body } = await agent.request({
      origin: url.origin,
      path,
      method: "POST",
      headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
      signal: ending.signal,
    });
    const lines = createLineReader({
      maxLineBytes: MAX_LINE_BYTES,
      onLine: (line) => takeLine(line.toString()),
      onTooLong: () => ending.abort(),
    });
    if (statusCode !== 200) await body.dump();
    else for await (const chunk of body) if (!ending.signal.aborted) lines.push(chunk as Buffer);
    throw Object.assign(new Error("the stream ended"), {
      code: statusCode === 200 ? "ended" : `HTTP_${statusCode}`,
    });
  }

  function connect(): void {
    const ending = (current = new AbortController());
    read(ending).catch((error: unknown) => {
      if (closing !== undefined) return;
      events.onDown();
      const { code } = error as { code?: unknown };
      if (!isTold) log.warn({ code }, "relay's Upstash stream lost; connecting again in the background");
      isTold = true;
      timer = setTimeout(connect, reconnectDelayMs(attempt, MAX_RECONNECT_MS)).unref();
      attempt += 1;
    });
  }

  connect();
  return {
    restart: () => current.abort(),
    close: () => {
      clearTimeout(timer);
      closing ??= agent.destroy().then(() => undefined);
      current.abort();
      return closing;
    },
  };
}
