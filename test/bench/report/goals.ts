import { median } from "../figures.ts";
import type { Mode, Run } from "../mode.ts";
import type { CallRun } from "../modes/call.ts";
import type { GrowthRun } from "../modes/growth.ts";
import type { HEARTBEAT } from "../modes/heartbeat.ts";
import type { IdleRun } from "../modes/idle.ts";
import type { LARGE } from "../modes/large.ts";
import type { DriverFigures, RelayRun } from "../modes/relay.ts";
import type { StartRun } from "../modes/start.ts";
import type { STORM } from "../modes/storm.ts";
import type { Goal } from "./judge.ts";
import { SSE_PEERS, STREAMABLE_PEERS } from "./plan-round-trips.ts";

type RunOf<M> = M extends Mode<infer R extends Run> ? R : never;

/** Above this share of its core the generator is the limit. */
const GENERATOR_LIMIT = 0.9;

const cpu = (run: CallRun): number => run.cpuMsPerCall;
/** Rate and latency are the generator's own where it is the limit. */
const rate = (run: CallRun): number => (run.isValid ? run.callsPerSecond : Number.NaN);
const p99 = (run: CallRun): number => (run.isValid ? run.p99Ms : Number.NaN);
const idleMemory = (run: IdleRun): number => run.rssKbPerSession;

/** The bounds that the gateway has set itself. The page judges them by the figures of its own run. */
export const GOALS: readonly Goal[] = [
  floor("SSE, 64 sessions, a child each", "sse-64", ["gateway", "sse-bridge"], 1.25),
  floor("SSE, 64 sessions, one child", "sse-shared-64", ["gateway-shared", "sse-bridge-shared"], 1.25),
  floor(
    "Streamable HTTP, 64 sessions, a child each",
    "streamable-64",
    ["gateway-streamable", "streamable-bridge"],
    1.35,
  ),
  floor(
    "Streamable HTTP, 64 sessions, one child",
    "streamable-shared-64",
    ["gateway-shared-streamable", "streamable-bridge-shared"],
    1.35,
  ),
  ...besidePeers("SSE, a child each", "sse", "gateway", SSE_PEERS),
  ...besidePeers("SSE, one child", "sse", "gateway-shared", SSE_PEERS),
  ...besidePeers("Streamable HTTP, a child each", "streamable", "gateway-streamable", STREAMABLE_PEERS),
  ...besidePeers("Streamable HTTP, one child", "streamable", "gateway-shared-streamable", STREAMABLE_PEERS),
  ...["idle-2000", "idle-10000"].map((section) => ({
    target: 3,
    words: `${section === "idle-2000" ? "2,000" : "10,000"} idle sessions: memory of one, to the floor's`,
    section,
    of: "gateway-shared",
    than: ["sse-bridge-shared"],
    value: idleMemory,
    bound: { atMost: 1.3 },
    unit: "x",
  })),
  {
    target: 3,
    words: "2,000 idle sessions: memory of one, to every peer's",
    section: "idle-peers",
    of: "gateway-shared",
    than: SSE_PEERS,
    value: idleMemory,
    bound: { below: 1 },
    unit: "x",
  },
  {
    target: 4,
    words: "1,000 connects in a second: first `endpoint`, p50, to the bare server's",
    section: "storm",
    of: "gateway-builtin",
    than: ["sse-echo"],
    value: (run: RunOf<typeof STORM>) => run.endpointP50Ms,
    bound: { atMost: 1.5 },
    unit: "x",
  },
  {
    target: 4,
    words: "1,000 connects in a second: all served within",
    section: "storm",
    of: "gateway-builtin",
    value: (run: RunOf<typeof STORM>) =>
      run.failed === 0 ? run.servedWithinMs / 1000 : Number.POSITIVE_INFINITY,
    bound: { atMost: 3 },
    unit: "s",
  },
  ...large("a child each", "gateway", "sse-bridge"),
  ...large("one child", "gateway-shared", "sse-bridge-shared"),
  {
    target: 6,
    words: "CPU per call at 1,000 sessions, to that at 64",
    section: "growth",
    of: "gateway-shared",
    value: (run: GrowthRun) => run.many.cpuMsPerCall / run.few.cpuMsPerCall,
    bound: { atMost: 1.2 },
    unit: "x",
  },
  {
    target: 6,
    words: "Heartbeats of 10,000 sessions at the default interval",
    section: "heartbeat",
    of: "gateway-builtin",
    value: (run: RunOf<typeof HEARTBEAT>) => run.shareByDefault * 100,
    bound: { below: 2 },
    unit: "% of a core",
  },
  ...(["http", "redis"] as const).flatMap(relayed),
  {
    target: 8,
    words: "From the start of the process to listening",
    section: "start",
    of: "gateway",
    value: (run: StartRun) => median(run.starts.map((start) => start.listeningMs)) / 1000,
    bound: { atMost: 0.5 },
    unit: "s",
  },
];

function floor(words: string, section: string, [of, than]: [string, string], atMost: number): Goal {
  const bound = { atMost };
  return {
    target: 1,
    words: `${words}: CPU per call, to the floor's`,
    section,
    of,
    than: [than],
    value: cpu,
    bound,
    unit: "x",
  };
}

function besidePeers(words: string, transport: string, of: string, than: readonly string[]): Goal[] {
  const eight = { target: 2, section: `${transport}-peers-8x4`, of, than, unit: "x" };
  return [
    {
      ...eight,
      words: `${words}: good calls per second, to the best peer's`,
      value: rate,
      bound: { atLeast: 3 },
    },
    { ...eight, words: `${words}: CPU per call, to the best peer's`, value: cpu, bound: { atMost: 1 / 3 } },
    {
      ...eight,
      section: `${transport}-peers-64`,
      words: `${words}, 64 sessions: p99, to every peer's`,
      value: p99,
      bound: { below: 1 },
    },
  ];
}

function large(words: string, of: string, floor: string): Goal[] {
  type LargeRun = RunOf<typeof LARGE>;
  const section = { target: 5, section: "large", of };
  return [
    {
      ...section,
      words: `Results of 1 MB, ${words}: bytes per second, to the floor's`,
      than: [floor],
      value: (run: LargeRun) => (run.generatorShare <= GENERATOR_LIMIT ? run.megabytesPerSecond : Number.NaN),
      bound: { atLeast: 0.8 },
      unit: "x",
    },
    {
      ...section,
      words: `Results of 1 MB, ${words}: longest time that the event loop was blocked`,
      value: (run: LargeRun) => run.blocked.maxMs,
      bound: { atMost: 20 },
      unit: "ms",
    },
  ];
}

function relayed(driver: DriverFigures["driver"]): Goal[] {
  const figuresOf = (run: RelayRun): DriverFigures | undefined =>
    run.drivers.find((one) => one.driver === driver);
  const relay = { target: 7, section: "relay", of: "gateway-builtin" };
  return [
    {
      ...relay,
      words: `Relay over ${driver}: CPU per call, to a local one's`,
      value: (run: RelayRun) => {
        const figures = figuresOf(run);
        return figures === undefined ? Number.NaN : figures.relayed.cpuMsPerCall / figures.local.cpuMsPerCall;
      },
      bound: { atMost: 2.5 },
      unit: "x",
    },
    {
      ...relay,
      words: `Relay over ${driver}: p50 added to a call that is alone`,
      value: (run: RelayRun) => {
        const figures = figuresOf(run);
        return figures === undefined ? Number.NaN : figures.relayedAlone.p50Ms - figures.localAlone.p50Ms;
      },
      bound: { atMost: 1 },
      unit: "ms",
    },
  ];
}
