import type { ClientSession, Message } from "./client-session.ts";
import type { PostConnection } from "./post-connection.ts";

const PROTOCOL_VERSION = "2025-06-18";

/** Does what a client does first: `initialize`, then `initialized`. */
export async function shakeHands(session: ClientSession, connection: PostConnection): Promise<void> {
  await request(session, connection, "initialize", {
    protocolVersion: PROTOCOL_VERSION,
    capabilities: {},
    clientInfo: { name: "bench", version: "1.0.0" },
  });
  const status = await post(connection, session.path, {
    jsonrpc: "2.0",
    method: "notifications/initialized",
  });
  if (status !== 202) throw new Error(`initialized was answered ${status}`);
}

/** The name of the echo tool: gateways may prefix it. */
export async function findEcho(session: ClientSession, connection: PostConnection): Promise<string> {
  const { result } = await request(session, connection, "tools/list", {});
  const echo = result?.tools?.find(({ name }) => name.endsWith("echo"));
  if (echo === undefined) throw new Error("no echo tool is listed");
  return echo.name;
}

async function request(
  session: ClientSession,
  connection: PostConnection,
  method: string,
  params: object,
): Promise<Message> {
  let id = 0;
  const answer = new Promise<Message>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer to ${method} within 30 s`)), 30_000);
    id = session.expect((message) => {
      clearTimeout(timer);
      if (message === undefined) reject(new Error(`the stream ended before the answer to ${method}`));
      else if (message.error !== undefined) reject(new Error(`${method}: ${message.error.message}`));
      else resolve(message);
    });
  });
  const accepted = post(connection, session.path, { jsonrpc: "2.0", id, method, params });
  const [message] = await Promise.all([answer, accepted.then((status) => requireAccepted(method, status))]);
  return message;
}

function requireAccepted(method: string, status: number): void {
  if (status !== 202) throw new Error(`${method} was answered ${status}`);
}

function post(connection: PostConnection, path: string, message: object): Promise<number> {
  return new Promise((resolve) => connection.post(path, JSON.stringify(message), resolve));
}
