import { describe, expect, onTestFinished, test } from "vitest";
import { connectWatched } from "./cluster-client.ts";
import { startCluster, type ClusterOptions } from "./cluster.ts";
import { judge } from "./history-checker.ts";
import { History } from "./history.ts";
import type { SdkVersion } from "./sdk-clients.ts";

describe("cluster", () => {
  async function start(options: Partial<ClusterOptions> = {}) {
    const cluster = await startCluster({ instances: 1, store: "memory", front: { seed: 1 }, ...options });
    onTestFinished(() => cluster.close());
    const history = new History();
    const connect = async (version: SdkVersion, name: string) => {
      const client = await connectWatched({ version, baseUrl: cluster.front.url, history, name });
      onTestFinished(() => client.close());
      return client;
    };
    return { cluster, history, connect };
  }

  test.each<SdkVersion>(["v1", "v2"])(
    "a client of SDK %s lives through every tool without a fault",
    async (version) => {
      const { cluster, history, connect } = await start();
      const client = await connect(version, `tools-${version}`);
      await client.request("logging/setLevel", { level: "info" });
      await client.request("resources/subscribe", { uri: "ledger://count" });
      for (const [tool, given] of [
        ["add", {}],
        ["slow", { ms: 5 }],
        ["notify", { n: 4 }],
        ["ask", { what: "sampling" }],
        ["ask", { what: "roots" }],
        ["peek", {}],
      ] as const)
        expect(await client.call(tool, given)).toMatchObject({ kind: "result" });
      const { violations, summary } = judge(history, cluster.ledger(), {
        sameChild: true,
        initializes: 1,
        allNotifications: true,
      });
      expect(violations()).toEqual([]);
      expect(summary).toMatchObject({ calls: 6, results: 6, notifications: 4, streams: 1, children: 1 });
    },
  );

  test.each<SdkVersion>(["v1", "v2"])("what a client of SDK %s is refused is told apart", async (version) => {
    const { cluster, history, connect } = await start();
    const client = await connect(version, `refused-${version}`);
    expect(await client.call("nothing")).toMatchObject({ kind: "error", code: -32602 });
    expect(await client.call("slow", { ms: 5000 }, 50)).toEqual({ kind: "timeout" });
    cluster.leave(0);
    expect(await client.call("add")).toMatchObject({ kind: "refused", status: 502 });
    cluster.join(0);
    expect(await client.call("add")).toMatchObject({ kind: "result" });
    expect(judge(history, cluster.ledger()).violations()).toHaveLength(3);
  });

  test("with a relay missing, calls over two instances are refused with 503 and not carried out", async () => {
    const { cluster, history, connect } = await start({ instances: 2, store: "redis" });
    const { front } = cluster;
    front.setRoute(({ streamAt }) => streamAt);
    const client = await connect("v1", "two");
    expect((await client.call("add")).kind).toBe("result");
    front.setRoute(({ streamAt }, all) => all.find((one) => one !== streamAt));
    expect(await client.call("add")).toEqual({ kind: "refused", status: 503, reason: "session_elsewhere" });
    const { summary } = judge(history, cluster.ledger());
    expect(summary).toMatchObject({ results: 1, refused: 1, executions: 1 });
  });

  test("an instance can be replaced, killed and started again", async () => {
    const { cluster, connect } = await start({ instances: 2, store: "upstash" });
    const [first] = cluster.gateways;
    expect(await cluster.replace(0)).toEqual({ code: 0, signal: null });
    expect(cluster.gateways[0]?.pid).not.toBe(first?.pid);
    await cluster.kill(1);
    // The edge finds out by itself.
    cluster.front.setRoute(({ streamAt }) => streamAt);
    expect((await (await connect("v2", "after")).call("add")).kind).toBe("result");
    await cluster.start(1);
    expect(cluster.front.rotation().map(({ name }) => name)).toEqual(
      cluster.gateways.map(({ instanceId }) => instanceId),
    );
  });
});
