import type { ClientSession } from "./client-session.ts";
import type { Message } from "./message.ts";
import type { PostConnection } from "./post-connection.ts";
import { PROTOCOL_VERSION } from "./protocol-version.ts";

const ANSWER_WITHIN_MS = 30_000;

/** Does what a client does first: `initialize`, then `initialized`. */
export async function shakeHands(session: ClientSession, connection: PostConnection): Promise<void> {
  await request(session, connection, "initialize", {
    protocolVersion: PROTOCOL_VERSION,
    capabilities: {},
    clientInfo: { name: "bench", version: "1.0.0" },
  });
  session.begin(connection);
  const message = { jsonrpc: "2.0", method: "notifications/initialized" };
  requireStatus(202, "initialized", await post(connection, session.path, message));
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
    const timer = setTimeout(() => reject(new Error(`no answer to ${method} within 30 s`)), ANSWER_WITHIN_MS);
    id = session.calls.expect((message) => {
      clearTimeout(timer);
      if (message === undefined) reject(new Error(`the stream ended before the answer to ${method}`));
      else if (message.error !== undefined) reject(new Error(`${method}: ${message.error.message}`));
      else resolve(message);
    });
  });
  const taken = post(connection, session.path, { jsonrpc: "2.0", id, method, params }).then((status) =>
    requireStatus(session.takenStatus, method, status),
  );
  const [message] = await Promise.all([answer, taken]);
  return message;
}

function requireStatus(due: number, what: string, status: number): void {
  if (status !== due) throw new Error(`${what} was answered ${status}`);
}

function post(connection: PostConnection, path: string, message: object): Promise<number> {
  return new Promise((resolve) => connection.post(path, JSON.stringify(message), resolve));
}
