import { Client as ClientV2, SSEClientTransport as SseTransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SseTransportV1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { KEY } from "./start-gateway.ts";

/** What the clients of both SDKs can do, as far as the stories need it. */
export interface SdkClient {
  listTools(): Promise<{ tools: { name: string }[] }>;
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
  listResources(): Promise<{ resources: { uri: string }[] }>;
  readResource(params: { uri: string }): Promise<unknown>;
  listPrompts(): Promise<{ prompts: { name: string }[] }>;
  getPrompt(params: { name: string; arguments: Record<string, string> }): Promise<unknown>;
  ping(): Promise<unknown>;
  close(): Promise<void>;
}

export type SdkVersion = "v1" | "v2";
export type KeyPlace = "query" | "header";

/** The URL and headers with which a client shows its key. */
export function showKey(baseUrl: string, place: KeyPlace): { url: URL; headers: Record<string, string> } {
  const url = new URL("/mcp/sse", baseUrl);
  if (place === "query") url.searchParams.set("apiKey", KEY);
  return { url, headers: place === "header" ? { "X-API-Key": KEY } : {} };
}

/** Connects a client of the named SDK over HTTP+SSE. */
export async function connectSdkClient(
  version: SdkVersion,
  baseUrl: string,
  place: KeyPlace,
): Promise<SdkClient> {
  const { url, headers } = showKey(baseUrl, place);
  const info = { name: `e2e-${version}`, version: "1.0.0" };
  const options = { requestInit: { headers } };
  switch (version) {
    case "v1": {
      const client = new ClientV1(info);
      await client.connect(new SseTransportV1(url, options) as Parameters<typeof client.connect>[0]);
      return client;
    }
    case "v2": {
      const client = new ClientV2(info);
      await client.connect(new SseTransportV2(url, options));
      return client;
    }
  }
}
