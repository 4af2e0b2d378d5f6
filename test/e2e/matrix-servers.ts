import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { StreamableHTTPClientTransport as ModernHttpTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport as ModernStdioTransport } from "@modelcontextprotocol/client/stdio";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import { eventually } from "../support/eventually.ts";
import { KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";
import { connectLegacy, connectModern, type Json, type MatrixClient } from "./matrix-clients.ts";
import { openRawModern, openRawSse, openRawStreamable, type RawClient } from "./matrix-raw.ts";

export const CLIENTS = ["sse", "streamable", "modern"] as const;
export const SERVERS = ["builtin", "stdio", "stdio-modern", "sse", "streamable", "modern"] as const;
export type ClientKind = (typeof CLIENTS)[number];
export type ServerKind = (typeof SERVERS)[number];

export const eraOf = (server: ServerKind) =>
  server === "modern" || server === "stdio-modern" ? "modern" : "legacy";

/** What happens outside of the servers, by files: each process of a server sees them. */
export interface World {
  mark(name: string): void;
  seen(name: string, limitMs?: number): Promise<unknown>;
  /** A word that was not used before. */
  label(): string;
}

/** All servers, and one gateway before them. */
export interface Stage {
  gateway: TestGateway;
  world: World;
  /** A client of the server itself, over the server's own transport. */
  direct(server: ServerKind, capabilities?: Json): Promise<MatrixClient>;
  /** A client of the same server, of any kind, through the gateway. */
  through(client: ClientKind, server: ServerKind, capabilities?: Json): Promise<MatrixClient>;
  raw(client: ClientKind, server: ServerKind): Promise<RawClient>;
  close(): Promise<void>;
}

const FIXTURE = join(import.meta.dirname, "../fixtures/matrix-server.mjs");
const INPUT = { headers: { "X-API-Key": KEY } };

export async function openStage(): Promise<Stage> {
  const directory = mkdtempSync(join(tmpdir(), "matrix-"));
  const marks = join(directory, "marks");
  mkdirSync(marks);
  const http = await spawnHttp(marks);
  const file = join(directory, "mcp.json");
  const stdio = (mode: string) => ({ command: process.execPath, args: [FIXTURE, mode, marks] });
  const mcpServers = {
    builtin: { type: "builtin" },
    stdio: stdio("stdio"),
    "stdio-modern": stdio("stdio-modern"),
    sse: { url: http.urls.sse },
    streamable: { url: http.urls.streamable },
    modern: { url: http.urls.modern },
  };
  writeFileSync(file, JSON.stringify({ mcpServers }));
  const gateway = await startTestGateway({
    env: { MCP_SERVERS_FILE: file, MCP_SERVER_DISCOVERY: "translate", LOG_LEVEL: "info" },
  });
  let labels = 0;
  return {
    gateway,
    world: {
      mark: (name) => writeFileSync(join(marks, name), ""),
      seen: (name, limitMs = 10_000) => eventually(() => existsSync(join(marks, name)), limitMs),
      label: () => String((labels += 1)),
    },
    direct: (server, capabilities) => connectDirect(server, capabilities, http.urls, stdio),
    through(client, server, capabilities) {
      const url = new URL(`${gateway.url}/servers/${server}/mcp`);
      const options = { requestInit: INPUT };
      if (client === "modern") return connectModern(new ModernHttpTransport(url, options), capabilities);
      if (client === "streamable")
        return connectLegacy(new StreamableHTTPClientTransport(url, options), capabilities);
      return connectLegacy(new SSEClientTransport(new URL(`${url.href}/sse`), options), capabilities);
    },
    async raw(client, server) {
      const open = { sse: openRawSse, streamable: openRawStreamable, modern: openRawModern }[client];
      return open(gateway.url, server);
    },
    async close() {
      await gateway.close();
      await http.close();
      rmSync(directory, { recursive: true });
    },
  };
}

type Urls = Record<"sse" | "streamable" | "modern", string>;

async function connectDirect(
  server: ServerKind,
  capabilities: Json | undefined,
  urls: Urls,
  stdio: (mode: string) => { command: string; args: string[] },
): Promise<MatrixClient> {
  switch (server) {
    case "builtin": {
      const [near, far] = InMemoryTransport.createLinkedPair();
      await createDemoServer().connect(far);
      return connectLegacy(near, capabilities);
    }
    case "stdio":
      return connectLegacy(new StdioClientTransport(stdio(server)), capabilities);
    case "stdio-modern":
      return connectModern(new ModernStdioTransport(stdio(server)), capabilities);
    case "sse":
      return connectLegacy(new SSEClientTransport(new URL(urls.sse)), capabilities);
    case "streamable":
      return connectLegacy(new StreamableHTTPClientTransport(new URL(urls.streamable)), capabilities);
    case "modern":
      return connectModern(new ModernHttpTransport(new URL(urls.modern)), capabilities);
  }
}

/** The three servers that speak HTTP, in one process. */
async function spawnHttp(marks: string): Promise<{ urls: Urls; close(): Promise<void> }> {
  const child = spawn(process.execPath, [FIXTURE, "http", marks], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const ports = JSON.parse(line) as Record<keyof Urls, number>;
  return {
    urls: {
      sse: `http://127.0.0.1:${ports.sse}/sse`,
      streamable: `http://127.0.0.1:${ports.streamable}/mcp`,
      modern: `http://127.0.0.1:${ports.modern}/mcp`,
    },
    async close() {
      child.kill();
      await exited;
    },
  };
}
