import { eventually } from "../support/eventually.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY } from "../support/start-gateway.ts";

/** A client that says letters and hears letters: no JSON library has touched either. */
export interface RawClient {
  /** Members of `params` that every request must have, with a comma behind, or nothing. */
  readonly meta: string;
  /** Posts a request; resolves with every message up to its answer, which is the last. `id` is JSON text. */
  ask(id: string, method: string, text: string): Promise<string[]>;
  /** Posts a notification. */
  tell(method: string, text: string): Promise<void>;
  close(): Promise<void>;
}

const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: "raw-initialize",
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "raw", version: "1" } },
});
const INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
const MODERN_META = JSON.stringify({
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "raw", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
});

export async function openRawSse(baseUrl: string, server: string): Promise<RawClient> {
  const stream = await openTestStream(baseUrl, { path: `/servers/${server}/mcp/sse` });
  const tell = async (text: string) => {
    const response = await stream.post(text);
    const said = await response.text();
    if (response.status !== 202) throw new Error(`${response.status} ${said}`);
  };
  const client: RawClient = {
    meta: "",
    async ask(id, _method, text) {
      const from = stream.events.length;
      await tell(text);
      const isAnswer = (data: string) =>
        data.slice(0, 1200).includes(`"id":${id},`) && !data.slice(0, 1200).includes('"method"');
      return eventually(() => {
        const data = stream.events.slice(from).map((event) => event.data);
        const at = data.findIndex((one) => isAnswer(one) || one.endsWith(`"id":${id}}`));
        if (at < 0) throw new Error("there is no answer yet");
        return data.slice(0, at + 1);
      });
    },
    tell: (_method, text) => tell(text),
    async close() {
      stream.cut();
      await stream.ended;
    },
  };
  await client.ask('"raw-initialize"', "initialize", INITIALIZE);
  await tell(INITIALIZED);
  return client;
}

export async function openRawStreamable(baseUrl: string, server: string): Promise<RawClient> {
  const url = `${baseUrl}/servers/${server}/mcp`;
  const headers: Record<string, string> = {};
  const begun = await post(url, headers, INITIALIZE);
  headers["Mcp-Session-Id"] = begun.headers.get("mcp-session-id") as string;
  headers["MCP-Protocol-Version"] = "2025-11-25";
  await messagesOf(begun);
  await (await post(url, headers, INITIALIZED)).text();
  return {
    meta: "",
    ask: async (_id, _method, text) => messagesOf(await post(url, headers, text)),
    tell: async (_method, text) => void (await (await post(url, headers, text)).text()),
    async close() {
      const response = await fetch(url, { method: "DELETE", headers: { "X-API-Key": KEY, ...headers } });
      await response.text();
    },
  };
}

export function openRawModern(baseUrl: string, server: string): RawClient {
  const url = `${baseUrl}/servers/${server}/mcp`;
  const headersFor = (method: string, text: string) => {
    const name = /"(?:name|taskId)":"(\w+)"/.exec(text.replace(MODERN_META, ""))?.[1];
    const named = name === undefined ? {} : { "Mcp-Name": name };
    return { "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, ...named };
  };
  return {
    meta: `"_meta":${MODERN_META},`,
    ask: async (_id, method, text) => messagesOf(await post(url, headersFor(method, text), text)),
    tell: async (method, text) => void (await (await post(url, headersFor(method, text), text)).text()),
    close: () => Promise.resolve(),
  };
}

const post = (url: string, headers: Record<string, string>, body: string): Promise<Response> =>
  fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      "X-API-Key": KEY,
      ...headers,
    },
    body,
  });

async function messagesOf(response: Response): Promise<string[]> {
  const text = await response.text();
  if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true) return [text];
  const data = text.split("\n").filter((line) => line.startsWith("data: "));
  return data.map((line) => line.slice("data: ".length)).filter((line) => line !== "");
}
