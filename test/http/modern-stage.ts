import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { McpHttpHandler } from "@modelcontextprotocol/server";
import { createParser } from "eventsource-parser";
import { ModernDoor, type ModernDoorOptions } from "../../src/http/modern-request.ts";
import { readBody } from "../../src/http/read-body.ts";
import { answerRpcError } from "../../src/http/rpc-answer.ts";
import { scanMessage } from "../../src/protocol/json-rpc.ts";
import { isModern } from "../../src/protocol/modern.ts";
import type { Link, LinkEvents, Upstream } from "../../src/upstream/upstream.ts";
import { captureLog } from "../upstream/recorder.ts";
import { eventually } from "../support/eventually.ts";

export const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** A request of the era as text. */
export const request = (method: string, params: Record<string, unknown> = {}, id: number | string = 1) =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta: META } });

/** One link that a test plays the server of. */
export class ScriptedLink implements Link {
  readonly sent: string[] = [];
  readonly events: LinkEvents;
  isPaused = false;
  isClosed = false;
  readonly #giving: (() => Promise<void>) | undefined;

  constructor(events: LinkEvents, giving: (() => Promise<void>) | undefined) {
    this.events = events;
    this.#giving = giving;
  }
  send(message: Buffer): Promise<void> | undefined {
    this.sent.push(message.toString());
    return this.#giving?.();
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  close(): Promise<void> {
    if (!this.isClosed) this.events.onEnd("closed");
    this.isClosed = true;
    return Promise.resolve();
  }
  say(message: string | object): void {
    const text = typeof message === "string" ? message : JSON.stringify({ jsonrpc: "2.0", ...message });
    this.events.onMessage(Buffer.from(text));
  }
}

/** A server whose every link a test plays. */
export class ScriptedServer implements Upstream {
  readonly name = "scripted";
  readonly isFull = false;
  readonly links: ScriptedLink[] = [];
  readonly signals: AbortSignal[] = [];
  /** Awaited before a link is given. */
  opening: Promise<void> | undefined;
  /** Why no link is given. */
  refusal: Error | undefined;
  /** What a link's `send` gives back. */
  giving: (() => Promise<void>) | undefined;

  async open(events: LinkEvents, signal: AbortSignal): Promise<Link> {
    this.signals.push(signal);
    await this.opening;
    if (this.refusal !== undefined) throw this.refusal;
    const link = new ScriptedLink(events, this.giving);
    this.links.push(link);
    return link;
  }
  /** The newest link, once it was given `count` messages in all. */
  async given(count = 1): Promise<ScriptedLink> {
    await eventually(() => this.links.reduce((sum, { sent }) => sum + sent.length, 0) >= count);
    return this.links.at(-1) as ScriptedLink;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The SDK's server of the era: each link is one request to its handler. Counts those that were closed without an answer. */
export function sdkUpstream(handler: McpHttpHandler): Upstream & { cancelled: number } {
  const upstream = {
    name: "sdk",
    isFull: false,
    cancelled: 0,
    async open(events: LinkEvents): Promise<Link> {
      const gone = new AbortController();
      let isOver = false;
      let isAnswered = false;
      const say = (text: string) => {
        isAnswered ||= JSON.parse(text).method === undefined;
        events.onMessage(Buffer.from(text));
      };
      const end = () => {
        if (!isOver) events.onEnd("closed");
        isOver = true;
      };
      const carry = async (message: Buffer) => {
        const { method, params } = JSON.parse(message.toString());
        const name = (params?.name ?? params?.uri) as string | undefined;
        const encoded = name && `=?base64?${Buffer.from(name).toString("base64")}?=`;
        const response = await handler.fetch(
          new Request("http://sdk/mcp", {
            method: "POST",
            headers: {
              "content-type": "application/json",
              "mcp-protocol-version": "2026-07-28",
              "mcp-method": method,
              ...(encoded && { "mcp-name": encoded }),
            },
            body: message,
            signal: gone.signal,
          }),
        );
        if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true) {
          const text = await response.text();
          if (text !== "") say(text);
          return end();
        }
        const parser = createParser({ onEvent: ({ data }) => say(data) });
        for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) parser.feed(chunk);
        end();
      };
      return {
        send: (message) => void carry(message).catch(end),
        pause: () => {},
        resume: () => {},
        close: () => {
          if (!isOver && !isAnswered) upstream.cancelled += 1;
          isOver = true;
          gone.abort();
          return Promise.resolve();
        },
      };
    },
    close: () => Promise.resolve(),
  };
  return upstream;
}

export interface Stage {
  url: string;
  port: number;
  door: ModernDoor;
  log: () => string;
  /** Posts a message with the headers that repeat it, or with these. */
  post(body: string, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
  close(): Promise<void>;
}

export interface StageOptions extends Partial<Omit<ModernDoorOptions, "log">> {
  /** What takes messages of older versions. */
  legacy?: (req: IncomingMessage, res: ServerResponse, body: unknown) => Promise<void>;
}

/** A web server with the door and nothing else. The caller is named by `X-Caller`. */
export async function openStage(
  upstream: Upstream,
  { legacy, ...options }: StageOptions = {},
): Promise<Stage> {
  const { log, text } = captureLog();
  const door = new ModernDoor({
    heartbeatMs: 30_000,
    requestTimeoutMs: 600_000,
    limits: { requestsPerCaller: 100, listensPerCaller: 100, total: 100 },
    ...options,
    log,
  });
  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    if (req.method !== "POST") return legacy?.(req, res, undefined);
    const message = await readBody(req, res, 8 * 1024 * 1024);
    const envelope = scanMessage(message);
    if (typeof envelope === "string" || !isModern(req.headers, message, envelope))
      return legacy?.(req, res, JSON.parse(message.toString()));
    const caller = (req.headers["x-caller"] as string | undefined) ?? "someone";
    await door.serve(req, res, { message, envelope, caller, upstream });
  };
  const server = createServer((req, res) => {
    serve(req, res).catch((error: unknown) => answerRpcError(req, res, error, log));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/mcp`;
  return {
    url,
    port,
    door,
    log: text,
    post: (body, headers, signal) =>
      fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...(headers ?? headersOf(body)) },
        body,
        ...(signal && { signal }),
      }),
    close: async () => {
      door.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The headers that repeat a message. */
export function headersOf(body: string): Record<string, string> {
  const { method, params } = JSON.parse(body);
  const name = (params?.name ?? params?.uri) as string | undefined;
  return {
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": method,
    ...(name && { "mcp-name": `=?base64?${Buffer.from(name).toString("base64")}?=` }),
  };
}

/** Reads a stream's events as they come: their data, and the comments. */
export function readEvents(response: Response): {
  messages: { id?: unknown; method?: string; error?: { code: number; data?: unknown } }[];
  comments: string[];
  ids: unknown[];
  ended: Promise<void>;
} {
  const seen = { messages: [] as never[], comments: [] as string[], ids: [] as unknown[] };
  const parser = createParser({
    onEvent: ({ data, id }) => {
      seen.messages.push(JSON.parse(data) as never);
      seen.ids.push(id);
    },
    onComment: (comment) => seen.comments.push(comment),
  });
  const ended = (async () => {
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) parser.feed(chunk);
  })().catch(() => undefined);
  return { ...seen, ended };
}
