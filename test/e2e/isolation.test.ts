import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { spawnGateway, type SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type Message, type TestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY } from "../support/start-gateway.ts";
import { violations, type History } from "./history.ts";

const CALLS = 50;
/** A stranger's request bears an id that no session uses. */
const STRANGE_ID = 1_000_000;
/** Only after a loss: what has not come by then counts as lost. */
const LOST_MS = 60_000;

const callers: Record<string, string> = {
  default: KEY,
  other: OTHER_KEY,
  third: "test-key-of-the-third-caller-0123456789abcd",
  fourth: "test-key-of-the-fourth-caller-0123456789abc",
};
const keys = Object.values(callers);
const named = Object.entries(callers)
  .slice(1)
  .map(([name, key]) => `${name}=${key}`)
  .join(",");

interface Talk {
  stream: TestStream;
  key: string;
  history: { session: string; sent: Map<number, string>; received: Message[] };
}

const echo = (id: number, text: string) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name: "echo", arguments: { text } },
});

async function postAs(talk: Talk, key: string, message: unknown): Promise<number> {
  const response = await talk.stream.post(message, { "x-api-key": key });
  await response.arrayBuffer();
  return response.status;
}

async function openTalk(gateway: SpawnedGateway, index: number): Promise<Talk> {
  const key = keys[index % keys.length] as string;
  const stream = await openTestStream(gateway.url, { headers: { "x-api-key": key } });
  const { messages: received, sessionId: session } = stream;
  return { stream, key, history: { session, sent: new Map(), received } };
}

/** Every client counts from 0, as the SDKs do. */
async function initialize(talk: Talk): Promise<void> {
  const clientInfo = { name: "isolation", version: "1" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  expect(await postAs(talk, talk.key, { jsonrpc: "2.0", id: 0, method: "initialize", params })).toBe(202);
  await talk.stream.next((message) => message.id === 0);
  talk.history.received.length = 0; // It has no nonce.
  await postAs(talk, talk.key, { jsonrpc: "2.0", method: "notifications/initialized" });
}

async function callAll(talk: Talk): Promise<void> {
  for (let id = 0; id < CALLS; id += 1) {
    const nonce = randomUUID();
    talk.history.sent.set(id, nonce);
    expect(await postAs(talk, talk.key, echo(id, nonce))).toBe(202);
  }
}

/** Every session is tried once by the caller of the next one, who knows all but the key: the id and even the token. */
async function tryAsStranger(talk: Talk, index: number, nonces: Set<string>): Promise<number> {
  const nonce = randomUUID();
  nonces.add(nonce);
  return postAs(talk, keys[(index + 1) % keys.length] as string, echo(STRANGE_ID + index, nonce));
}

async function run(gateway: SpawnedGateway, sessions: number): Promise<Talk[]> {
  const talks = await Promise.all(Array.from({ length: sessions }, (_, index) => openTalk(gateway, index)));
  onTestFinished(() => talks.forEach(({ stream }) => stream.cut()));
  expect(new Set(talks.map(({ stream }) => stream.sessionId)).size).toBe(sessions);
  await Promise.all(talks.map(initialize));

  const strangers = new Set<string>();
  const [statuses] = await Promise.all([
    Promise.all(talks.map((talk, index) => tryAsStranger(talk, index, strangers))),
    Promise.all(talks.map(callAll)),
  ]);
  const whole = Promise.all(
    talks.map(({ stream, history }) => stream.next(() => history.received.length >= CALLS)),
  );
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([whole, new Promise((resolve) => (timer = setTimeout(resolve, LOST_MS)))]);
  clearTimeout(timer);
  // What would come twice stands before this answer: order is kept within a stream.
  await Promise.all(talks.map(({ stream, key }) => pingLast(stream, key)));

  const histories: History[] = talks.map(({ history }) => history);
  const found = violations(histories, strangers);
  expect(found.slice(0, 10), `${found.length} violations`).toEqual([]);
  expect(new Set(statuses), "a stranger gets the 404 of an unknown session").toEqual(new Set([404]));
  return talks;
}

async function pingLast(stream: TestStream, key: string): Promise<void> {
  const response = await stream.post({ jsonrpc: "2.0", id: CALLS, method: "ping" }, { "x-api-key": key });
  await response.arrayBuffer();
  await stream.next((message) => message.id === CALLS);
  const at = stream.messages.findIndex((message) => message.id === CALLS && message.method === undefined);
  stream.messages.splice(at, 1);
}

async function start(command?: string[]): Promise<SpawnedGateway> {
  const gateway = await spawnGateway({ env: { MCP_API_KEYS: named }, ...(command ? { command } : {}) });
  onTestFinished(() => gateway.end());
  return gateway;
}

describe("ISO-01 each session gets its own answers, once, and nothing else", () => {
  test("200 sessions of 4 callers with 50 calls each, all counting from 0, on the built-in server", async () => {
    const talks = await run(await start(), 200);
    expect(talks.reduce((sum, { history }) => sum + history.received.length, 0)).toBe(200 * CALLS);
  }, 180_000);

  test("20 sessions with 50 calls each on a child process each", async () => {
    const path = fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url));
    const talks = await run(await start([process.execPath, path]), 20);
    const pids = await Promise.all(
      talks.map(async ({ stream }) => {
        const { result } = await stream.call("pid", "tools/call", { name: "pid", arguments: {} });
        return JSON.stringify(result);
      }),
    );
    expect(new Set(pids).size).toBe(20);
  }, 180_000);
});
