import { eventually } from "./eventually.ts";
import { freePort, startRedis, type RedisUnderTest } from "./redis-server.ts";
import { openResp, type Command, type RespConnection } from "./upstash-resp.ts";

const SLOTS = 16_384;

export interface RedisClusterUnderTest {
  nodes: readonly RedisUnderTest[];
  /** All nodes, as a list of URLs. */
  url: string;
  /** Ends every node. Safe to call twice. */
  stop: () => Promise<void>;
}

/** A node that belongs to no cluster yet, and finds out within a second that another is gone. */
export const startNode = async (flags: readonly string[] = []): Promise<RedisUnderTest> =>
  startRedis([
    ...["--cluster-enabled", "yes", "--cluster-port", `${await freePort()}`],
    ...["--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "1000"],
    ...["--cluster-require-full-coverage", "no", ...flags],
  ]);

async function say(raw: RespConnection, ...command: Command): Promise<string> {
  const [reply] = await raw.send([command]);
  if (reply?.kind === "error") throw new Error(reply.text);
  return reply?.kind === "bulk" ? reply.bytes.toString() : "";
}

/** Gives every slot to the nodes, in even parts and in order, and waits until all of them serve. */
export async function formCluster(urls: readonly string[]): Promise<void> {
  const raws = await Promise.all(urls.map(openResp));
  const first = (at: number): number => Math.floor((at * SLOTS) / raws.length);
  for (const [at, raw] of raws.entries()) {
    await say(raw, "CLUSTER", "ADDSLOTSRANGE", `${first(at)}`, `${first(at + 1) - 1}`);
    await say(raw, "CLUSTER", "SET-CONFIG-EPOCH", `${at + 1}`);
  }
  for (const [at, raw] of raws.entries()) {
    if (at === 0) continue;
    const nodes = await say(raws[0] as RespConnection, "CLUSTER", "NODES");
    const [, port = "", busPort = ""] = /:(\d+)@(\d+)/.exec(nodes) ?? [];
    await say(raw, "CLUSTER", "MEET", "127.0.0.1", port, busPort);
  }
  await eventually(async () => {
    for (const raw of raws) {
      const info = await say(raw, "CLUSTER", "INFO");
      if (!info.includes("cluster_state:ok") || !info.includes(`cluster_slots_ok:${SLOTS}`))
        throw new Error("the cluster does not serve yet");
    }
  });
  for (const raw of raws) raw.close();
}

/**
 * A Redis Cluster of masters without replicas, which goes on when one of them is gone.
 *
 * @param flagsFor further flags of one node.
 */
export async function startRedisCluster(
  masters = 3,
  flagsFor: () => Promise<readonly string[]> = async () => [],
): Promise<RedisClusterUnderTest> {
  const nodes = await Promise.all(Array.from({ length: masters }, async () => startNode(await flagsFor())));
  const urls = nodes.map(({ url }) => url);
  await formCluster(urls);
  return {
    nodes,
    url: urls.join(","),
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  };
}
