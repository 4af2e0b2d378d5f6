import { setTimeout as sleep } from "node:timers/promises";
import { table } from "../figures.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { requireSockets } from "../open-files.ts";
import { byTarget, middle } from "../ratios.ts";
import { SseClient } from "../sse-client.ts";
import type { Target } from "../target.ts";
import { interrupted } from "../with-load.ts";
import { withServer } from "../with-server.ts";

/** The gateway's shortest and longest interval, and the one that it has by default. */
const SHORT_SECONDS = 1;
const LONG_SECONDS = 300;
const DEFAULT_SECONDS = 30;
const SETTLE_MS = 3000;
const OPEN_AT_ONCE = 16;

interface Beats {
  /** Share of one core. */
  share: number;
  /** Heartbeats that reached the clients, per second. */
  perSecond: number;
}

interface HeartbeatRun extends Run {
  sessions: number;
  /** With an interval of 1 s: what is fixed and what the heartbeats cost. */
  short: Beats;
  /** With one of 300 s: next to nothing but what is fixed. */
  long: Beats;
  microsecondsPerBeat: number;
  /** Calculated: what is fixed, and each session's heartbeat every 30 s. */
  shareByDefault: number;
}

/** Idle sessions by the thousand, each of which wants its heartbeat. */
export const HEARTBEAT: Mode<HeartbeatRun> = {
  name: "heartbeat",
  about: "share of a core that the heartbeats of idle sessions take",
  targets: ["gateway-builtin"],
  defaults: { sessions: 10_000, inFlight: 0, seconds: 10 },
  async run(target, round, options) {
    const short = await beat(target, options, SHORT_SECONDS);
    const long = await beat(target, options, LONG_SECONDS);
    const { result } = short;
    const perBeat = (result.share - long.result.share) / (result.perSecond - long.result.perSecond);
    const fixed = long.result.share - perBeat * long.result.perSecond;
    return {
      target: target.name,
      round,
      sessions: options.sessions,
      short: result,
      long: long.result,
      microsecondsPerBeat: perBeat * 1e6,
      shareByDefault: fixed + (perBeat * options.sessions) / DEFAULT_SECONDS,
      leftovers: [...short.leftovers, ...long.leftovers],
    };
  },
  table: heartbeatTable,
};

function beat(target: Target, { sessions, seconds }: Options, intervalSeconds: number) {
  requireSockets(sessions + OPEN_AT_ONCE);
  const env = { ...target.env, HEARTBEAT_SECONDS: String(intervalSeconds) };
  return withServer({ ...target, env }, [], async ({ port, account }, keep): Promise<Beats> => {
    const clients: SseClient[] = [];
    let left = sessions;
    async function openInTurn(): Promise<void> {
      while (left > 0) {
        left -= 1;
        const client = keep(await SseClient.open(target, port));
        clients.push(client);
        await client.shakeHands();
        client.closePosts();
      }
    }
    await Promise.all(Array.from({ length: OPEN_AT_ONCE }, openInTurn));
    await sleep(SETTLE_MS, undefined, { signal: interrupted });
    const countPings = (): number => clients.reduce((sum, client) => sum + client.pings, 0);
    const startedAt = performance.now();
    const pingsBefore = countPings();
    const cpuBefore = account.cpuSeconds();
    await sleep(seconds * 1000, undefined, { signal: interrupted });
    const cpuSeconds = account.cpuSeconds() - cpuBefore;
    const pings = countPings() - pingsBefore;
    const tookSeconds = (performance.now() - startedAt) / 1000;
    if (intervalSeconds === SHORT_SECONDS && pings === 0) {
      throw new Error(`${target.name} sends no heartbeats, or not under HEARTBEAT_SECONDS`);
    }
    return { share: cpuSeconds / tookSeconds, perSecond: pings / tookSeconds };
  });
}

function heartbeatTable(runs: readonly HeartbeatRun[]): string {
  const head = ["target", "sessions", "heartbeats/s", "% of a core", "heartbeats/s at 300 s", "% of a core"];
  const rows = byTarget(runs).map(({ name, own }) => [
    name,
    middle(own, (run) => run.sessions),
    middle(own, (run) => run.short.perSecond),
    middle(own, (run) => run.short.share * 100),
    middle(own, (run) => run.long.perSecond),
    middle(own, (run) => run.long.share * 100),
    middle(own, (run) => run.microsecondsPerBeat),
    middle(own, (run) => run.shareByDefault * 100),
  ]);
  return table([...head, "us/heartbeat", "% of a core at 30 s"], rows);
}
