import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exchange, rawRequest, type RawAnswer } from "../support/raw-http.ts";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { initialize, openStreamable } from "../support/streamable-client.ts";
import { expectRefusal, expectRpcRefusal } from "./refusal.ts";

const rawEcho = fileURLToPath(new URL("../fixtures/raw-echo.mjs", import.meta.url));
const entry = { command: process.execPath, args: [rawEcho] };
const INITIALIZE = JSON.stringify(initialize());

const sameBytes = ({ head, body }: RawAnswer) =>
  `${head}\n${body}`.replaceAll(/(X-Request-Id: |"requestId":")[a-z0-9-]+|Date: .*/g, "$1");

describe.each([
  { path: "thin path", thinPath: true },
  { path: "Express alone", thinPath: false },
])("the URL of one of several servers, $path", ({ thinPath }) => {
  let gateway: TestGateway;
  const directory = mkdtempSync(join(tmpdir(), "streamable-"));
  beforeAll(async () => {
    const file = join(directory, "mcp.json");
    writeFileSync(file, JSON.stringify({ mcpServers: { one: entry, two: entry } }));
    const env = { MCP_SERVERS_FILE: file, MCP_KEY_SCOPES: "default=one two,other=two" };
    gateway = await startTestGateway({ thinPath, env });
  });
  afterAll(async () => {
    await gateway.close();
    rmSync(directory, { recursive: true });
  });

  const ask = (key: string, line: string, body = "") => {
    const headers = [`X-API-Key: ${key}`, "Accept: application/json, text/event-stream"];
    return exchange(gateway.port, rawRequest(line, [...headers, "Content-Type: application/json"], body));
  };

  it("SEC-10 a server that the key may not use answers as one that is not there, byte for byte", async () => {
    for (const path of ["mcp", "mcp/sse"]) {
      for (const method of ["POST", "DELETE", "GET"]) {
        const body = method === "POST" ? INITIALIZE : "";
        const forbidden = await ask(OTHER_KEY, `${method} /servers/one/${path}`, body);
        const unknown = await ask(OTHER_KEY, `${method} /servers/nix/${path}`, body);
        const expected = method === "GET" && path === "mcp/sse" ? expectRefusal : expectRpcRefusal;
        expected(forbidden, "not_found");
        expect(sameBytes(forbidden)).toBe(sameBytes(unknown));
      }
    }
  });

  it("tells who asks for 2026-07-28 to begin a session instead, where the servers know only that", async () => {
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    const discover = { jsonrpc: "2.0", id: 1, method: "server/discover", params: { _meta } };
    for (const path of ["/mcp", "/servers/two/mcp"]) {
      const response = await fetch(gateway.url + path, {
        method: "POST",
        headers: {
          "X-API-Key": KEY,
          "Content-Type": "application/json",
          Accept: "application/json, text/event-stream",
          "MCP-Protocol-Version": "2026-07-28",
          "Mcp-Method": "server/discover",
        },
        body: JSON.stringify(discover),
      });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        id: 1,
        error: { code: -32000, data: { reason: "upstream_era" } },
      });
    }
  });

  it("opens a session of that server alone, and at the root one of all that the key may use", async () => {
    const toolsAt = async (key: string, path: string) => {
      const client = await openStreamable(gateway.url, { key, path });
      const { result = {} } = await client.call(1, "tools/list");
      return (result["tools"] as { name: string }[]).map(({ name }) => name);
    };
    expect(await toolsAt(OTHER_KEY, "/servers/two/mcp")).toContain("echo");
    const [all, some] = [await toolsAt(KEY, "/mcp"), await toolsAt(OTHER_KEY, "/mcp")];
    expect(some.length * 2).toBe(all.length);
    const stream = await openTestStream(gateway.url, { path: "/servers/two/mcp/sse" });
    await stream.initialize();
    expect(
      (await stream.call(1, "tools/call", { name: "echo", arguments: { text: "x" } })).result,
    ).toBeDefined();
    stream.cut();
  });
});
