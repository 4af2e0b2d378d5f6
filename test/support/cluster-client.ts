import {
  Client as ClientV2,
  SSEClientTransport as SseTransportV2,
  StreamableHTTPClientTransport as StreamableTransportV2,
  type RequestMethod,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SseTransportV1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport as StreamableTransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  CallToolResultSchema,
  EmptyResultSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import type { CallRecord, History, Outcome } from "./history.ts";
import { showKey, type SdkVersion } from "./sdk-clients.ts";
import { connectSpec } from "./cluster-client-spec.ts";
import { observe, watchFetch, type PostFailure, type Resumed } from "./cluster-client-wire.ts";

/** A client of which everything is written into a history. */
export interface WatchedClient {
  readonly name: string;
  readonly version: WatchOptions["version"];
  /** Calls a tool of the ledger server. Never rejects: the outcome tells. */
  call(tool: string, given?: Record<string, unknown>, timeoutMs?: number): Promise<Outcome>;
  /** Sends a request that has no tool's nonce, such as `logging/setLevel`. */
  request(method: string, params?: Record<string, unknown>): Promise<unknown>;
  /** Errors that the transport reported so far; of `spec` all that the gateway did against the protocol. */
  errors(): readonly Error[];
  readonly resumed: Readonly<Resumed>;
  /** Ends the client, and with it its stream. */
  close(): Promise<void>;
}

export interface WatchOptions {
  /** Which SDK's client it is; `spec` is one of our own that does what the specification of Streamable HTTP says. */
  version: SdkVersion | "spec";
  /** HTTP+SSE where left out; `spec` speaks only the other. */
  transport?: "sse" | "streamable";
  baseUrl: string;
  history: History;
  /** Of its record, its `clientInfo` and, where `clientId` says nothing else, its URL. Different for each client. */
  name: string;
  /** By which it is recognised when it returns; null to show none. */
  clientId?: string | null;
  /** Reconnects so fast instead of when the gateway says; a story with a thousand cuts would take an hour. */
  retryMs?: number;
}

const CALL_MS = 60_000;
const CONNECT_MS = 20_000;
const CAPABILITIES = { sampling: {}, roots: {} };

const sampled = () => ({
  model: "none",
  role: "assistant" as const,
  content: { type: "text" as const, text: "said" },
});
const roots = { roots: [{ uri: "file:///here", name: "here" }] };

/** How a client's end of the conversation looks to `connectWatched`. */
export interface Speaker {
  callTool(params: { name: string; arguments: Record<string, unknown> }, timeoutMs: number): Promise<unknown>;
  request(method: string, params: Record<string, unknown>): Promise<unknown>;
  close(): Promise<void>;
}

/** Connects a client of the named kind, which answers what servers ask, through `initialize`. */
export async function connectWatched(options: WatchOptions): Promise<WatchedClient> {
  const { version, baseUrl, history, name, clientId = name, retryMs } = options;
  const isStreamable = version === "spec" || options.transport === "streamable";
  const { url, headers } = showKey(baseUrl, "header");
  if (isStreamable) url.pathname = "/mcp";
  if (clientId !== null) url.searchParams.set("clientId", clientId);
  const record = history.client(name);
  const failures = new Map<string, PostFailure>();
  const errors: Error[] = [];
  const resumed: Resumed = { lanes: 0, own: 0 };
  const watched = watchFetch(record, failures, retryMs, resumed);
  const transportOptions = { requestInit: { headers }, fetch: watched };
  const info = { name, version: "1.0.0" };
  let sdk: Speaker;

  if (version === "spec") {
    sdk = await connectSpec({
      url,
      headers,
      fetch: watched,
      clientInfo: info,
      capabilities: CAPABILITIES,
      answer: (method) => (method === "roots/list" ? roots : sampled()),
      onBreach: (what) => errors.push(new Error(what)),
      watch: (wire) => observe(wire, record, true),
    });
  } else if (version === "v1") {
    const client = new ClientV1(info, { capabilities: CAPABILITIES });
    client.setRequestHandler(CreateMessageRequestSchema, sampled);
    client.setRequestHandler(ListRootsRequestSchema, () => roots);
    client.onerror = (error) => errors.push(error);
    const transport = isStreamable
      ? new StreamableTransportV1(url, transportOptions)
      : new SseTransportV1(url, transportOptions);
    await client.connect(transport as Parameters<typeof client.connect>[0], { timeout: CONNECT_MS });
    observe(transport, record, isStreamable);
    sdk = {
      callTool: (params, timeout) => client.callTool(params, CallToolResultSchema, { timeout }),
      request: (method, params) =>
        client.request({ method, params } as Parameters<typeof client.request>[0], EmptyResultSchema),
      close: () => client.close(),
    };
  } else {
    const client = new ClientV2(info, { capabilities: CAPABILITIES });
    client.setRequestHandler("sampling/createMessage", sampled);
    client.setRequestHandler("roots/list", () => roots);
    client.onerror = (error) => errors.push(error);
    const transport = isStreamable
      ? new StreamableTransportV2(url, transportOptions)
      : new SseTransportV2(url, transportOptions);
    await client.connect(transport, { timeout: CONNECT_MS });
    observe(transport, record, isStreamable);
    sdk = {
      callTool: (params, timeout) => client.callTool(params, { timeout }),
      request: (method, params) => client.request({ method: method as RequestMethod, params }),
      close: () => client.close(),
    };
  }

  let calls = 0;
  async function call(
    tool: string,
    given: Record<string, unknown> = {},
    timeoutMs = CALL_MS,
  ): Promise<Outcome> {
    const nonce = `${name}-${(calls += 1)}`;
    const one: CallRecord = history.start(name, nonce, tool);
    const outcome = await sdk
      .callTool({ name: tool, arguments: { ...given, nonce } }, timeoutMs)
      .then((result) => resultOutcome(result, record.lastSent))
      .catch((error: unknown) => failureOutcome(error, failures.get(nonce)));
    history.end(one, outcome);
    return outcome;
  }
  return {
    name,
    version,
    call,
    request: (method, params = {}) => sdk.request(method, params),
    errors: () => errors,
    resumed,
    close: () => sdk.close(),
  };
}

function resultOutcome(result: unknown, lastSent: Map<number, number>): Outcome {
  const [block] = (result as { content: { text?: string }[] }).content;
  const said = JSON.parse(block?.text ?? "{}") as { nonce: string; pid: number; last?: number };
  if (said.last !== undefined) lastSent.set(said.pid, Math.max(said.last, lastSent.get(said.pid) ?? 0));
  return { kind: "result", nonce: said.nonce, pid: said.pid };
}

/** Both SDKs throw errors with a `code`, the first a number for everything, the second a word for what is its own. */
function failureOutcome(error: unknown, failure: PostFailure | undefined): Outcome {
  if (failure !== undefined) return { kind: "refused", ...failure };
  const { code, data, message } = error as { code?: unknown; data?: { reason?: string }; message?: string };
  const isTimeout = code === "REQUEST_TIMEOUT" || (code === -32001 && data?.reason === undefined);
  if (isTimeout && /timed out/i.test(message ?? "")) return { kind: "timeout" };
  return {
    kind: "error",
    code: typeof code === "number" ? code : 0,
    reason:
      data?.reason ?? (typeof code === "number" ? undefined : typeof code === "string" ? code : message),
  };
}
