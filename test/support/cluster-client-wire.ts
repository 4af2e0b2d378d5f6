import type { ClientRecord } from "./history.ts";

/** Why a POST was not accepted. Status 0: its connection broke. */
export interface PostFailure {
  status: number;
  reason: string | undefined;
}

type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** How often a client has gone on with a stream by `Last-Event-ID`. */
export interface Resumed {
  /** Streams of requests. */
  lanes: number;
  /** The client's own stream. */
  own: number;
}

/** By this parameter of the query a front proxy knows a request that goes on with a stream of a request. */
export const RESUMES = "resumes";

/**
 * A `fetch` for a transport that notes how each stream was answered, and which call's POST was refused: the errors of
 * the SDKs do not say it in one way.
 */
export function watchFetch(
  record: ClientRecord,
  failures: Map<string, PostFailure>,
  retryMs: number | undefined,
  resumed: Resumed = { lanes: 0, own: 0 },
): Fetch {
  return async (given, init) => {
    const url = noteResumed(new URL(given), init, resumed);
    const isStream = (init?.method ?? "GET") === "GET";
    const nonce = isStream ? undefined : nonceOf(init?.body);
    let response: Response;
    try {
      response = await fetch(url, init);
    } catch (error) {
      if (isStream) record.streams.push({ at: Date.now(), status: 0 });
      else if (isAnswer(init?.body)) record.failedAnswers.push({ at: Date.now(), status: 0 });
      else if (nonce !== undefined) failures.set(nonce, { status: 0, reason: reasonOf(error) });
      throw error;
    }
    if (isStream) {
      record.streams.push({ at: Date.now(), status: response.status });
      return retryMs === undefined ? response : withRetry(response, retryMs);
    }
    // The stream of one request, of a client of Streamable HTTP.
    if (retryMs !== undefined && isEventStream(response)) return withRetry(response, retryMs);
    if (!response.ok && isAnswer(init?.body))
      record.failedAnswers.push({ at: Date.now(), status: response.status });
    if (!response.ok && nonce !== undefined) {
      const body = (await response
        .clone()
        .json()
        .catch(() => ({}))) as { reason?: string };
      failures.set(nonce, { status: response.status, reason: body.reason });
    }
    return response;
  };
}

/** Counts a request that goes on with a stream, and marks the URL of one that goes on with a request's. */
function noteResumed(url: URL, init: RequestInit | undefined, resumed: Resumed): URL {
  const last = new Headers(init?.headers).get("last-event-id");
  if (last === null) return url;
  const isLane = last.split(".").length > 2;
  if (isLane) url.searchParams.set(RESUMES, "1");
  resumed[isLane ? "lanes" : "own"] += 1;
  return url;
}

const isEventStream = ({ headers }: Response): boolean =>
  (headers.get("content-type") ?? "").startsWith("text/event-stream");

/** Whether a message answers the server, instead of asking it. */
function isAnswer(body: unknown): boolean {
  return typeof body === "string" && !("method" in (JSON.parse(body) as object));
}

function nonceOf(body: unknown): string | undefined {
  if (typeof body !== "string") return undefined;
  const { params } = JSON.parse(body) as { params?: { arguments?: { nonce?: string } } };
  return params?.arguments?.nonce;
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { code?: string }; message?: string };
  return cause?.code ?? message ?? "";
}

/** The same response with another `retry:` in its first piece. */
function withRetry(response: Response, retryMs: number): Response {
  if (response.status !== 200 || response.body === null) return response;
  let isFirst = true;
  const rewrite = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      if (!isFirst) return controller.enqueue(chunk);
      isFirst = false;
      const text = Buffer.from(chunk).toString("latin1");
      controller.enqueue(Buffer.from(text.replace(/^retry: ?\d+/m, `retry: ${retryMs}`), "latin1"));
    },
  });
  const body = response.body.pipeThrough(rewrite);
  const copy = new Response(body, { status: 200, headers: response.headers });
  // The SDKs look where a response came from, which a made one does not say.
  Object.defineProperty(copy, "url", { value: response.url });
  return copy;
}

interface WireMessage {
  id?: string | number;
  method?: string;
  params?: { data?: { pid: number; number: number } };
}

/**
 * Notes what comes on the wire, before the SDK drops what it thinks it need not show. Of a client with several streams
 * the notifications are put in order: each stream has its own.
 */
export function observe(transport: object, record: ClientRecord, hasManyStreams = false): void {
  const wire = transport as { onmessage?: (message: unknown) => void };
  const { onmessage } = wire;
  wire.onmessage = (seen) => {
    const { id, method, params } = seen as WireMessage;
    if (method === undefined && id !== undefined)
      record.wireAnswers.set(id, (record.wireAnswers.get(id) ?? 0) + 1);
    else if (id !== undefined && method !== "ping") record.asked.push(String(id));
    else if (method === "notifications/message" && params?.data !== undefined)
      noteNotification(record, params.data, hasManyStreams);
    else if (method?.endsWith("/list_changed")) record.listChanged += 1;
    onmessage?.(seen);
  };
}

function noteNotification(
  { notifications }: ClientRecord,
  { pid, number }: { pid: number; number: number },
  hasManyStreams: boolean,
): void {
  let at = notifications.length;
  const isLater = (one: { pid: number; number: number } | undefined) =>
    one !== undefined && one.pid === pid && one.number > number;
  while (hasManyStreams && isLater(notifications[at - 1])) at -= 1;
  notifications.splice(at, 0, { pid, number });
}
