import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { folderOf, installPeer, missingPeer, type Peer } from "../peers/install.ts";
import { type Target, pathOf } from "../target.ts";

const FAST_CHILD = pathOf("../floors/fast-child.mjs", import.meta.url);
const SDK_SERVER = pathOf("../peers/sdk-server.mjs", import.meta.url);
const LOOPBACK = new URL("../peers/loopback.mjs", import.meta.url).href;
const HUB_CONFIG = pathOf("../peers/mcp-hub.json", import.meta.url);

const SUPERGATEWAY = fileOf("supergateway", "supergateway/dist/index.js");
const MCP_PROXY = fileOf("mcp-proxy", "mcp-proxy/dist/bin/mcp-proxy.mjs");
const MCP_HUB = fileOf("mcp-hub", "mcp-hub/dist/cli.js");
const HUB_HOME = join(folderOf("mcp-hub"), "home");

/**
 * What users would run instead, in its default mode, with its log off where it can be, in front of the fast child. Each
 * is started by its own script and never by npx, whose wrappers would be counted and left behind.
 */
export const PEERS: readonly Target[] = [
  peer("sdk-sse", "sdk", "/sse", { script: () => sdkServer("sse"), ready: "prints JSON" }),
  peer("sdk-streamable", "sdk", "/mcp", { script: () => sdkServer("streamable"), ready: "prints JSON" }),
  peer("supergateway-sse", "supergateway", "/sse", { script: (port) => supergateway(port) }),
  peer("supergateway-streamable", "supergateway", "/mcp", {
    script: (port) => [...supergateway(port), "--outputTransport", "streamableHttp", "--stateful"],
  }),
  peer("mcp-proxy-sse", "mcp-proxy", "/sse", { script: mcpProxy }),
  peer("mcp-proxy-streamable", "mcp-proxy", "/mcp", { script: mcpProxy }),
  // Its /mcp is HTTP+SSE, and nothing else. It listens before it has connected its child.
  peer("mcp-hub-sse", "mcp-hub", "/mcp", {
    script: (port) => ["--import", LOOPBACK, MCP_HUB, "--port", String(port), "--config", HUB_CONFIG],
    env: { HOME: HUB_HOME, BENCH_NODE: process.execPath, BENCH_CHILD: FAST_CHILD },
    ready: { prints: "1/1 servers started successfully" },
    prepare: prepareHub,
  }),
];

type Variant = Pick<Target, "script"> & Partial<Pick<Target, "env" | "ready" | "prepare">>;

function peer(name: string, from: Peer, path: string, variant: Variant): Target {
  return {
    name,
    transport: name.endsWith("-sse") ? "sse" : "streamable",
    path,
    env: {},
    headers: {},
    ready: "listens",
    prepare: () => installPeer(from),
    missing: () => missingPeer(from),
    ...variant,
  };
}

function fileOf(from: Peer, path: string): string {
  return join(folderOf(from), "node_modules", path);
}

function sdkServer(transport: Target["transport"]): string[] {
  return [SDK_SERVER, transport, join(folderOf("sdk"), "node_modules")];
}

/** It takes its child as one line for a shell. */
function supergateway(port: number): string[] {
  const child = [process.execPath, FAST_CHILD].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const options = ["--port", String(port), "--logLevel", "none"];
  return ["--import", LOOPBACK, SUPERGATEWAY, "--stdio", child, ...options];
}

function mcpProxy(port: number): string[] {
  return [MCP_PROXY, "--host", "127.0.0.1", "--port", String(port), "--", process.execPath, FAST_CHILD];
}

/**
 * Gives it a home of its own. With a catalogue in it, which it else fetches from the network at each start; and with a file
 * where it wants a folder for its log, without which it writes none: 2,000 lines for each session that ends.
 */
async function prepareHub(): Promise<void> {
  await installPeer("mcp-hub");
  if (missingPeer("mcp-hub") !== undefined) return;
  const state = join(HUB_HOME, ".local/state/mcp-hub");
  const cache = join(HUB_HOME, ".local/share/mcp-hub/cache");
  for (const folder of [state, cache]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(state, "logs"), "");
  const catalogue = { registry: { servers: [{ id: "none" }] }, lastFetchedAt: Date.UTC(2100, 0) };
  writeFileSync(join(cache, "registry.json"), JSON.stringify(catalogue));
}
