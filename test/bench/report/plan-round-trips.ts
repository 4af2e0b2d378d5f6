import type { Options } from "../mode.ts";
import type { Section } from "./section.ts";

// Warm-up goes by calls: a slow server makes fewer in the same time, and would be counted on code that is still cold.

const BUSY = { bytes: 100, warmUpSeconds: 2, warmUpCalls: 16_000, seconds: 2 };
const EIGHT = { ...BUSY, sessions: 8, inFlight: 4, rounds: 3 };
const MANY = { ...BUSY, sessions: 64, inFlight: 1, rounds: 3 };
/** Each of 64 children has code of its own to warm up. */
const CHILDREN = { ...MANY, warmUpCalls: 100_000 };
const ALONE = { ...BUSY, sessions: 1, inFlight: 1, warmUpCalls: 3000, rounds: 2 };

export const SSE_PEERS = ["supergateway-sse", "mcp-proxy-sse", "mcp-hub-sse"];
export const STREAMABLE_PEERS = ["supergateway-streamable", "mcp-proxy-streamable"];

const OWN_CHILD = "Each session has a child of its own, in the floor and in the gateway alike.";
const ONE_CHILD = "All sessions share one child; ids are rewritten, in the floor and in the gateway alike.";
const BESIDE =
  "Ratios compare with the SDK's server, which is what runs without any gateway. Answers of another session are wrong; they are counted apart and are no calls.";

export const ROUND_TRIPS: readonly Section[] = [
  calls("sse-8x4", "SSE, 8 sessions x 4 calls, a child per session", EIGHT, 70, {
    against: "sse-bridge",
    targets: ["sse-echo", "sse-bridge", "express-echo", "gateway", "gateway-unwatched"],
    text: `${OWN_CHILD} The echoes have no child at all.`,
  }),
  calls("sse-shared-8x4", "SSE, 8 sessions x 4 calls, one child", EIGHT, 30, {
    against: "sse-bridge-shared",
    targets: ["sse-bridge-shared", "gateway-shared"],
    text: ONE_CHILD,
  }),
  calls("sse-peers-8x4", "SSE, 8 sessions x 4 calls, beside the peers", EIGHT, 180, {
    against: "sdk-sse",
    targets: ["gateway", "gateway-shared", "sdk-sse", ...SSE_PEERS],
    text: BESIDE,
  }),
  calls("sse-64", "SSE, 64 sessions, a child per session", CHILDREN, 165, {
    against: "sse-bridge",
    targets: ["sse-bridge", "gateway"],
    text: `${OWN_CHILD} The system has 64 children to switch between, which costs more than either front.`,
  }),
  calls("sse-shared-64", "SSE, 64 sessions, one child", MANY, 30, {
    against: "sse-bridge-shared",
    targets: ["sse-bridge-shared", "gateway-shared"],
    text: ONE_CHILD,
  }),
  calls("sse-peers-64", "SSE, 64 sessions, beside the peers", { ...MANY, rounds: 2 }, 110, {
    against: "sdk-sse",
    targets: ["gateway", "gateway-shared", "sdk-sse", ...SSE_PEERS],
    text: BESIDE,
  }),
  calls("sse-1x1", "SSE, one call at a time", ALONE, 50, {
    against: "sse-bridge",
    targets: ["sse-echo", "sse-bridge", "gateway", "sdk-sse", "mcp-proxy-sse"],
    text: "The shape for latency: nothing waits for another call, and nothing is batched, so a call costs more.",
  }),
  calls("sse-256", "SSE, 256 sessions", { ...MANY, sessions: 256, rounds: 2 }, 35, {
    against: "sse-bridge-shared",
    targets: ["sse-bridge-shared", "gateway-shared", "gateway-builtin"],
    text: "Without a child per session, so that the server is measured and not the machine's memory.",
  }),
  calls("sse-10kb", "SSE, 8 sessions x 4 calls of 10 kB", { ...EIGHT, bytes: 10_000, rounds: 2 }, 45, {
    against: "sse-bridge",
    targets: ["sse-bridge", "gateway", "sse-bridge-shared", "gateway-shared"],
    text: "10 kB there and back. The floors parse and write each message anew where the gateway passes bytes on.",
  }),
  calls("streamable-8x4", "Streamable HTTP, 8 sessions x 4 calls, a child per session", EIGHT, 45, {
    against: "streamable-bridge",
    targets: ["streamable-echo", "streamable-bridge", "gateway-streamable"],
    text: `${OWN_CHILD} The echo has no child at all.`,
  }),
  calls("streamable-peers-8x4", "Streamable HTTP, 8 sessions x 4 calls, beside the peers", EIGHT, 180, {
    against: "sdk-streamable",
    targets: ["gateway-streamable", "gateway-shared-streamable", "sdk-streamable", ...STREAMABLE_PEERS],
    text: BESIDE,
  }),
  calls("streamable-64", "Streamable HTTP, 64 sessions, a child per session", CHILDREN, 165, {
    against: "streamable-bridge",
    targets: ["streamable-bridge", "gateway-streamable"],
    text: OWN_CHILD,
  }),
  calls("streamable-shared-64", "Streamable HTTP, 64 sessions, one child", MANY, 30, {
    against: "streamable-bridge-shared",
    targets: ["streamable-bridge-shared", "gateway-shared-streamable"],
    text: ONE_CHILD,
  }),
  calls(
    "streamable-peers-64",
    "Streamable HTTP, 64 sessions, beside the peers",
    { ...MANY, rounds: 2 },
    130,
    {
      against: "sdk-streamable",
      targets: ["gateway-streamable", "gateway-shared-streamable", "sdk-streamable", ...STREAMABLE_PEERS],
      text: BESIDE,
    },
  ),
  calls("streamable-1x1", "Streamable HTTP, one call at a time", ALONE, 30, {
    against: "streamable-bridge",
    targets: ["streamable-echo", "streamable-bridge", "gateway-streamable"],
    text: "The shape for latency, as above.",
  }),
];

function calls(
  id: string,
  title: string,
  shape: Partial<Options>,
  estimateSeconds: number,
  { against, targets, text }: { against: string; targets: readonly string[]; text: string },
): Section {
  return { id, title, mode: "call", options: { ...shape, against }, targets, text, estimateSeconds };
}
