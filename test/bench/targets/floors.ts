import { type Target, pathOf } from "../target.ts";

/** The thinnest servers that do the same work: no keys, limits, heartbeats, back-pressure or recovery. */
export const FLOORS: readonly Target[] = [
  floor("sse-echo"),
  floor("sse-bridge"),
  floor("sse-bridge-shared"),
  floor("express-echo"),
  floor("streamable-echo", "streamable"),
  floor("streamable-bridge", "streamable"),
  floor("streamable-bridge-shared", "streamable"),
];

function floor(name: string, transport: Target["transport"] = "sse"): Target {
  return {
    name,
    transport,
    path: transport === "sse" ? "/mcp/sse" : "/mcp",
    script: () => [pathOf(`../floors/${name}.mjs`, import.meta.url)],
    env: {},
    headers: {},
    ready: "prints JSON",
    missing: () => undefined,
  };
}
