import { describe, expect, onTestFinished, test } from "vitest";
import type { Cluster } from "../support/cluster.ts";
import type { FrontProxy } from "../support/front-proxy.ts";
import { ms, openFigures, percentile, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { setStage } from "./stage.ts";

const note = openFigures("2 Relay, three instances");
const SECRET = "a-secret-of-the-stories-0123456789abcdef";

/** Commands that the store has been given: those on the bill, or all that Redis has processed. */
async function commandsOf({ upstash, db }: Cluster): Promise<number> {
  if (upstash !== undefined) return upstash.billed();
  const text = (await db?.info("stats")) ?? "";
  return Number(/total_commands_processed:(\d+)/.exec(text)?.[1]);
}

function routePosts(front: FrontProxy, where: "owner" | "elsewhere"): void {
  front.setRoute(({ method, streamAt }, rotation) => {
    if (method !== "POST" || streamAt === undefined) return undefined;
    if (where === "owner") return streamAt;
    return rotation.find(({ name }) => name !== streamAt.name);
  });
}

describe.each([
  ["http", "redis"],
  ["redis", "redis"],
  ["upstash", "upstash"],
] as const)("with the relay over %s", (relay, store) => {
  const env = { SESSION_RELAY_SECRET: SECRET };

  test("no call is lost, repeated or failed while every stream is cut every 5 seconds", async () => {
    const ageMs = sized(2500, 5000);
    const { cluster, connect, judge, random } = await setStage({
      instances: 3,
      store,
      relay,
      env,
      front: { maxAgeMs: ageMs, cutBy: "fin" },
    });
    const clients = await connect(8, { retryMs: 100 });
    const load = startLoad(clients, { random, pauseMs: 30 });
    await wait(sized(9000, 40_000));
    await load.stop();
    const { violations, summary } = judge({ sameChild: true, initializes: 1 });
    const { cuts } = cluster.front.counts();
    note(
      `${relay}: 8 clients, random instance for each request, each stream cut after ${ageMs / 1000} s`,
      "0 lost, 0 carried out twice, 0 failed",
      `${summary.calls} calls, ${summary.lost} lost, ${summary.repeatedExecutions} twice, ` +
        `${summary.errors + summary.refused} failed; ${cuts} cuts, ${summary.missingNotifications} notifications lost in the edge`,
      violations().length === 0,
    );
    expect(violations()).toEqual([]);
  });

  test("a relayed call costs little more than a local one", async () => {
    const { cluster, connect, judge } = await setStage({ instances: 2, store, relay, env });
    // Where the stream is, there is the session: this client is never cut.
    const [client] = await connect(1);
    if (client === undefined) throw new Error("no client");
    onTestFinished(() => cluster.front.setRoute(undefined));
    const rounds = sized(100, 500);
    const run = async (where: "owner" | "elsewhere") => {
      routePosts(cluster.front, where);
      for (let warm = 0; warm < 20; warm += 1) await client.call("add");
      const before = await commandsOf(cluster);
      const times: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const start = performance.now();
        await client.call("add");
        times.push(performance.now() - start);
      }
      return { times, commands: (await commandsOf(cluster)) - before };
    };
    const local = await run("owner");
    const relayed = await run("elsewhere");
    const [addedP50, addedP99] = [0.5, 0.99].map(
      (share) => percentile(relayed.times, share) - percentile(local.times, share),
    ) as [number, number];
    const perCall = (relayed.commands - local.commands) / rounds;
    const { violations } = judge({ sameChild: true, initializes: 1 });
    note(
      `${relay}: ${rounds} calls, relayed against local`,
      "each POST relayed, answers come by the stream",
      `added p50 ${ms(addedP50)}, p99 ${ms(addedP99)} (local p50 ${ms(percentile(local.times, 0.5))}); ` +
        `${perCall.toFixed(2)} ${store === "upstash" ? "billed" : "Redis"} commands a call`,
      violations().length === 0,
    );
    expect(violations()).toEqual([]);
  });
});
