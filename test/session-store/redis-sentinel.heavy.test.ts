import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";

import { describe, expect, onTestFinished, test } from "vitest";

import { createLog } from "../../src/log.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { eventually } from "../support/eventually.ts";
import { BINARY, freePort, hasRedisServer, startRedis } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { aRecord } from "./records.ts";

const PASSWORD = "p@ss:w/rd";
const MASTER = "my-master";

const portOf = (url: string): string => new URL(url).port;

/** One sentinel that watches the master at a port, and acts alone. */
async function startSentinel(masterPort: string): Promise<{ port: number; raw: RespConnection }> {
  const directory = await mkdtemp(join(tmpdir(), "sentinel-test-"));
  const [port, file] = [await freePort(), join(directory, "sentinel.conf")];
  const lines = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${directory}`,
    `sentinel monitor ${MASTER} 127.0.0.1 ${masterPort} 1`,
    `sentinel auth-pass ${MASTER} ${PASSWORD}`,
    `sentinel down-after-milliseconds ${MASTER} 500`,
    `sentinel failover-timeout ${MASTER} 2000`,
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  const child = spawn(BINARY ?? "redis-server", [file, "--sentinel"], { stdio: "ignore" });
  const exited = once(child, "exit");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
    await rm(directory, { recursive: true, force: true });
  });
  const raw = await eventually(() => openResp(`redis://127.0.0.1:${port}`));
  onTestFinished(() => raw.close());
  return { port, raw };
}

async function startPair() {
  const flags = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"];
  const master = await startRedis(flags);
  onTestFinished(master.stop);
  const replica = await startRedis([...flags, "--replicaof", "127.0.0.1", portOf(master.url)]);
  onTestFinished(replica.stop);
  return { master, replica };
}

describe.runIf(hasRedisServer)("a master behind sentinels", () => {
  test(
    "is found by its name, and its successor after a failover; credentials are the master's",
    { timeout: 40_000 },
    async () => {
      const { master, replica } = await startPair();
      const sentinel = await startSentinel(portOf(master.url));
      const gone = await freePort();
      const hosts = `127.0.0.1:${gone},127.0.0.1:${sentinel.port}`;
      const url = `redis+sentinel://default:${encodeURIComponent(PASSWORD)}@${hosts}/${MASTER}/2`;
      const out = new PassThrough();
      const options = { url, prefix: `${randomUUID()}:`, deadlineMs: 1000, log: createLog("debug", out) };
      const [store, archive] = [openRedisSessionStore(options), openRedisArchive(options)];
      onTestFinished(async () => void (await Promise.all([store.close(), archive.close()])));
      await eventually(() => Promise.all([store.ready(), archive.ready()]));
      const record = aRecord();
      expect(await store.create(record, 600)).toBe(true);

      // The record is with the replica, and the sentinel knows the replica.
      const password = encodeURIComponent(PASSWORD);
      const raw = await openResp(replica.url.replace("//", `//default:${password}@`).concat("/2"));
      onTestFinished(() => raw.close());
      const key = `${options.prefix}session:${record.id}`;
      await eventually(async () => expect((await raw.send([["GET", key]]))[0]?.kind).toBe("bulk"));
      await eventually(async () => {
        const [replicas] = await sentinel.raw.send([["SENTINEL", "REPLICAS", MASTER]]);
        expect(replicas?.kind === "array" && replicas.items.length).toBe(1);
      });

      await master.stop();
      await expect(store.create(aRecord(), 60)).rejects.toMatchObject({ reason: "store_unavailable" });
      await eventually(() => store.create(aRecord(), 60));
      expect(await store.get(record.id)).toEqual(record);
      await eventually(() => archive.ready());
      expect((await archive.readKeys([`session:${record.id}`]))[0]?.key).toBe(`session:${record.id}`);
      const told = String(out.read());
      expect(told).not.toMatch(/127\.0\.0\.1|p@ss|p%40ss|my-master/);
      expect(told).toContain("Redis connection is back");
    },
  );

  test("is unavailable by the deadline when no sentinel answers", async () => {
    const url = `redis+sentinel://127.0.0.1:${await freePort()}/${MASTER}`;
    const store = openRedisSessionStore({ url, prefix: "mcp:", deadlineMs: 500, log: createLog("silent") });
    onTestFinished(() => store.close());
    await expect(store.ready()).rejects.toMatchObject({ reason: "store_unavailable" });
    await expect(store.get("x")).rejects.toMatchObject({ reason: "store_unavailable" });
  });
});
