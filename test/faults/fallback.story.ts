import type { Redis } from "ioredis";
import { expect, test } from "vitest";
import type { WatchedClient } from "../support/cluster-client.ts";
import type { Cluster } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { form, ms, openFigures, sized } from "./figures.ts";
import { storeOf, watchHealth } from "./health-watch.ts";
import { startLoad, wait } from "./load.ts";
import { expireLease, idsByClient, readRecords } from "./owners.ts";
import { endRaw, openRaw } from "./raw-session.ts";
import { setStage } from "./stage.ts";

const note = openFigures("9a Memory while the store is away");
const AWAY_MS = sized(4000, 60_000);
const HALF = sized(3, 10);

/** How Redis goes away, and in what state it comes back. */
const WAYS = {
  "killed, and back empty": {
    async leave({ redis, storeProxy }: Cluster) {
      await storeProxy?.down();
      await redis?.restart?.();
    },
    back: ({ storeProxy }: Cluster) => storeProxy?.up(),
  },
  "hung, and back with what it had": {
    leave: async ({ redis }: Cluster) => redis?.pause?.(),
    back: async ({ redis }: Cluster) => redis?.resume?.(),
  },
};
type Way = keyof typeof WAYS;
const ALL: [Way, "off" | "store"][] = [
  ["killed, and back empty", "store"],
  ["hung, and back with what it had", "off"],
  ["killed, and back empty", "off"],
  ["hung, and back with what it had", "store"],
];

test.each(sized(ALL.slice(0, 1), ALL))(
  "Redis %s, SESSION_DURABILITY=%s: no session is lost on one instance, and Redis has all of them afterwards",
  async (way, durability) => {
    const stage = await setStage({
      instances: 1,
      store: "redis",
      front: { cutBy: "end" },
      env: { SESSION_STORE_FALLBACK: "memory", SESSION_DURABILITY: durability },
    });
    const { cluster, connect, judge, random } = stage;
    const db = cluster.db as Redis;
    const { front } = cluster;
    const { url, instanceId } = cluster.gateways[0] as (typeof cluster.gateways)[number];
    const options = { retryMs: 200 };
    const both = async (count: number): Promise<WatchedClient[]> =>
      (
        await Promise.all([connect(count, options), connect(count, { ...options, transport: "streamable" })])
      ).flat();
    const clients = await both(HALF);
    const endsMeanwhile = await openRaw(front.url, "ends-meanwhile");
    const before = await idsByClient(db);
    const load = startLoad(clients, { random, concurrency: 2, pauseMs: 20, callMs: 15_000 });
    front.setMaxAge(sized(1500, 4000));
    front.cutAll("end");
    await wait(sized(500, 3000));

    const health = watchHealth(url);
    const leftAt = Date.now();
    await WAYS[way].leave(cluster);
    await wait(AWAY_MS / 3);
    const fresh = await both(sized(1, 3));
    const freshLoad = startLoad(fresh, { random, concurrency: 1, pauseMs: 20, callMs: 15_000 });
    const comesAndGoes = await openRaw(front.url, "comes-and-goes");
    await endRaw(front.url, endsMeanwhile);
    await endRaw(front.url, comesAndGoes);
    await wait(Math.max(0, leftAt + AWAY_MS - Date.now()));
    const last = health.seen.at(-1)?.store?.fallback;
    await WAYS[way].back(cluster);
    const backAt = Date.now();
    await eventually(async () => (await storeOf(url)).fallback?.inUse === false, 15_000);
    const returnMs = Date.now() - backAt;
    await wait(sized(300, 5000));
    await health.stop();
    front.setMaxAge(undefined);
    await Promise.all([load.stop(), freshLoad.stop()]);

    const after = await storeOf(url);
    const records = await readRecords(db);
    const ids = await idsByClient(db);
    const living = [...clients, ...fresh].map(({ name }) => name);
    const absent = living.filter((name) => !ids.has(name));
    const changed = clients.map(({ name }) => name).filter((name) => before.get(name) !== ids.get(name));
    const foreign = records.filter(({ owner }) => owner !== instanceId);
    const ghosts = [endsMeanwhile, comesAndGoes].filter((id) => records.some((record) => record.id === id));
    const surplus = records.length - living.length;
    const away = health.seen.filter(({ at }) => at > leftAt && at < backAt);
    const degradedAt = away.find(({ status }) => status === "degraded")?.at ?? Infinity;
    const undegraded = away.filter(({ at, status }) => at > degradedAt && status !== "degraded").length;
    const unready = health.seen.filter(({ code }) => code !== 200).length;
    const { violations, summary } = judge({ sameChild: true, initializes: 1 });
    const found = {
      absent,
      changed,
      foreign,
      ghosts,
      surplus,
      undegraded,
      unready,
      violations: violations(),
    };
    const holds = Object.values(found).every((one) =>
      typeof one === "number" ? one === 0 : one.length === 0,
    );
    note(
      `Redis ${way}, away ${AWAY_MS / 1000} s, SESSION_DURABILITY=${durability}`,
      "0 sessions lost; ready and degraded meanwhile; every living session in Redis afterwards, and no other",
      `${summary.results} of ${summary.calls} calls of ${living.length} clients answered once (${fresh.length} came meanwhile), ` +
        `${front.counts().cuts} cuts; ${changed.length + absent.length} sessions lost, ${ghosts.length + surplus} came back; ` +
        `degraded after ${ms(degradedAt - leftAt)}, ${unready} of ${health.seen.length} times not ready; ` +
        `${last?.pending} keys waited, written within ${ms(returnMs)}, ${after.fallback?.pending} left`,
      holds && after.status === "ok" && after.fallback?.pending === 0,
    );
    expect(found).toEqual({
      absent: [],
      changed: [],
      foreign: [],
      ghosts: [],
      surplus: 0,
      undegraded: 0,
      unready: 0,
      violations: [],
    });
    expect(after).toMatchObject({ status: "ok", fallback: { inUse: false, pending: 0 } });
    expect(last).toMatchObject({ inUse: true });

    if (form === "short") return;
    // What is in Redis is enough to go on with, when the one who wrote it is gone.
    await cluster.start(1);
    await cluster.kill(0);
    cluster.leave(0);
    await expireLease(db, instanceId);
    const works = async (client: WatchedClient) =>
      eventually(async () => (await client.call("peek", {}, 5000)).kind === "result", 20_000).then(
        () => true,
        () => false,
      );
    const goOn = await Promise.all([...clients, ...fresh].map(works));
    const kept = await idsByClient(db);
    const adopted = living.filter((name, at) => goOn[at] && kept.get(name) === ids.get(name)).length;
    note(
      `then kill -9, and another instance with what is in Redis (${way}, SESSION_DURABILITY=${durability})`,
      "every session goes on under its id",
      `${adopted} of ${living.length} sessions taken over`,
      adopted === living.length,
    );
    expect(adopted).toBe(living.length);
  },
  240_000,
);
