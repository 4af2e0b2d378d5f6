import type { Options } from "../mode.ts";
import { ROUND_TRIPS } from "./plan-round-trips.ts";
import type { Section } from "./section.ts";
import { SHORT } from "./short.ts";

/** All that one run of the report measures, in the order of the page. */
export const PLAN: readonly Section[] = [
  ...ROUND_TRIPS,
  {
    id: "large",
    title: "Results of 1 MB",
    mode: "large",
    options: { rounds: 3, warmUpSeconds: 2, seconds: 3 },
    targets: ["sse-bridge", "gateway", "sse-bridge-shared", "gateway-shared"],
    text: "Bytes count here, not calls. How long the event loop is blocked is what other sessions have to wait.",
    estimateSeconds: 120,
  },
  {
    id: "slow-reader",
    title: "A client that does not read",
    mode: "slow-reader",
    options: { rounds: 1 },
    text: "One client asks for large results and reads nothing, while others call. Memory held and the others' latency are what it costs.",
    estimateSeconds: 45,
  },
  idle("idle-2000", "2,000 idle sessions", 2000, 2, 65, [
    "sse-bridge-shared",
    "gateway-shared",
    "gateway-builtin",
  ]),
  idle("idle-peers", "2,000 idle sessions beside the peers", 2000, 1, 170, [
    "gateway-shared",
    "sdk-sse",
    "mcp-proxy-sse",
    "mcp-hub-sse",
    "supergateway-sse",
  ]),
  idle("idle-10000", "10,000 idle sessions", 10_000, 2, 90, ["sse-bridge-shared", "gateway-shared"]),
  {
    id: "storm",
    title: "Connect storm",
    mode: "storm",
    options: { rounds: 3 },
    text: "1,000 clients connect within a second, evenly spaced, to a server that has just started.",
    estimateSeconds: 40,
  },
  {
    id: "storm-children",
    title: "Connect storm with a child for each session",
    mode: "storm-children",
    options: { rounds: 2 },
    text: "100 clients up to the answer to `initialize`. To start a process for each is nearly all of it, in the floor too.",
    estimateSeconds: 50,
  },
  {
    id: "growth",
    title: "From 64 to 1,000 sessions",
    mode: "growth",
    options: { rounds: 3, bytes: 100, warmUpSeconds: 2, warmUpCalls: 12_000, seconds: 2 },
    text: "A fresh server with 64 sessions that all call, then one with 1,000. Work that follows the number of sessions shows as growth well above the floor's.",
    estimateSeconds: 80,
  },
  {
    id: "heartbeat",
    title: "Heartbeats",
    mode: "heartbeat",
    options: { rounds: 1 },
    text: "What open sessions cost when nobody says anything: the gateway's own clock and its heartbeats.",
    estimateSeconds: 70,
  },
  {
    id: "relay",
    title: "Relay between two instances",
    mode: "relay",
    options: { rounds: 3, warmUpSeconds: 2, seconds: 2 },
    targets: ["gateway-builtin"],
    text: "A call that enters at one instance while its stream is at the other, beside the same call at one instance.",
    estimateSeconds: 105,
  },
  {
    id: "store-cost",
    title: "What a store is asked",
    mode: "store-cost",
    options: { rounds: 1 },
    text: "Commands are counted at the store itself. Stores that are paid by the command cost these.",
    estimateSeconds: 60,
  },
  {
    id: "start",
    title: "Start",
    mode: "start",
    options: { rounds: 1 },
    text: "From the start of the process to the first connection that it takes.",
    estimateSeconds: 20,
  },
  {
    id: "size",
    title: "Size of an installation",
    mode: "size",
    options: { rounds: 1 },
    text: "What `npm install` brings for production, development dependencies left out.",
    estimateSeconds: 40,
  },
  SHORT,
];

/** Idle memory is the same for every child model that keeps no process for each session, so only these are here. */
function idle(
  id: string,
  title: string,
  sessions: number,
  rounds: number,
  estimateSeconds: number,
  targets: readonly string[],
): Section {
  const [against] = targets;
  const options: Partial<Options> = { sessions, rounds, inFlight: 0, ...(against && { against }) };
  const text =
    "Memory is what the server's processes hold more than before, divided by the sessions. Ratios compare with the first row.";
  return { id, title, mode: "idle", options, targets, text, estimateSeconds };
}
