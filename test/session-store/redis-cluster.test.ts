import { createRedisMock, type RedisMock } from "js-redis-server";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis } from "../support/redis-server.ts";
import { openResp } from "../support/upstash-resp.ts";
import { aRecord } from "./records.ts";
import { describeSessionStore } from "./conformance.ts";

let cluster: RedisMock;

beforeAll(async () => {
  cluster = await createRedisMock({ cluster: { masters: 3 } });
});
afterAll(() => cluster.close());

const urlOf = (mock: RedisMock): string =>
  mock
    .addresses()
    .map(({ host, port }) => `redis://${host}:${port}`)
    .join(",");

const open = (url: string, prefix = "mcp:") =>
  openRedisSessionStore({ url, prefix, deadlineMs: 1000, log: createLog("silent") });

// Three nodes by js-redis-server, for the slots; its keys are not looked at, which redis.test.ts does.
describeSessionStore("Redis Cluster", "inside", async (prefix) => {
  const [one, other] = [open(urlOf(cluster), prefix), open(urlOf(cluster), prefix)];
  await Promise.all([one.ready(), other.ready()]);
  return { one, other };
});

test(
  "rejects with store_unavailable when the cluster is gone, and comes back with it",
  { timeout: 20_000 },
  async ({ skip }) => {
    const node = await startRedis(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
    onTestFinished(() => node.stop());
    const { restart, url } = node;
    if (!restart) return skip("the server cannot be restarted");
    await formCluster(url);
    const store = open(`${url},${url}`);
    onTestFinished(() => store.close());
    await store.ready();
    expect(await store.create(aRecord(), 60)).toBe(true);
    await node.pause?.();
    await expect(store.get("x")).rejects.toMatchObject({
      reason: "store_unavailable",
      cause: { code: "TIMEOUT" },
    });
    await restart();
    for (const verb of [() => store.create(aRecord(), 60), () => store.extend(["a", "b", "c"], 60)]) {
      await expect(verb()).rejects.toMatchObject({ reason: "store_unavailable" });
    }
    await formCluster(url);
    await eventually(() => store.ready());
    expect(await store.create(aRecord(), 60)).toBe(true);
  },
);

/** Gives every slot to the one node at `url`, and waits until it serves them. */
async function formCluster(url: string): Promise<void> {
  const raw = await openResp(url);
  await raw.send([["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]]);
  await eventually(async () => {
    const [reply] = await raw.send([["GET", "x"]]);
    expect(reply?.kind).toBe("nil");
  });
  raw.close();
}
