import { PRIMED, sendTo } from "../support/streamable-client.ts";

/** Opens a session of Streamable HTTP without a client that would look after it; answers its id. */
export async function openRaw(baseUrl: string, name: string): Promise<string> {
  const answer = await sendTo(baseUrl, {
    path: `/mcp?clientId=${name}`,
    body: {
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: PRIMED, capabilities: {}, clientInfo: { name, version: "1.0.0" } },
    },
  });
  if (answer.status !== 200) throw new Error(`initialize of ${name} answered ${answer.status}`);
  await answer.text();
  const headers = {
    "mcp-session-id": String(answer.headers["mcp-session-id"]),
    "mcp-protocol-version": PRIMED,
  };
  const told = await sendTo(baseUrl, {
    headers,
    body: { jsonrpc: "2.0", method: "notifications/initialized" },
  });
  await told.text();
  return headers["mcp-session-id"];
}

/** Ends it, as a client does that has no more use for it. */
export async function endRaw(baseUrl: string, id: string): Promise<void> {
  const answer = await sendTo(baseUrl, { method: "DELETE", headers: { "mcp-session-id": id } });
  if (answer.status >= 300) throw new Error(`DELETE answered ${answer.status}`);
  await answer.text();
}
