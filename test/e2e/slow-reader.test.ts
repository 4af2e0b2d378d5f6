import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { eventually } from "../support/eventually.ts";
import { exchange, openRaw, rawRequest } from "../support/raw-http.ts";
import { spawnGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY, startTestGateway } from "../support/start-gateway.ts";

const LIMIT_MS = 30_000;
const RAW_ECHO = [process.execPath, fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url))];
const HEADERS = { "X-API-Key": KEY, Accept: "text/event-stream", "Content-Type": "application/json" };
const MIB = 1024 * 1024;

interface SlowReader {
  sessionId: string;
  /** What it has read all the same. */
  bytesRead(): number;
  post(body: unknown): Promise<number>;
}

/** A client that reads its endpoint event and the answer to `initialize`, and then nothing more. */
async function openSlowReader(port: number): Promise<SlowReader> {
  const connection = openRaw(port);
  onTestFinished(() => connection.close());
  connection.send(rawRequest("GET /mcp/sse", HEADERS));
  await connection.until("event: endpoint");
  await connection.until("&token=");
  await connection.until("\n\n");
  const endpoint = /data: (\S+)\n\n/.exec(connection.rest())?.[1] ?? "";
  const post = async (body: unknown) =>
    (await exchange(port, rawRequest(`POST ${endpoint}`, HEADERS, JSON.stringify(body)))).status;
  const clientInfo = { name: "slow", version: "1" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  expect(await post({ jsonrpc: "2.0", id: "init", method: "initialize", params })).toBe(202);
  await connection.until('"id":"init"');
  connection.socket.pause();
  return {
    sessionId: /sessionId=([^&]+)/.exec(endpoint)?.[1] ?? "",
    bytesRead: () => connection.socket.bytesRead,
    post,
  };
}

/** Asks for more than any buffer between us and the child holds. */
async function askForMuch({ post }: SlowReader, answers: number, n: number): Promise<void> {
  for (let id = 0; id < answers; id += 1)
    expect(
      await post({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "bytes", arguments: { n } } }),
    ).toBe(202);
}

async function echoes(stream: TestStream, first: number, count: number): Promise<void> {
  for (let id = first; id < first + count; id += 1) {
    const text = `still here ${id}`;
    const { result } = await stream.call(id, "tools/call", { name: "echo", arguments: { text } });
    expect(result).toEqual({ content: [{ type: "text", text }] });
  }
}

describe("a client that does not read", { timeout: 120_000 }, () => {
  test("costs a bounded amount of memory however much its child sends, and others nothing", async () => {
    const gateway = await spawnGateway({ command: RAW_ECHO });
    onTestFinished(() => gateway.end());
    const resident = () =>
      Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${gateway.pid}/status`, "utf8"))?.[1]) * 1024;
    const other = await openTestStream(gateway.url);
    onTestFinished(() => other.cut());
    await other.initialize();
    await echoes(other, 0, 50);
    const before = resident();
    // 60 answers of 3 MB make 180 MB.
    const slow = await openSlowReader(gateway.port);
    await askForMuch(slow, 60, 3_000_000);
    await echoes(other, 50, 200);
    const grownBytes = resident() - before;
    process.stderr.write(
      `slow reader: 180 MB asked for, resident memory grew by ${Math.round(grownBytes / MIB)} MiB\n`,
    );
    expect(grownBytes).toBeLessThan(80 * MIB);
    expect(slow.bytesRead()).toBeLessThan(MIB);
  });

  test("is cut at once when what waits for it is more than the limit", async () => {
    // The built-in server cannot be paused for ever: its tools have their results already.
    const gateway = await startTestGateway();
    onTestFinished(() => gateway.close());
    const other = await openTestStream(gateway.url);
    onTestFinished(() => other.cut());
    await other.initialize();
    const slow = await openSlowReader(gateway.port);
    const text = "x".repeat(2_000_000);
    await eventually(async () => {
      const status = await slow.post({
        jsonrpc: "2.0",
        id: `${Math.random()}`,
        method: "tools/call",
        params: { name: "echo", arguments: { text } },
      });
      expect(status).toBe(404);
    }, LIMIT_MS);
    expect(gateway.logs()).toContainEqual(
      expect.objectContaining({ event: "session_closed", session: slow.sessionId, end: "slow_reader" }),
    );
    await echoes(other, 0, 20);
  });

  describe("with a clock that we turn", () => {
    beforeEach(() => void vi.useFakeTimers({ toFake: ["performance", "setInterval", "clearInterval"] }));
    afterEach(() => void vi.useRealTimers());

    test("is cut when its time is over, while its child was only paused; others go on before and after", async () => {
      const gateway = await startTestGateway({ command: RAW_ECHO });
      onTestFinished(() => gateway.close());
      const other = await openTestStream(gateway.url);
      onTestFinished(() => other.cut());
      await other.initialize();
      const slow = await openSlowReader(gateway.port);
      await askForMuch(slow, 20, 1_000_000);
      await echoes(other, 0, 50);
      const isCut = () =>
        gateway.logs().some(({ session, end }) => session === slow.sessionId && end === "slow_reader");
      // 30 seconds of standing still, and one more for each 32 KB that wait: 8 MiB at most.
      for (let turn = 0; turn < 70 && !isCut(); turn += 1) {
        await vi.advanceTimersByTimeAsync(5000);
        await new Promise((resolve) => setTimeout(resolve, 10)); // The sockets have real time to move on.
      }
      expect(isCut()).toBe(true);
      expect(await slow.post({ jsonrpc: "2.0", method: "notifications/nothing" })).toBe(404);
      await echoes(other, 50, 50);
    });
  });
});
