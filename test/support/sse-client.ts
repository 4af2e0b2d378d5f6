import { get, type ClientRequest, type IncomingMessage } from "node:http";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { KEY } from "./start-gateway.ts";

/** A JSON-RPC message, as tests look at it. */
export interface Message {
  jsonrpc: "2.0";
  id?: number | string;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { code: number; message: string; data?: { reason?: string } };
}

/** One open SSE stream, and what came on it. */
export interface TestStream {
  response: IncomingMessage;
  request: ClientRequest;
  /** URL that messages are posted to, absolute. */
  endpoint: string;
  sessionId: string;
  /** All events so far, the first one `endpoint`. */
  events: EventSourceMessage[];
  comments: string[];
  /** All messages so far, parsed. */
  messages: Message[];
  /** Resolves with the first message, past or to come, that fits. Rejects when the stream ends before. */
  next(fits: (message: Message) => boolean): Promise<Message>;
  /** Resolves when the stream has ended, whoever ended it. */
  ended: Promise<void>;
  /** Posts one message with the key; answers the response. */
  post(body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Posts a request and waits for its answer on the stream. */
  call(id: number | string, method: string, params?: Record<string, unknown>): Promise<Message>;
  /** Sends `initialize` and `notifications/initialized`. */
  initialize(capabilities?: Record<string, unknown>): Promise<Message>;
  /** Cuts the connection. */
  cut(): void;
}

/** Opens a stream. Rejects with the status when it is not 200. */
export async function openTestStream(
  baseUrl: string,
  {
    headers = { "x-api-key": KEY },
    path = "/mcp/sse",
  }: { headers?: Record<string, string>; path?: string } = {},
): Promise<TestStream> {
  const request = get(`${baseUrl}${path}`, {
    headers: { accept: "text/event-stream", ...headers },
    agent: false,
  });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once("response", resolve);
    request.once("error", reject);
  });
  if (response.statusCode !== 200) {
    response.resume();
    throw new Error(`GET ${path} answered ${response.statusCode}`);
  }
  const events: EventSourceMessage[] = [];
  const comments: string[] = [];
  const messages: Message[] = [];
  const waiting = new Set<() => void>();
  let isOver = false;
  const wake = () => [...waiting].forEach((look) => look());
  const parser = createParser({
    onEvent: (event) => {
      events.push(event);
      if (event.event === "message") messages.push(JSON.parse(event.data) as Message);
    },
    onComment: (comment) => comments.push(comment),
  });
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => (parser.feed(chunk), wake()));
  const ended = new Promise<void>((resolve) => {
    const end = () => ((isOver = true), wake(), resolve());
    response.on("close", end);
    response.on("error", end);
  });
  request.on("error", () => undefined);

  const until = <T>(look: () => T | undefined, what: string) =>
    new Promise<T>((resolve, reject) => {
      const check = () => {
        const found = look();
        if (found === undefined && !isOver) return;
        waiting.delete(check);
        if (found === undefined) reject(new Error(`the stream ended before ${what}`));
        else resolve(found);
      };
      waiting.add(check);
      check();
    });
  const first = await until(() => events.find((event) => event.event === "endpoint"), "its endpoint event");
  const endpoint = `${baseUrl}${first.data}`;

  const stream: TestStream = {
    response,
    request,
    endpoint,
    sessionId: new URL(endpoint).searchParams.get("sessionId") ?? "",
    events,
    comments,
    messages,
    ended,
    next: (fits) => until(() => messages.find(fits), "the message"),
    post: (body, more = { "x-api-key": KEY }) =>
      fetch(endpoint, {
        method: "POST",
        headers: { "content-type": "application/json", ...more },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async call(id, method, params) {
      const response = await stream.post(
        { jsonrpc: "2.0", id, method, ...(params === undefined ? {} : { params }) },
        headers,
      );
      if (response.status !== 202)
        throw new Error(`POST answered ${response.status}: ${await response.text()}`);
      await response.arrayBuffer();
      return stream.next((message) => message.id === id && message.method === undefined);
    },
    async initialize(capabilities = {}) {
      const clientInfo = { name: "test", version: "1" };
      const answer = await stream.call("init", "initialize", {
        protocolVersion: "2025-06-18",
        capabilities,
        clientInfo,
      });
      await (
        await stream.post({ jsonrpc: "2.0", method: "notifications/initialized" }, headers)
      ).arrayBuffer();
      return answer;
    },
    cut: () => request.destroy(),
  };
  return stream;
}
