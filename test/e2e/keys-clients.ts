import { Client as ClientV2, SSEClientTransport as SseV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SseV1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { onTestFinished } from "vitest";
import { sendTo, type StreamableAnswer } from "../support/streamable-client.ts";
import { fromAnywhere } from "./keys-stage.ts";

/** How a client shows its key: with the header on each request, in the URL of its stream alone, or over Streamable HTTP. */
export const WAYS = ["SSE, header", "SSE, query", "Streamable HTTP"] as const;
type Way = (typeof WAYS)[number];

/** An SDK's client, as far as keys need it. */
interface KeyClient {
  echo(message: string): Promise<unknown>;
  tools(): Promise<string[]>;
  /** What its transport complained of so far. */
  errors: Error[];
}

/** Connects a client of an SDK; it is closed with the test. */
export async function connect(baseUrl: string, key: string, way: Way): Promise<KeyClient> {
  const info = { name: "keys", version: "1.0.0" };
  const from = fromAnywhere();
  const errors: Error[] = [];
  const onerror = (error: Error) => void errors.push(error);
  let client: ClientV1 | ClientV2;
  if (way === "SSE, query") {
    client = new ClientV2(info);
    client.onerror = onerror;
    const url = new URL(`/mcp/sse?apiKey=${key}`, baseUrl);
    await client.connect(new SseV2(url, { requestInit: { headers: from } }));
  } else {
    client = new ClientV1(info);
    client.onerror = onerror;
    const options = { requestInit: { headers: { ...from, "x-api-key": key } } };
    const transport =
      way === "SSE, header"
        ? new SseV1(new URL("/mcp/sse", baseUrl), options)
        : new StreamableHTTPClientTransport(new URL("/mcp", baseUrl), options);
    await client.connect(transport as Parameters<typeof client.connect>[0]);
  }
  onTestFinished(() => client.close());
  return {
    errors,
    echo: (message) => client.callTool({ name: "echo", arguments: { message } }),
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
  };
}

/** Opens a `subscriptions/listen` of 2026-07-28; it is cut with the test. */
export async function listen(baseUrl: string, key: string): Promise<StreamableAnswer> {
  const answer = await sendTo(baseUrl, {
    headers: {
      ...fromAnywhere(),
      "x-api-key": key,
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "subscriptions/listen",
    },
    body: LISTEN,
  });
  onTestFinished(() => answer.cut());
  return answer;
}

const LISTEN = {
  jsonrpc: "2.0",
  id: 1,
  method: "subscriptions/listen",
  params: {
    notifications: { toolsListChanged: true },
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  },
};
