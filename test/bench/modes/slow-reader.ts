import { setTimeout as sleep } from "node:timers/promises";
import { isHeldByServer } from "../connection-state.ts";
import { figure, median, percentile, table } from "../figures.ts";
import type { Mode, Options, Run } from "../mode.ts";
import { readMemory } from "../process-tree.ts";
import { byTarget, middle, total } from "../ratios.ts";
import { SseClient } from "../sse-client.ts";
import type { Server } from "../start-target.ts";
import type { Target } from "../target.ts";
import { interrupted } from "../with-load.ts";
import { withServer } from "../with-server.ts";

const RESULTS = 100;
const QUIET_MS = 1000;
/** Who reads is done by then. */
const READING_SECONDS = 5;
const REST_MS = 2000;
const LOOK_MS = 500;
/**
 * Ours lets a session have 64 calls in flight by default and would refuse the rest, and at its end it waits for those
 * that are not answered. The others do not know the settings.
 */
const ENV = { MAX_IN_FLIGHT: String(2 * RESULTS), DRAIN_SECONDS: "1" };

const UNHEARD = { method: "notifications/cancelled", params: { requestId: "none" } };
/** Any refusal of it but "too many requests". */
const UNKNOWN = /answered (?!429)4\d\d/;

interface Latencies {
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

interface Held {
  /** What the tree and its first process hold at rest, above what they held before the results were asked for. */
  treeBytes: number;
  ownBytes: number;
}

/** What became of the calls for large results; those that are neither still wait to be taken. */
interface Asked {
  accepted: number;
  refused: number;
  firstRefusal?: string;
}

interface Probe extends Asked {
  held: Held;
  /** How long the other client's small calls took before, and meanwhile. */
  quiet: Latencies;
  meanwhile: Latencies;
  /** When the server gave up the client that does not read; undefined when it did not. */
  endedAfterMs?: number;
}

interface SlowReaderRun extends Run {
  slow: Probe;
  /** The same on another fresh server with a client that reads. */
  reading: Probe;
}

/** One client asks for a hundred large results and reads none, while another goes on with small calls. */
export const SLOW_READER: Mode<SlowReaderRun> = {
  name: "slow-reader",
  about: "what a client that does not read makes the server hold, and others wait",
  targets: ["sse-bridge", "gateway"],
  defaults: { sessions: 2, bytes: 1_000_000, seconds: 5 },
  async run(target, round, options) {
    const slow = await probe(target, options, false);
    const seconds = Math.min(options.seconds, READING_SECONDS);
    const reading = await probe(target, { ...options, seconds }, true);
    return {
      target: target.name,
      round,
      slow: slow.result,
      reading: reading.result,
      leftovers: [...slow.leftovers, ...reading.leftovers],
    };
  },
  table: slowReaderTable,
};

function probe(target: Target, { bytes, seconds }: Options, reads: boolean) {
  return withServer({ ...target, env: { ...target.env, ...ENV } }, [], async (server, keep) => {
    const other = keep(await SseClient.open(target, server.port));
    const greedy = keep(await SseClient.open(target, server.port));
    await Promise.all([other.shakeHands(), greedy.shakeHands()]);
    const tool = await other.findEcho();
    const first = await greedy.echo(tool, "first", bytes);
    if (first?.length !== bytes) {
      throw new Error(
        `the echo tool of ${target.name} answers with ${first?.length} characters, not ${bytes}`,
      );
    }
    const quiet = await callOneByOne(other, tool, performance.now() + QUIET_MS);
    const before = readHeld(server);

    if (!reads) greedy.stopReading();
    const until = performance.now() + seconds * 1000;
    const asked = askForMuch(greedy, tool, bytes);
    const ending = watchEnd(greedy, server.port, until);
    const meanwhile = await callOneByOne(other, tool, until);
    const endedAfterMs = await ending;
    await sleep(REST_MS);
    const after = readHeld(server);
    const held = {
      treeBytes: after.treeBytes - before.treeBytes,
      ownBytes: after.ownBytes - before.ownBytes,
    };
    return {
      held,
      quiet,
      meanwhile,
      ...asked,
      ...(endedAfterMs === undefined ? {} : { endedAfterMs }),
    };
  });
}

/** Small calls, one after the other, each answer checked. */
async function callOneByOne(client: SseClient, tool: string, until: number): Promise<Latencies> {
  const took: number[] = [];
  while (performance.now() < until) {
    const text = `small-${took.length}`;
    const startedAt = performance.now();
    if ((await client.echo(tool, text, text.length)) !== text) throw new Error("a call got another's answer");
    took.push(performance.now() - startedAt);
  }
  return { p50Ms: percentile(took, 0.5), p99Ms: percentile(took, 0.99), maxMs: percentile(took, 1) };
}

/** Asks one after the other without waiting for results; a server may well let the later ones wait or refuse them. */
function askForMuch(client: SseClient, tool: string, size: number): Asked {
  const asked: Asked = { accepted: 0, refused: 0 };
  async function ask(): Promise<void> {
    for (let id = 0; id < RESULTS; id += 1) {
      const params = { name: tool, arguments: { text: `large-${id}`, size } };
      try {
        await client.post({ id: 1000 + id, method: "tools/call", params });
        asked.accepted += 1;
      } catch (error) {
        asked.refused += 1;
        asked.firstRefusal ??= error instanceof Error ? error.message : String(error);
      }
    }
  }
  void ask();
  return asked;
}

/** When the server gave the client up: it knows its session no more, or has closed its connection. */
async function watchEnd(client: SseClient, port: number, until: number): Promise<number | undefined> {
  const startedAt = performance.now();
  let isRefused = false;
  while (performance.now() < until && !interrupted.aborted) {
    await sleep(LOOK_MS);
    // A notification that changes nothing. A server may also let it wait, which says nothing.
    client.post(UNHEARD).catch((error: unknown) => {
      if (UNKNOWN.test(String(error))) isRefused = true;
    });
    if (isRefused || !isHeldByServer(port, client.ownPort)) return performance.now() - startedAt;
  }
  return undefined;
}

function readHeld({ account, pid }: Server): Held {
  return { treeBytes: account.memory().rssBytes, ownBytes: readMemory([pid]).rssBytes };
}

function slowReaderTable(runs: readonly SlowReaderRun[], { seconds }: Options): string {
  const head = ["target", "held MB", "of it its own process", "held MB when read", "accepted", "refused"];
  const times = ["others p50 ms", "p99 ms", "max ms", "quiet p99 ms", "max ms", "ended after s"];
  const mb = (bytes: number): number => bytes / 1e6;
  const rows = byTarget(runs).map(({ name, own }) => {
    const ended = own.flatMap(({ slow }) =>
      slow.endedAfterMs === undefined ? [] : [slow.endedAfterMs / 1000],
    );
    return [
      name,
      middle(own, ({ slow }) => mb(slow.held.treeBytes)),
      middle(own, ({ slow }) => mb(slow.held.ownBytes)),
      middle(own, ({ reading }) => mb(reading.held.treeBytes)),
      total(own, ({ slow }) => slow.accepted),
      total(own, ({ slow }) => slow.refused),
      middle(own, ({ slow }) => slow.meanwhile.p50Ms),
      middle(own, ({ slow }) => slow.meanwhile.p99Ms),
      middle(own, ({ slow }) => slow.meanwhile.maxMs),
      middle(own, ({ slow }) => slow.quiet.p99Ms),
      middle(own, ({ slow }) => slow.quiet.maxMs),
      ended.length < own.length ? `not within ${seconds}` : figure(median(ended)),
    ];
  });
  return table([...head, ...times], rows);
}
