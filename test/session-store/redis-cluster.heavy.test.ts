import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import type { Entry } from "../../src/session-store/archive.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { eventually } from "../support/eventually.ts";
import {
  formCluster,
  startNode,
  startRedisCluster,
  type RedisClusterUnderTest,
} from "../support/redis-cluster.ts";
import { hasRedisServer } from "../support/redis-server.ts";
import { openResp } from "../support/upstash-resp.ts";
import { everyVerb, rejectsUnavailable } from "./backend.ts";
import { describeArchive } from "./conformance-archive.ts";
import { describeSessionStore } from "./conformance.ts";
import { plugInto } from "./plug.ts";
import { aRecord } from "./records.ts";

const optionsFor = (url: string, prefix = "mcp:") => ({
  url,
  prefix,
  deadlineMs: 1000,
  log: createLog("silent"),
});

function open(url: string): SessionStore {
  const store = openRedisSessionStore(optionsFor(url));
  onTestFinished(() => store.close());
  return store;
}

const cursorOf = (from: string | undefined): { done: string[]; node: string } =>
  JSON.parse(from ?? "") as { done: string[]; node: string };

describe.runIf(hasRedisServer)("a Redis Cluster", () => {
  let cluster: RedisClusterUnderTest;

  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster.stop());

  // Its keys are not looked at, which redis.test.ts does.
  describeSessionStore("Redis Cluster", "inside", async (prefix) => {
    const options = optionsFor(cluster.url, prefix);
    const [one, other] = [openRedisSessionStore(options), openRedisSessionStore(options)];
    await Promise.all([one.ready(), other.ready()]);
    return { one, other };
  });

  describeArchive("Redis Cluster", async (prefix) => {
    const options = optionsFor(cluster.url, prefix);
    const [archive, other] = [openRedisArchive(options), openRedisArchive(options)];
    const store = openRedisSessionStore(options);
    await Promise.all([archive.ready(), other.ready(), store.ready()]);
    return { archive, other, store };
  });

  async function openFilled(url: string, count: number) {
    const archive = openRedisArchive(optionsFor(url, `${randomUUID()}:`));
    onTestFinished(() => archive.close());
    await archive.ready();
    const entries = Array.from({ length: count }, (): Entry => ({
      key: `session:${randomUUID()}`,
      value: "{}",
      ttlMs: 60_000,
    }));
    await archive.write(entries, "absent");
    return { archive, keys: new Set(entries.map(({ key }) => key)) };
  }

  test("walks the masters by turns, each to its end", async () => {
    const { archive, keys } = await openFilled(cluster.url, 300);
    const turns: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await archive.read({ cursor, count: 1000 });
      for (const { key } of page.entries) keys.delete(key);
      cursor = page.cursor;
      if (cursor !== undefined && turns.at(-1) !== cursorOf(cursor).node) turns.push(cursorOf(cursor).node);
    } while (cursor !== undefined);
    expect(keys.size).toBe(0);
    expect(new Set(turns).size).toBe(turns.length);
    expect(turns.length).toBeGreaterThanOrEqual(2);
  });

  test("walks a master that took another's place in the middle of a walk, and starts anew with no cursor of its own", async () => {
    const { archive, keys } = await openFilled(cluster.url, 300);
    const { cursor = "" } = await archive.read({ count: 10 });
    for (const start of [JSON.stringify({ ...cursorOf(cursor), node: "127.0.0.1:1" }), "1234", '{"at":1}']) {
      const left = new Set(keys);
      for (let next: string | undefined = start; next !== undefined;) {
        const page = await archive.read({ cursor: next, count: 1000 });
        for (const { key } of page.entries) left.delete(key);
        next = page.cursor;
      }
      expect(left.size).toBe(0);
    }
  });

  test("goes on for the slots of other masters when one is killed, and rejects by the deadline for its own", async () => {
    const own = await startRedisCluster();
    onTestFinished(own.stop);
    const store = open(own.url);
    const { archive } = await openFilled(own.url, 100);
    await store.ready();
    const records = Array.from({ length: 60 }, () => aRecord());
    await Promise.all(records.map((record) => store.create(record, 60)));
    await own.nodes[0]?.stop();
    const began = performance.now();
    const verbs = await Promise.allSettled(records.map(({ id }) => store.get(id)));
    // Each has a deadline of one second, and all began at once.
    expect(performance.now() - began).toBeLessThan(3000);
    const served = verbs.filter(({ status }) => status === "fulfilled").length;
    expect(served).toBeGreaterThan(20);
    expect(served).toBeLessThan(60);
    for (const verb of verbs) {
      if (verb.status === "rejected") expect(verb.reason).toMatchObject({ reason: "store_unavailable" });
    }
    // What is left goes on when the cluster has noticed, too.
    const others = records.filter((_, at) => verbs[at]?.status === "fulfilled");
    await eventually(async () => {
      expect(await Promise.all(others.map(({ id }) => store.get(id)))).toEqual(others);
    });
    for (let cursor: string | undefined; ;) {
      // A walk never passes over a master that is away.
      const page = await archive.read({ cursor, count: 1000 }).catch((error: unknown) => error);
      if (page instanceof Error) {
        expect(page).toMatchObject({ reason: "store_unavailable" });
        break;
      }
      cursor = (page as { cursor: string | undefined }).cursor;
      expect(cursor).toBeDefined();
    }
  });

  test("rejects with store_unavailable when the cluster is gone, and comes back with it", async () => {
    const node = await startNode();
    onTestFinished(() => node.stop());
    const { restart, url } = node;
    await formCluster([url]);
    const store = open(`${url},${url}`);
    await store.ready();
    expect(await store.create(aRecord(), 60)).toBe(true);
    node.pause?.();
    await expect(store.get("x")).rejects.toMatchObject({
      reason: "store_unavailable",
      cause: { code: "TIMEOUT" },
    });
    await restart?.();
    await Promise.all(everyVerb(store).map(([, call]) => rejectsUnavailable(call())));
    // It finds its slots in a file of its own.
    await eventually(() => store.ready());
    expect(await store.create(aRecord(), 60)).toBe(true);
  });

  test("never sends a create again whose answer was lost", async () => {
    const node = await startNode();
    onTestFinished(() => node.stop());
    await formCluster([node.url]);
    const plug = await plugInto(Number(new URL(node.url).port));
    onTestFinished(plug.pull);
    const raw = await openResp(node.url);
    onTestFinished(() => raw.close());
    await raw.send([["CONFIG", "SET", "cluster-announce-port", `${plug.port}`]]);
    const url = `redis://127.0.0.1:${plug.port}`;
    const store = open(`${url},${url}`);
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
});
