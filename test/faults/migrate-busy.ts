import type { WatchedClient } from "../support/cluster-client.ts";
import type { CallRecord, History, Outcome } from "../support/history.ts";
import type { FrontProxy } from "../support/front-proxy.ts";
import { initialize, PRIMED, sendTo } from "../support/streamable-client.ts";
import { endRaw } from "./raw-session.ts";
import { wait } from "./load.ts";

/** Clients that call all the time, and now and then change what their session's record says. */
export interface Busy {
  /** The level that each client has set last, by its name. */
  levels: ReadonlyMap<string, string>;
  /** Changes of level that failed. */
  problems: readonly string[];
  stop(): Promise<void>;
}

const LEVELS = ["debug", "info", "notice", "warning", "error"];
const CALLS_PER_LEVEL = 8;
const calls = new WeakMap<WatchedClient, number>();

/** Calls `echo` of the built-in server so that its answer is what `call` looks for: the nonce that is counted there. */
async function callEcho(client: WatchedClient, timeoutMs: number): Promise<Outcome> {
  const number = (calls.get(client) ?? 0) + 1;
  calls.set(client, number);
  return client.call(
    "echo",
    { text: JSON.stringify({ nonce: `${client.name}-${number}`, pid: 0 }) },
    timeoutMs,
  );
}

/** Lets all clients call, one call at a time each, until it is stopped. */
export function keepBusy(
  clients: readonly WatchedClient[],
  { random, pauseMs, callMs }: { random: () => number; pauseMs: number; callMs: number },
): Busy {
  let isOver = false;
  const levels = new Map<string, string>();
  const problems: string[] = [];

  async function lane(client: WatchedClient): Promise<void> {
    await wait(random() * pauseMs);
    for (let count = 1; !isOver; count += 1) {
      await callEcho(client, callMs);
      if (count % CALLS_PER_LEVEL === 0) {
        const level = LEVELS[Math.floor(random() * LEVELS.length)] as string;
        await client.request("logging/setLevel", { level }).then(
          () => levels.set(client.name, level),
          (error: unknown) => problems.push(`${client.name}: ${String(error)}`),
        );
      }
      await wait(pauseMs);
    }
  }
  const lanes = clients.map(lane);
  return {
    levels,
    problems,
    stop: async () => {
      isOver = true;
      await Promise.all(lanes);
    },
  };
}

/** Cuts a stream through the front now and then: its client comes back, mostly through another instance. */
export function keepCutting(
  front: FrontProxy,
  everyMs: number,
  random: () => number,
): { stop(): Promise<void> } {
  let isOver = false;
  const cutting = (async () => {
    while (!isOver) {
      const open = front.openStreams().length;
      if (open > 0) front.cutOne(Math.floor(random() * open), "end");
      await wait(everyMs);
    }
  })();
  return { stop: () => ((isOver = true), cutting) };
}

/** Sessions that come and go meanwhile. */
export interface Coming {
  opened(): number;
  /** Ids of those that were closed, and of those that were left open. */
  closed: ReadonlySet<string>;
  kept: ReadonlySet<string>;
  problems: readonly string[];
  stop(): Promise<void>;
}

const LANES = 4;
/** What lies between an answer and a client's next request, as across a network. */
const ROUND_TRIP_MS = 100;

async function open(baseUrl: string): Promise<string> {
  const answer = await sendTo(baseUrl, { body: initialize() });
  await answer.text();
  if (answer.status !== 200) throw new Error(`initialize answered ${answer.status}`);
  const id = String(answer.headers["mcp-session-id"]);
  const headers = { "mcp-session-id": id, "mcp-protocol-version": PRIMED };
  await wait(ROUND_TRIP_MS);
  const told = await sendTo(baseUrl, {
    headers,
    body: { jsonrpc: "2.0", method: "notifications/initialized" },
  });
  if (told.status !== 202) throw new Error(`initialized answered ${told.status}: ${await told.text()}`);
  await told.text();
  return id;
}
const KEEP_EACH = 10;

/** Opens sessions and closes them through whichever instance; one of ten is left open. */
export function keepComing(baseUrl: string, pauseMs: number): Coming {
  const [closed, kept] = [new Set<string>(), new Set<string>()];
  const problems: string[] = [];
  let isOver = false;
  let opened = 0;
  const lane = async () => {
    while (!isOver) {
      const number = (opened += 1);
      try {
        const id = await open(baseUrl);
        await wait(pauseMs);
        if (number % KEEP_EACH === 0) kept.add(id);
        else {
          await endRaw(baseUrl, id);
          closed.add(id);
        }
      } catch (error) {
        problems.push(`comes-${number}: ${new Date().toISOString()} ${String(error)}`);
        await wait(pauseMs);
      }
    }
  };
  const lanes = Array.from({ length: LANES }, lane);
  return {
    opened: () => opened,
    closed,
    kept,
    problems,
    stop: async () => {
      isOver = true;
      await Promise.all(lanes);
    },
  };
}

/** All that went wrong with calls: those that were not answered exactly once with their own nonce. */
export function wrongCalls(
  history: History,
  since = 0,
): { calls: number; wrong: string[]; repeated: number } {
  const clients = [...history.clients.values()];
  const fits = ({ startedAt }: CallRecord): boolean => startedAt >= since;
  const all = clients.flatMap((client) => client.calls.filter(fits));
  const wrong = all.flatMap((call) => {
    const [outcome] = call.outcomes;
    const isRight = call.outcomes.length === 1 && outcome?.kind === "result" && outcome.nonce === call.nonce;
    return isRight ? [] : [`${call.nonce} at ${call.startedAt}: ${JSON.stringify(call.outcomes)}`];
  });
  const repeated = clients.reduce(
    (sum, { wireAnswers }) => sum + [...wireAnswers.values()].filter((times) => times > 1).length,
    0,
  );
  return { calls: all.length, wrong, repeated };
}
