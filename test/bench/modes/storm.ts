import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { figure, median, percentile, table } from "../figures.ts";
import { shakeHands } from "../load/handshake.ts";
import { SseSession } from "../load/sse-session.ts";
import { StreamableSession } from "../load/streamable-session.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { requireSockets } from "../open-files.ts";
import { byTarget, middle, ratiosWithinRounds, total } from "../ratios.ts";
import type { Target } from "../target.ts";
import { planOf } from "../with-load.ts";
import { withServer } from "../with-server.ts";

/** All connects are begun within it, evenly spaced. */
const STORM_MS = 1000;
/** Above this the clients are the limit. */
const OWN_LIMIT = 0.9;

interface StormRun extends Run {
  served: number;
  failed: number;
  firstFailure?: string;
  /** From the first connect to the last: much above a second says that the clients were late. */
  begunWithinMs: number;
  /** From the first connect until the last client was served. */
  servedWithinMs: number;
  endpointP50Ms: number;
  endpointP99Ms: number;
  servedP50Ms: number;
  servedP99Ms: number;
  cpuMsPerConnect: number;
  /** Share of one core that the clients used. */
  clientShare: number;
}

/** A storm is over before anything is lost or strays; who is cut meanwhile is not served. */
const IGNORED = { onStray: () => undefined, onLost: () => undefined };

interface Arrived {
  /** The first thing that the server says: `endpoint`, or on Streamable HTTP the answer to `initialize`. */
  endpointMs: number;
  servedMs: number;
  servedAt: number;
}

/** A second of connects. A client is served when it has its `endpoint`, on Streamable HTTP when it is initialized. */
export const STORM: Mode<StormRun> = {
  name: "storm",
  about: "all --sessions connect within one second",
  targets: ["sse-echo", "gateway-builtin"],
  defaults: { against: "sse-echo", sessions: 1000, inFlight: 0 },
  run: (target, round, options) => runStorm(target, round, options, false),
  table: stormTable,
};

/** The same with a child for each: children start with the first message, so a client is served when it is initialized. */
export const STORM_CHILDREN: Mode<StormRun> = {
  ...STORM,
  name: "storm-children",
  about: "the same up to the answer to initialize, where each session has a child",
  targets: ["sse-bridge", "gateway"],
  defaults: { against: "sse-bridge", sessions: 100, inFlight: 0 },
  run: (target, round, options) => runStorm(target, round, options, true),
};

async function runStorm(
  target: Target,
  round: number,
  options: Options,
  hasChildren: boolean,
): Promise<StormRun> {
  const { sessions } = options;
  // Where `endpoint` is all that is waited for, nothing is posted.
  const isInitialized = hasChildren || target.transport === "streamable";
  requireSockets(sessions * (isInitialized ? 2 : 1));
  const { result, leftovers } = await withServer(target, [], async ({ port, account }, keep) => {
    const plan = planOf(target, port, options);
    async function arrive(index: number): Promise<Arrived> {
      const startedAt = performance.now();
      const Session = plan.transport === "sse" ? SseSession : StreamableSession;
      const session = keep(new Session(plan, index, IGNORED));
      await session.ready();
      if (isInitialized) await shakeHands(session, session.connect());
      const servedAt = performance.now();
      return { endpointMs: session.endpointMs, servedMs: servedAt - startedAt, servedAt };
    }
    // So that the server's code is loaded; the rest is as cold as it is after a restart, which is when storms come.
    await arrive(0);
    const cpuBefore = account.cpuSeconds();
    const ownBefore = process.cpuUsage();
    const startedAt = performance.now();
    const arrivals: Promise<Arrived>[] = [];
    for (let begun = 0; begun < sessions; begun += 1) {
      const early = startedAt + (begun * STORM_MS) / sessions - performance.now();
      if (early > 0) await sleep(early);
      const arrival = arrive(begun + 1);
      arrival.catch(() => undefined);
      arrivals.push(arrival);
    }
    const begunWithinMs = performance.now() - startedAt;
    const settled = await Promise.allSettled(arrivals);
    const own = process.cpuUsage(ownBefore);
    const tookMs = performance.now() - startedAt;
    return {
      ...countArrivals(settled, startedAt),
      begunWithinMs,
      cpuMsPerConnect: ((account.cpuSeconds() - cpuBefore) * 1000) / sessions,
      clientShare: (own.user + own.system) / 1000 / tookMs,
    };
  });
  return { target: target.name, round, ...result, leftovers };
}

function countArrivals(settled: readonly PromiseSettledResult<Arrived>[], startedAt: number) {
  const arrived = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failure = settled.find((one) => one.status === "rejected")?.reason as Error | undefined;
  const endpoints = arrived.map(({ endpointMs }) => endpointMs);
  const served = arrived.map(({ servedMs }) => servedMs);
  return {
    served: arrived.length,
    failed: settled.length - arrived.length,
    ...(failure === undefined ? {} : { firstFailure: failure.message }),
    servedWithinMs: percentile(
      arrived.map(({ servedAt }) => servedAt - startedAt),
      1,
    ),
    endpointP50Ms: percentile(endpoints, 0.5),
    endpointP99Ms: percentile(endpoints, 0.99),
    servedP50Ms: percentile(served, 0.5),
    servedP99Ms: percentile(served, 0.99),
  };
}

function stormTable(runs: readonly StormRun[], { against }: Options): string {
  const head = ["target", "served", "failed", "begun within ms", "all served within ms"];
  const times = ["endpoint p50 ms", "x base", "p99 ms", "served p50 ms", "p99 ms"];
  const rows = byTarget(runs).map(({ name, own }) => {
    const ratio = (value: (run: StormRun) => number): string =>
      figure(median(ratiosWithinRounds(runs, name, against, value)));
    const late = own.filter(({ clientShare }) => clientShare > OWN_LIMIT).length;
    const share = middle(own, (run) => run.clientShare);
    return [
      name,
      total(own, (run) => run.served),
      total(own, (run) => run.failed),
      middle(own, (run) => run.begunWithinMs),
      middle(own, (run) => run.servedWithinMs),
      middle(own, (run) => run.endpointP50Ms),
      ratio((run) => run.endpointP50Ms),
      middle(own, (run) => run.endpointP99Ms),
      middle(own, (run) => run.servedP50Ms),
      middle(own, (run) => run.servedP99Ms),
      middle(own, (run) => run.cpuMsPerConnect),
      ratio((run) => run.cpuMsPerConnect),
      late === 0 ? share : `${share} (${late} invalid)`,
    ];
  });
  return table([...head, ...times, "CPU ms/connect", "x base", "client share"], rows);
}
