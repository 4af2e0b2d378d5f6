import { onTestFinished } from "vitest";
import { startCluster, type Cluster, type ClusterOptions } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import type { SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY } from "../support/start-gateway.ts";
import { wait } from "./load.ts";

const UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";

export interface Answer {
  status: number;
  reason: string | undefined;
  text: string;
  tookMs: number;
}

/** Two instances on one store, and one session on the first: what happens to each while the store is broken. */
export interface Probe {
  cluster: Cluster;
  owner: SpawnedGateway;
  other: SpawnedGateway;
  stream: TestStream;
  /** POSTs a ping to the session (or to one that no instance has) through an instance. */
  post(through: SpawnedGateway, to?: "session" | "nobody"): Promise<Answer>;
  /** Calls through both instances until it is stopped. */
  watch(): { stop(): Promise<Seen> };
  /** Milliseconds until `through` answers for the session again with one of these statuses. */
  recovery(statuses: readonly number[], limitMs?: number): Promise<number>;
}

export interface Seen {
  /** Round trips of calls through the owner, in ms. A call that failed is `Infinity`. */
  local: number[];
  /** Answers of the other instance, asked for a session that it does not know. */
  remote: Answer[];
}

/** Without a relay the two instances need the store to know each other's sessions. */
export async function openProbe(options: Omit<ClusterOptions, "instances">): Promise<Probe> {
  const env = { STORE_TIMEOUT_MS: "500", HEARTBEAT_SECONDS: "1", SESSION_EXTEND: "always", ...options.env };
  const cluster = await startCluster({ instances: 2, front: { seed: 1 }, ...options, env });
  onTestFinished(() => cluster.close(), 60_000);
  const [owner, other] = cluster.gateways as [SpawnedGateway, SpawnedGateway];
  const stream = await openTestStream(owner.url);
  onTestFinished(() => stream.cut());
  await stream.initialize();
  await eventually(async () => (await post(other)).status !== 404);

  async function post(through: SpawnedGateway, to: "session" | "nobody" = "session"): Promise<Answer> {
    const { pathname, search } = new URL(stream.endpoint);
    const id = to === "session" ? stream.sessionId : UNKNOWN_ID;
    const start = performance.now();
    const response = await fetch(`${through.url}${pathname}${search.replace(stream.sessionId, id)}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": KEY },
      body: JSON.stringify({ jsonrpc: "2.0", id: `probe-${start}`, method: "ping" }),
    });
    const text = await response.text();
    const { reason } = (text.startsWith("{") ? JSON.parse(text) : {}) as { reason?: string };
    return { status: response.status, reason, text, tookMs: performance.now() - start };
  }

  let calls = 0;
  function watch(): { stop(): Promise<Seen> } {
    let isOver = false;
    const seen: Seen = { local: [], remote: [] };
    const callLocally = async () => {
      while (!isOver) {
        const start = performance.now();
        const worked = await stream.call(`watch-${(calls += 1)}`, "ping").catch(() => undefined);
        seen.local.push(worked === undefined ? Infinity : performance.now() - start);
        await wait(10);
      }
    };
    const askOther = async () => {
      while (!isOver) {
        seen.remote.push(await post(other, "nobody"));
        await wait(25);
      }
    };
    const both = Promise.all([callLocally(), askOther()]);
    return {
      stop: async () => {
        isOver = true;
        await both;
        return seen;
      },
    };
  }

  async function recovery(statuses: readonly number[], limitMs = 20_000): Promise<number> {
    const start = performance.now();
    await eventually(async () => {
      const [known, ready] = [await post(other), await fetch(`${other.url}/health/ready`)];
      return known.reason !== "store_unavailable" && statuses.includes(known.status) && ready.status === 200;
    }, limitMs);
    return performance.now() - start;
  }
  return { cluster, owner, other, stream, post, watch, recovery };
}
