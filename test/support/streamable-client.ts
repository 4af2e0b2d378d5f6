import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import type { Message } from "./sse-client.ts";
import { KEY } from "./start-gateway.ts";

/** What a client of Streamable HTTP says that it can read. */
export const BOTH = "application/json, text/event-stream";
/** The version whose clients know an event without data. */
export const PRIMED = "2025-11-25";
/** A version whose clients do not. */
export const UNPRIMED = "2025-06-18";

/** One answer, as it comes. */
export interface StreamableAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  response: IncomingMessage;
  isStream: boolean;
  /** All events so far, those without a message as well. */
  events: EventSourceMessage[];
  comments: string[];
  /** What `retry:` said last, in ms. */
  retryMs: number | undefined;
  /** All messages of the stream so far, parsed. */
  messages: Message[];
  /** Resolves with the first message, past or to come, that fits. Rejects when the stream ends before. */
  next(fits: (message: Message) => boolean): Promise<Message>;
  /** Resolves with the whole body once it has come. Rejects when it was cut. */
  text(): Promise<string>;
  /** Resolves when the answer is over, whoever ended it. */
  ended: Promise<void>;
  /** Cuts the connection. */
  cut(): void;
}

export interface StreamableRequest {
  method?: string;
  path?: string;
  /** Beside the key and `Accept`, and `Content-Type` when there is a body. `undefined` leaves one out. */
  headers?: Record<string, string | undefined>;
  body?: string | Buffer | object;
}

/** Sends one request on a connection of its own; resolves with the head of its answer. */
export async function sendTo(
  baseUrl: string,
  { method = "POST", path = "/mcp", headers = {}, body }: StreamableRequest,
): Promise<StreamableAnswer> {
  const text = typeof body === "string" || Buffer.isBuffer(body) ? body : body && JSON.stringify(body);
  const all = {
    "x-api-key": KEY,
    accept: BOTH,
    ...(text === undefined ? {} : { "content-type": "application/json" }),
    ...headers,
  };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  const asked = request(`${baseUrl}${path}`, {
    method,
    headers: given as Record<string, string>,
    agent: false,
  });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once("response", resolve).once("error", reject).end(text);
  });
  asked.on("error", () => undefined);
  return read(response, () => asked.destroy());
}

function read(response: IncomingMessage, cut: () => void): StreamableAnswer {
  const isStream = response.headers["content-type"] === "text/event-stream";
  const events: EventSourceMessage[] = [];
  const comments: string[] = [];
  const messages: Message[] = [];
  const waiting = new Set<() => void>();
  const chunks: Buffer[] = [];
  let isOver = false;
  const parser = createParser({
    onEvent: (event) => {
      events.push(event);
      if (event.data !== "") messages.push(JSON.parse(event.data) as Message);
    },
    onComment: (comment) => comments.push(comment),
    onRetry: (ms) => (answer.retryMs = ms),
  });
  const decoder = new TextDecoder();
  const wake = () => [...waiting].forEach((look) => look());
  response.on("data", (chunk: Buffer) => {
    if (isStream) parser.feed(decoder.decode(chunk, { stream: true }));
    chunks.push(chunk);
    wake();
  });
  const ended = new Promise<void>((resolve) => {
    const end = () => ((isOver = true), wake(), resolve());
    response.on("close", end).on("error", end);
  });
  const answer: StreamableAnswer = {
    status: response.statusCode as number,
    headers: response.headers,
    response,
    isStream,
    events,
    comments,
    retryMs: undefined,
    messages,
    ended,
    next: (fits) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const found = messages.find(fits);
          if (found === undefined && !isOver) return;
          waiting.delete(check);
          if (found === undefined) reject(new Error("the stream ended before the message"));
          else resolve(found);
        };
        waiting.add(check);
        check();
      }),
    text: async () => {
      await ended;
      if (!response.complete) throw new Error("the answer was cut");
      return Buffer.concat(chunks).toString();
    },
    cut,
  };
  return answer;
}

export interface StreamableOptions {
  key?: string;
  version?: string;
  path?: string;
  capabilities?: Record<string, unknown>;
}

/** One session, as its client has it. */
export interface StreamableClient {
  sessionId: string;
  /** What the server answered to `initialize`. */
  initialized: Message;
  /** Sends a request of this session; a header that is `undefined` is left out. */
  send(request: StreamableRequest): Promise<StreamableAnswer>;
  post(body: StreamableRequest["body"], headers?: StreamableRequest["headers"]): Promise<StreamableAnswer>;
  /** Opens a stream by GET. */
  listen(lastEventId?: string): Promise<StreamableAnswer>;
  /** Posts a request and waits for its answer, in whichever shape it comes. */
  call(id: number | string, method: string, params?: Record<string, unknown>): Promise<Message>;
}

/** Opens a session: sends `initialize` and `notifications/initialized`. */
export async function openStreamable(
  baseUrl: string,
  { key = KEY, version = PRIMED, path = "/mcp", capabilities = {} }: StreamableOptions = {},
): Promise<StreamableClient> {
  const own = { "x-api-key": key };
  const first = await sendTo(baseUrl, { path, headers: own, body: initialize(version, capabilities) });
  if (first.status !== 200) throw new Error(`initialize answered ${first.status}: ${await first.text()}`);
  const sessionId = first.headers["mcp-session-id"] as string;
  const named = { ...own, "mcp-session-id": sessionId, "mcp-protocol-version": version };
  const client: StreamableClient = {
    sessionId,
    initialized: await answerOf(first, "init"),
    send: ({ headers, ...rest }) => sendTo(baseUrl, { path, ...rest, headers: { ...named, ...headers } }),
    post: (body, headers = {}) => client.send({ ...(body === undefined ? {} : { body }), headers }),
    listen: (last) =>
      client.send({ method: "GET", headers: { accept: "text/event-stream", "last-event-id": last } }),
    call: async (id, method, params) => {
      const answer = await client.post({ jsonrpc: "2.0", id, method, ...(params && { params }) });
      if (answer.status !== 200) throw new Error(`${method} answered ${answer.status}`);
      return answerOf(answer, id);
    },
  };
  await (
    await client.post({ jsonrpc: "2.0", method: "notifications/initialized" })
  ).ended;
  return client;
}

/** The answer to a request, from JSON or from a stream. */
export async function answerOf(answer: StreamableAnswer, id: number | string): Promise<Message> {
  if (answer.isStream) return answer.next((message) => message.id === id && message.method === undefined);
  return JSON.parse(await answer.text()) as Message;
}

export const initialize = (version = PRIMED, capabilities: Record<string, unknown> = {}) => ({
  jsonrpc: "2.0",
  id: "init",
  method: "initialize",
  params: { protocolVersion: version, capabilities, clientInfo: { name: "test", version: "1" } },
});

/** A call of a tool. */
export const toolCall = (
  id: number | string,
  name: string,
  input: Record<string, unknown> = {},
  progressToken?: number | string,
) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: {
    name,
    arguments: input,
    ...(progressToken === undefined ? {} : { _meta: { progressToken } }),
  },
});
