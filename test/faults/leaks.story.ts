import { readdirSync, readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startCluster } from "../support/cluster.ts";
import type { SpawnedGateway } from "../support/spawn-gateway.ts";
import { openTestStream, type TestStream } from "../support/sse-client.ts";
import { KEY } from "../support/start-gateway.ts";
import { openFigures, sized } from "./figures.ts";
import { wait } from "./load.ts";

const note = openFigures("6 Leaks");
const CLIENTS = 5;

const fdsOf = ({ pid }: SpawnedGateway) => readdirSync(`/proc/${pid}/fd`).length;
const childrenOf = ({ pid }: SpawnedGateway) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).length;

test("after hundreds of adoptions no key, child, descriptor or subscription is left", async () => {
  const adoptions = sized(100, 500);
  const cluster = await startCluster({
    instances: 1,
    store: "redis",
    relay: "redis",
    front: { seed: 1 },
    env: { SESSION_ORPHAN_GRACE: "1", HEARTBEAT_SECONDS: "1" },
  });
  onTestFinished(() => cluster.close(), 60_000);
  const [gateway] = cluster.gateways as [SpawnedGateway];
  const db = cluster.db as Redis;
  const look = async () => ({
    fds: fdsOf(gateway),
    children: childrenOf(gateway),
    channels: (await db.call("PUBSUB", "CHANNELS")) as string[],
    keys: (await db.keys("*")).sort(),
  });
  /** As an SDK client opens a stream: the version only once it has introduced itself. */
  const open = (client: number, isBack: boolean) =>
    openTestStream(gateway.url, {
      path: `/mcp/sse?clientId=leak-${client}`,
      headers: { "x-api-key": KEY, ...(isBack ? { "mcp-protocol-version": "2025-06-18" } : {}) },
    });

  // As many clients come and go first, so that what is opened once for good is open: connections that are kept too.
  const warm = async (client: number) => {
    const stream = await open(client, false);
    await stream.initialize();
    await Promise.all([1, 2, 3].map((id) => stream.call(id, "ping")));
    stream.cut();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, client) => warm(100 + client)));
  await eventually(async () => expect((await look()).children).toBe(0), 20_000);
  await wait(1500);
  const before = await look();

  let adopted = 0;
  let calls = 0;
  const life = async (client: number) => {
    let stream: TestStream = await open(client, false);
    await stream.initialize();
    const first = stream.sessionId;
    for (let turn = 0; turn < adoptions / CLIENTS; turn += 1) {
      stream.cut();
      stream = await open(client, true);
      if (stream.sessionId === first) adopted += 1;
      const answer = await stream.call(`leak-${client}-${(calls += 1)}`, "tools/call", {
        name: "peek",
        arguments: { nonce: `leak-${client}-${calls}` },
      });
      expect(answer.result).toBeDefined();
    }
    stream.cut();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, client) => life(client)));

  const sessionKeys = (keys: string[]) => keys.filter((key) => !/^mcp:(instance|client):/.test(key));
  const settled = await eventually(async () => {
    const now = await look();
    expect(now.children).toBe(0);
    expect(sessionKeys(now.keys)).toEqual([]);
    expect(now.fds).toBeLessThanOrEqual(before.fds + 2);
    return now;
  }, 30_000).catch(look);
  const traces = settled.keys.filter((key) => key.startsWith("mcp:client:"));
  const lasting = (await Promise.all(traces.map((key) => db.ttl(key)))).filter((ttl) => ttl < 0).length;
  const figure = {
    children: settled.children,
    sessionKeys: sessionKeys(settled.keys),
    fds: Math.max(0, settled.fds - before.fds - 2),
    channels: settled.channels.length - before.channels.length,
    lasting,
    adopted,
  };
  const isClean = { children: 0, sessionKeys: [], fds: 0, channels: 0, lasting: 0, adopted: adoptions };
  note(
    `${adoptions} adoptions of ${CLIENTS} clients, all gone afterwards`,
    "no key, child, descriptor or subscription left; clients' traces expire",
    `${adopted} adopted; ${figure.children} children, ${figure.sessionKeys.length} keys, ` +
      `${settled.fds - before.fds} descriptors, ${figure.channels} subscriptions more than before; ` +
      `${traces.length} traces with an expiry`,
    JSON.stringify(figure) === JSON.stringify(isClean),
  );
  expect(figure).toEqual(isClean);
});
