import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { eventually } from "./eventually.ts";
import { startFaultProxy, type FaultProxy } from "./fault-proxy.ts";
import { startFrontProxy, type FrontProxy, type FrontProxyOptions } from "./front-proxy.ts";
import { readLedger, type LedgerLine } from "./history.ts";
import { startRedis, type RedisUnderTest } from "./redis-server.ts";
import { spawnGateway, type Exit, type SpawnedGateway } from "./spawn-gateway.ts";
import { startUpstash, type UpstashUnderTest } from "./upstash-server.ts";

export type ClusterStore = "memory" | "redis" | "upstash";

export interface ClusterOptions {
  instances: number;
  store: ClusterStore;
  /** Unset: no relay. */
  relay?: "http" | "redis" | "upstash";
  /** Further settings of every instance. */
  env?: Record<string, string>;
  front?: FrontProxyOptions;
  /** Argv of the server behind; the ledger server when left out. */
  command?: readonly string[];
  /** Command line of Redis. */
  redisFlags?: readonly string[];
}

/** Real gateways on one store, with a front proxy before them and a fault proxy before the store. */
export interface Cluster {
  readonly front: FrontProxy;
  /** By position; a restarted one stands where its predecessor stood. */
  readonly gateways: readonly SpawnedGateway[];
  /** Absent with the memory store. */
  readonly redis: RedisUnderTest | undefined;
  readonly upstash: UpstashUnderTest | undefined;
  /** Between the gateways and their store: Redis, or the Upstash stand-in. */
  readonly storeProxy: FaultProxy | undefined;
  /** A connection of the test's own to Redis, past the fault proxy. */
  readonly db: Redis | undefined;
  ledger(): LedgerLine[];
  /** Out of rotation and into it again; what is under way stays. */
  leave(index: number): void;
  join(index: number): void;
  /** SIGKILL. The front learns of it by itself, from refused connections. */
  kill(index: number): Promise<void>;
  /** SIGTERM, as Railway does it: out of rotation first. Resolves when the process has ended. */
  term(index: number): Promise<Exit>;
  freeze(index: number): void;
  thaw(index: number): void;
  /** A new process at this position, in rotation. */
  start(index: number): Promise<SpawnedGateway>;
  /** What a deploy does: the new process comes first, then the old one goes. Answers how the old one ended. */
  replace(index: number): Promise<Exit>;
  /** Ends everything. Safe to call twice. */
  close(): Promise<void>;
}

const LEDGER_SERVER = fileURLToPath(new URL("../fixtures/ledger-server.mjs", import.meta.url));
const READY_MS = 20_000;

/** Starts all of it; the instances are ready and in rotation. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { instances, store, relay, env = {}, front: frontOptions, redisFlags = [] } = options;
  const command = options.command ?? [process.execPath, LEDGER_SERVER];
  const directory = await mkdtemp(join(tmpdir(), "cluster-"));
  const ledgerFile = join(directory, "ledger.jsonl");
  // With a flag of its own it is never a server that others use too, so it may be frozen and emptied.
  const redis = store === "memory" ? undefined : await startRedis(["--loglevel", "warning", ...redisFlags]);
  const upstash =
    store === "upstash" ? await startUpstash({ redisUrl: (redis as RedisUnderTest).url }) : undefined;
  const target = upstash?.url ?? redis?.url;
  const storeProxy =
    target === undefined ? undefined : await startFaultProxy({ port: Number(new URL(target).port) });
  const db = redis === undefined ? undefined : new Redis(redis.url, { lazyConnect: false });
  db?.on("error", () => undefined);
  const front = await startFrontProxy(frontOptions);
  const gateways: SpawnedGateway[] = [];
  const ended: Promise<unknown>[] = [];

  const settings: Record<string, string> = {
    LEDGER_FILE: ledgerFile,
    MCP_SERVER_ENV: "LEDGER_FILE",
    TRUST_PROXY: "1",
    MAX_SESSIONS_PER_KEY: "1000",
    MAX_CHILDREN: "1000",
    LOG_LEVEL: "info",
    ...storeSettings(),
    ...(relay === undefined ? {} : { SESSION_RELAY: "on", SESSION_RELAY_DRIVER: relay }),
    ...env,
  };

  function storeSettings(): Record<string, string> {
    if (storeProxy === undefined) return {};
    if (upstash === undefined) return { REDIS_URL: `redis://127.0.0.1:${storeProxy.port}` };
    return {
      UPSTASH_REDIS_REST_URL: `http://127.0.0.1:${storeProxy.port}`,
      UPSTASH_REDIS_REST_TOKEN: upstash.token,
    };
  }

  const at = (index: number): SpawnedGateway => {
    const gateway = gateways[index];
    if (gateway === undefined) throw new Error(`there is no instance ${index}`);
    return gateway;
  };

  async function spawnReady(): Promise<SpawnedGateway> {
    const gateway = await spawnGateway({ env: settings, command });
    ended.push(gateway.exited);
    await eventually(async () => (await fetch(`${gateway.url}/health/ready`)).status === 200, READY_MS);
    return gateway;
  }
  const enter = ({ instanceId, port }: SpawnedGateway) => front.add({ name: instanceId, port });

  async function start(index: number): Promise<SpawnedGateway> {
    const before = gateways[index];
    const gateway = await spawnReady();
    if (before !== undefined) front.remove(before.instanceId);
    gateways[index] = gateway;
    enter(gateway);
    return gateway;
  }

  function endOne(gateway: SpawnedGateway): Promise<Exit> {
    front.remove(gateway.instanceId);
    gateway.signal("SIGTERM");
    return gateway.exited;
  }

  async function replace(index: number): Promise<Exit> {
    const old = at(index);
    const next = await spawnReady();
    gateways[index] = next;
    enter(next);
    return endOne(old);
  }

  let closing: Promise<void> | undefined;
  async function close(): Promise<void> {
    await storeProxy?.heal();
    redis?.resume?.();
    // A frozen process does not hear SIGTERM.
    for (const gateway of gateways) gateway.signal("SIGCONT");
    await Promise.all(gateways.map((gateway) => gateway.end()));
    await Promise.all(ended);
    await front.close();
    db?.disconnect();
    await storeProxy?.close();
    await upstash?.close();
    await redis?.stop();
    await rm(directory, { recursive: true, force: true });
  }

  await Promise.all(Array.from({ length: instances }, (_, index) => start(index)));
  return {
    front,
    gateways,
    redis,
    upstash,
    storeProxy,
    db,
    ledger: () => readLedger(ledgerFile),
    leave: (index) => front.remove(at(index).instanceId),
    join: (index) => enter(at(index)),
    kill: async (index) => {
      at(index).signal("SIGKILL");
      await at(index).exited;
    },
    term: (index) => endOne(at(index)),
    freeze: (index) => at(index).signal("SIGSTOP"),
    thaw: (index) => at(index).signal("SIGCONT"),
    start,
    replace,
    close: () => (closing ??= close()),
  };
}
