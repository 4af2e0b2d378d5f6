import { createRedisMock, type RedisMock } from "js-redis-server";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { eventually } from "../support/eventually.ts";
import { startRedis } from "../support/redis-server.ts";
import { openResp } from "../support/upstash-resp.ts";
import { plugInto } from "./plug.ts";
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
    node.pause?.();
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

test("never sends a create again whose answer was lost", async ({ skip }) => {
  const node = await startRedis(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
  onTestFinished(() => node.stop());
  if (node.kind !== "redis-server") return skip("the server knows no flags");
  await formCluster(node.url);
  const plug = await plugInto(Number(new URL(node.url).port));
  onTestFinished(plug.pull);
  const raw = await openResp(node.url);
  onTestFinished(() => raw.close());
  await raw.send([["CONFIG", "SET", "cluster-announce-port", `${plug.port}`]]);
  const url = `redis://127.0.0.1:${plug.port}`;
  const store = open(`${url},${url}`);
  onTestFinished(() => store.close());
  await eventually(() => store.ready());
  plug.swallow();
  const record = aRecord();
  // Sent again, it would resolve with false, for its own record is there.
  const lost = expect(store.create(record, 60)).rejects.toMatchObject({ cause: { code: "DISCONNECTED" } });
  await eventually(async () =>
    expect((await raw.send([["GET", `mcp:session:${record.id}`]]))[0]?.kind).toBe("bulk"),
  );
  plug.cut();
  await lost;
  await eventually(() => store.ready());
  expect(await store.get(record.id)).toEqual(record);
});

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
