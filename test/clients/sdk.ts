import {
  Client as ClientV2,
  SSEClientTransport as SseV2,
  StreamableHTTPClientTransport as HttpV2,
} from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SseV1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { type Client, listAndCall } from "./client.ts";

const MODERN = "2026-07-28";
const info = { name: "test-clients", version: "1.0.0" };

/** The first line of the TypeScript SDK. */
export const sdkV1: Client = {
  name: "sdk-v1",
  version: "1.32.2",
  does: "connect, list, call",
  async use({ transport, url, headers }) {
    const options = { requestInit: { headers } };
    const wire = transport === "sse" ? new SseV1(new URL(url), options) : new HttpV1(new URL(url), options);
    const client = new ClientV1(info);
    try {
      await client.connect(wire as Parameters<typeof client.connect>[0]);
      await listAndCall(client);
    } finally {
      await client.close();
    }
  },
};

/** The second line, in the older era, which is what it speaks unless it is told otherwise. */
export const sdkV2 = clientV2("sdk-v2", "legacy");
/** The same, which finds the newer era by itself. */
export const sdkV2Auto = clientV2("sdk-v2-auto", "auto");

function clientV2(name: string, mode: "legacy" | "auto"): Client {
  return {
    name,
    version: "2.4.0",
    does: mode === "auto" ? `connect in ${MODERN}, list, call` : "connect, list, call",
    async use({ transport, url, headers }) {
      const options = { requestInit: { headers } };
      const wire = transport === "sse" ? new SseV2(new URL(url), options) : new HttpV2(new URL(url), options);
      const client = new ClientV2(info, { versionNegotiation: { mode } });
      try {
        await client.connect(wire);
        const spoken = client.getNegotiatedProtocolVersion();
        if (mode === "auto" && spoken !== MODERN) throw new Error(`it speaks ${spoken}, not ${MODERN}`);
        await listAndCall(client);
      } finally {
        await client.close();
      }
    },
  };
}
