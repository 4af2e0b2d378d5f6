import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough } from "node:stream";

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { openRedisRelay } from "../../src/relay/redis.ts";
import { openRedisArchive } from "../../src/session-store/redis-archive.ts";
import { readCertificates } from "../../src/session-store/redis-certificate.ts";
import { redisOptions } from "../../src/session-store/redis-connection.ts";
import { readRedisUrl } from "../../src/session-store/redis-url.ts";
import { openRedisSessionStore } from "../../src/session-store/redis.ts";
import { aMessage, recorder } from "../relay/conformance.ts";
import { parts } from "../relay/instances.ts";
import { eventually } from "../support/eventually.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { freePort, hasRedisServer, startRedis } from "../support/redis-server.ts";
import { makeAuthority, startTlsRedis, tlsFlags, type Authority } from "../support/redis-tls.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { keysOf } from "./backend.ts";
import { describeArchive } from "./conformance-archive.ts";
import { describeSessionStore } from "./conformance.ts";
import { plugInto } from "./plug.ts";
import { aRecord } from "./records.ts";

describe.runIf(hasRedisServer)("Redis over TLS", () => {
  let authority: Authority;
  let redis: Awaited<ReturnType<typeof startTlsRedis>>;
  let raw: RespConnection;

  beforeAll(async () => {
    authority = await makeAuthority();
    redis = await startTlsRedis(authority, await authority.issue("IP:127.0.0.1"));
    raw = await openResp(redis.url);
  });
  afterAll(async () => {
    raw.close();
    await redis.stop();
    await authority.remove();
  });

  /** What opens stores and archives through a port that can be pulled. */
  async function through(prefix: string) {
    const plug = await plugInto(redis.tlsPort);
    const url = `rediss://127.0.0.1:${plug.port}`;
    return { plug, url, prefix, caFile: authority.caFile, deadlineMs: 1000, log: createLog("silent") };
  }

  describeSessionStore("Redis over TLS", "outside", async (prefix) => {
    const { plug, ...options } = await through(prefix);
    const [one, other] = [openRedisSessionStore(options), openRedisSessionStore(options)];
    await Promise.all([one.ready(), other.ready()]);
    return { one, other, outside: { ...keysOf(raw), unplug: plug.pull }, end: plug.pull };
  });

  describeArchive("Redis over TLS", async (prefix = "mcp:") => {
    const { plug, ...options } = await through(prefix);
    const [archive, other] = [openRedisArchive(options), openRedisArchive(options)];
    const store = openRedisSessionStore(options);
    await Promise.all([archive.ready(), other.ready(), store.ready()]);
    return { archive, other, store, unplug: plug.pull, end: plug.pull };
  });

  function open(port: number, caFile?: string, deadlineMs = 1000) {
    const out = new PassThrough();
    const log = createLog("debug", out);
    const url = `rediss://127.0.0.1:${port}`;
    const store = openRedisSessionStore({ url, caFile, prefix: `${randomUUID()}:`, deadlineMs, log });
    onTestFinished(() => store.close());
    return { store, told: () => String(out.read() ?? "") };
  }

  test.each([
    ["of an unknown authority", false, "IP:127.0.0.1", /signed by nobody that is trusted/],
    ["for another host", true, "DNS:redis.example,IP:127.0.0.2", /for another host name/],
  ])(
    "refuses a certificate %s in plain words, told once, and serves once it is mended",
    async (_, isKnown, names, words) => {
      const own = await makeAuthority();
      onTestFinished(own.remove);
      const server = await startTlsRedis(own, await own.issue(names));
      onTestFinished(server.stop);
      const plug = await plugInto(server.tlsPort);
      onTestFinished(plug.pull);
      const { store, told } = open(plug.port, isKnown ? own.caFile : authority.caFile);
      const error: unknown = await store.ready().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as Error).message).toMatch(/^REDIS_URL: the server is not trusted: /);
      expect((error as Error).message).toMatch(words);
      await expect(store.create(aRecord(), 60)).rejects.toMatchObject({ reason: "store_unavailable" });
      await expect(store.ready()).rejects.toBeInstanceOf(ConfigError);
      const control = await openResp(server.url);
      onTestFinished(() => control.close());
      const met = plug.connections();
      await eventually(() => plug.connections() > met + 1);
      const mended = await (isKnown ? own : authority).issue("IP:127.0.0.1");
      const set = ["CONFIG", "SET", "tls-cert-file", mended.certFile, "tls-key-file", mended.keyFile];
      expect((await control.send([set]))[0]).toMatchObject({ text: "OK" });
      await eventually(() => store.ready());
      expect(await store.create(aRecord(), 60)).toBe(true);
      const log = told();
      expect(log.match(/is not trusted/g)).toHaveLength(1);
      expect(log).toContain('"level":"error"');
      expect(log).not.toMatch(/127\.0\.0|redis\.example/);
    },
  );

  test("refuses a certificate that no known authority signed when none is named", async () => {
    await expect(open(redis.tlsPort).store.ready()).rejects.toThrow(/REDIS_CA_FILE/);
  });

  test("serves from a cluster whose nodes speak TLS, and refuses certificates in plain words", async () => {
    const good = await authority.issue("IP:127.0.0.1");
    const certificates = [good, await authority.issue("DNS:redis.example")];
    const ports: number[] = [];
    const cluster = await startRedisCluster(2, async () => {
      const at = ports.push(await freePort()) - 1;
      const flags = tlsFlags(ports[at] ?? 0, certificates[at] ?? good, authority.caFile);
      return [...flags, "--tls-cluster", "yes"];
    });
    onTestFinished(cluster.stop);
    const url = ports.map((port) => `rediss://127.0.0.1:${port}`).join(",");
    const openOne = (caFile?: string) => {
      const out = new PassThrough();
      const log = createLog("debug", out);
      const store = openRedisSessionStore({ url, caFile, prefix: "mcp:", deadlineMs: 1000, log });
      onTestFinished(() => store.close());
      return { store, told: () => String(out.read()).match(/is not trusted/g) };
    };
    const [known, unknown] = [openOne(authority.caFile), openOne()];
    await expect(unknown.store.ready()).rejects.toThrow(
      /^REDIS_URL: the server is not trusted: .*REDIS_CA_FILE/,
    );
    await expect(unknown.store.get("x")).rejects.toMatchObject({ reason: "store_unavailable" });
    expect(unknown.told()).toHaveLength(1);

    await expect(known.store.ready()).rejects.toThrow(/for another host name/);
    expect(known.told()).toHaveLength(1);
    const control = await openResp(cluster.nodes[1]?.url ?? "");
    onTestFinished(() => control.close());
    await control.send([["CONFIG", "SET", "tls-cert-file", good.certFile, "tls-key-file", good.keyFile]]);
    await eventually(() => Promise.all(Array.from({ length: 20 }, () => known.store.create(aRecord(), 60))));
    await eventually(() => known.store.ready());
  });

  test("carries the relay over TLS, with the same options", async () => {
    const address = readRedisUrl(`rediss://127.0.0.1:${redis.tlsPort}/1`);
    const connection = { ...redisOptions(address, 1000, readCertificates(authority.caFile)), db: address.db };
    const [one, two] = [recorder(), recorder()];
    const relays = [one, two].map((who) =>
      openRedisRelay({ ...parts(who), nodes: address.nodes, connection, prefix: "mcp:" }),
    );
    const [sender, peer] = await Promise.all(relays);
    if (!sender || !peer) throw new Error("two were opened");
    onTestFinished(async () => void (await Promise.all([sender.close(), peer.close()])));
    const sent = await sender.send({ ...peer, instanceId: two.instanceId }, aMessage(), 5000);
    expect(sent).toEqual({ kind: "answered", answer: { ok: true } });
    expect(two.kinds()).toEqual(["post"]);
  });

  test("calls a Redis that speaks no TLS unavailable", async () => {
    const { store } = open(Number(new URL(redis.url).port), authority.caFile, 300);
    await expect(store.ready()).rejects.toMatchObject({ reason: "store_unavailable" });
  });

  test("takes a file with several authorities, and words between them", async () => {
    const file = join(authority.directory, "bundle.pem");
    const other = await makeAuthority();
    onTestFinished(other.remove);
    const [one, two] = await Promise.all([
      readFile(other.caFile, "utf8"),
      readFile(authority.caFile, "utf8"),
    ]);
    await writeFile(file, `# one\n${one}\n# two\r\n${two}`);
    await expect(open(redis.tlsPort, file).store.ready()).resolves.toBeUndefined();
  });
});

test.each([
  ["is missing", undefined],
  ["is empty", ""],
  ["holds no certificate", "canary"],
  ["holds a damaged one", "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n"],
])("refuses a CA file that %s, and does not show it", async (_, text) => {
  const authority = await makeAuthority();
  onTestFinished(authority.remove);
  const caFile = join(authority.directory, "canary.pem");
  if (text !== undefined) await writeFile(caFile, text);
  const options = {
    url: "rediss://127.0.0.1:1",
    caFile,
    prefix: "mcp:",
    deadlineMs: 100,
    log: createLog("silent"),
  };
  for (const opening of [() => openRedisSessionStore(options), () => openRedisArchive(options)]) {
    expect(opening).toThrow(ConfigError);
    expect(opening).toThrow(/^REDIS_CA_FILE: (?!.*canary)/);
  }
});

test("needs no CA file where there is no TLS", async () => {
  const redis = await startRedis();
  onTestFinished(redis.stop);
  const options = {
    url: redis.url,
    caFile: "/nowhere",
    prefix: "mcp:",
    deadlineMs: 1000,
    log: createLog("silent"),
  };
  const store = openRedisSessionStore(options);
  onTestFinished(store.close);
  await expect(store.ready()).resolves.toBeUndefined();
});
