import { createParser } from "eventsource-parser";
import type { Speaker } from "./cluster-client.ts";

export interface SpecClientOptions {
  url: URL;
  headers: Record<string, string>;
  fetch: (url: URL, init: RequestInit) => Promise<Response>;
  clientInfo: { name: string; version: string };
  capabilities: object;
  /** The result of a request of the server. */
  answer: (method: string) => object;
  /** The gateway did what the protocol does not allow. */
  onBreach: (what: string) => void;
  /** Is shown what takes the messages, to put itself in between. */
  watch: (wire: { onmessage: (message: unknown) => void }) => void;
}

interface Message {
  id?: number | string;
  method?: string;
  result?: unknown;
  error?: { code: number; message: string; data?: { reason?: string } };
}

/** One stream of events over its cuts: of a request, or the client's own. */
interface Course {
  /** The request whose answer ends it; undefined for the client's own. */
  request: number | undefined;
  signal: AbortSignal;
  lastId: string;
  retryMs: number;
}

const VERSION = "2025-11-25";
const INITIALIZE_MS = 20_000;
/** How long to wait before a stream is gone on with, while the server has not said. */
const RETRY_MS = 1000;

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Connects a client of Streamable HTTP that does what the specification (2025-11-25) says and no less: it goes on with
 * every stream that ends before its answer, for as long as its call may take.
 */
export async function connectSpec(options: SpecClientOptions): Promise<Speaker> {
  const { url, headers, capabilities, clientInfo, answer, onBreach, watch } = options;
  const life = new AbortController();
  const waiting = new Map<number, (message: Message) => void>();
  const givenUp = new Set<unknown>();
  const wire = { onmessage: take as (message: unknown) => void };
  watch(wire);
  let sessionId: string | undefined;
  let ids = 0;

  const common = () => ({
    ...headers,
    ...(sessionId === undefined ? {} : { "mcp-session-id": sessionId, "mcp-protocol-version": VERSION }),
  });
  const post = (message: object, signal: AbortSignal) =>
    options.fetch(url, {
      method: "POST",
      headers: {
        ...common(),
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: JSON.stringify({ jsonrpc: "2.0", ...message }),
      signal,
    });
  async function tell(message: object): Promise<void> {
    const response = await post(message, life.signal);
    await response.arrayBuffer();
    if (response.ok && response.status !== 202)
      onBreach(`a message without an answer was answered ${response.status}`);
  }

  function take(message: Message): void {
    const { id, method } = message;
    if (method === undefined) {
      const settle = waiting.get(id as number);
      waiting.delete(id as number);
      if (settle === undefined && !givenUp.has(id)) onBreach(`the answer to ${id} came again`);
      settle?.(message);
    } else if (id !== undefined) tell({ id, result: answer(method) }).catch(() => undefined);
  }

  /** One message of a stream. A stream brings no other request's answer. */
  function receive(message: Message, { request }: Course): void {
    if (message.method === undefined && message.id !== request)
      onBreach(`the answer to ${message.id} came on the stream of ${request ?? "the client"}`);
    wire.onmessage(message);
  }

  async function read(response: Response, course: Course): Promise<void> {
    const parser = createParser({
      onRetry: (retryMs) => (course.retryMs = retryMs),
      onEvent: ({ id, data }) => {
        if (id !== undefined) noteId(id, data === "", course);
        if (data !== "") receive(JSON.parse(data) as Message, course);
      },
    });
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
  }

  /** Ids of a stream's events are of one kind, and grow. */
  function noteId(id: string, isPrime: boolean, course: Course): void {
    const [place, number] = split(id);
    const [before, last] = split(course.lastId);
    if (course.lastId !== "" && place !== before) onBreach(`event ${id} came after ${course.lastId}`);
    else if (course.lastId !== "" && (isPrime ? number < last : number <= last))
      onBreach(`event ${id} came again, after ${course.lastId}`);
    course.lastId = id;
  }

  /** Reads a stream, and goes on with it after each cut. Resolves when it is over for good. */
  async function follow(first: Response | undefined, course: Course): Promise<void> {
    const { signal, request } = course;
    const isOver = () => signal.aborted || (request !== undefined && !waiting.has(request));
    let response = first;
    while (!isOver()) {
      if (response !== undefined) await read(response, course).catch(() => undefined);
      if (isOver()) return;
      if (first !== undefined && course.lastId === "")
        return onBreach(`stream of ${request} has no event id`);
      if (first !== undefined || response !== undefined) await wait(course.retryMs);
      response = await get(course).catch(() => undefined);
      if (response === undefined) await wait(course.retryMs);
    }
  }

  async function get({ lastId, signal, request }: Course): Promise<Response | undefined> {
    const response = await options.fetch(url, {
      method: "GET",
      headers: {
        ...common(),
        accept: "text/event-stream",
        ...(lastId === "" ? {} : { "last-event-id": lastId }),
      },
      signal,
    });
    if (response.status === 200) return response;
    const text = await response.text();
    if (response.status < 500) onBreach(`GET after ${lastId} answered ${response.status}: ${text}`);
    if (response.status < 500 && request !== undefined)
      waiting.get(request)?.({ id: request, error: { code: response.status, message: text } });
    return undefined;
  }

  async function ask(method: string, params: object, timeoutMs: number): Promise<unknown> {
    const id = (ids += 1);
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, life.signal]);
    const answered = new Promise<Message>((resolve) => waiting.set(id, resolve));
    const timer = setTimeout(() => {
      waiting.get(id)?.({ error: { code: -32001, message: "Request timed out" } });
      givenUp.add(id);
      over.abort();
      tell({ method: "notifications/cancelled", params: { requestId: id } }).catch(() => undefined);
    }, timeoutMs);
    try {
      const response = await post({ id, method, params }, signal);
      if (!response.ok) throw Object.assign(new Error(await response.text()), { code: response.status });
      if (method === "initialize") sessionId = response.headers.get("mcp-session-id") ?? undefined;
      const course = { request: id, signal, lastId: "", retryMs: RETRY_MS };
      if (response.headers.get("content-type")?.startsWith("application/json") === true)
        receive((await response.json()) as Message, course);
      else void follow(response, course);
      const { error, result } = await answered;
      if (error !== undefined) throw Object.assign(new Error(error.message), error);
      return result;
    } finally {
      clearTimeout(timer);
      waiting.delete(id);
    }
  }

  await ask("initialize", { protocolVersion: VERSION, capabilities, clientInfo }, INITIALIZE_MS);
  await tell({ method: "notifications/initialized" });
  void follow(undefined, { request: undefined, signal: life.signal, lastId: "", retryMs: RETRY_MS });
  return {
    callTool: (params, timeoutMs) => ask("tools/call", params, timeoutMs),
    request: (method, params) => ask(method, params, INITIALIZE_MS),
    close: async () => {
      life.abort();
      await options.fetch(url, { method: "DELETE", headers: common() }).catch(() => undefined);
    },
  };
}

/** An event's id as its stream and its number there. */
function split(id: string): [string, number] {
  const dot = id.lastIndexOf(".");
  return [id.slice(0, dot), Number(id.slice(dot + 1))];
}
