import { describe, expect, test } from "vitest";
import type { WatchedClient } from "../support/cluster-client.ts";
import type { History } from "../support/history.ts";
import { openFigures, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { setStage } from "./stage.ts";
import { breachesOf, connectStreamable, resumedBy } from "./streamable.ts";

const note = openFigures("7c Streamable HTTP: rolling restart");

/** How many calls of these clients had no result. */
function failedOf(clients: readonly WatchedClient[], history: History): string {
  const calls = clients.flatMap(({ name }) => history.client(name).calls);
  return `${calls.filter(({ outcomes }) => outcomes[0]?.kind !== "result").length} of ${calls.length}`;
}

describe.each(["http", "redis"] as const)("with the relay over %s", (relay) => {
  test("three instances are replaced one after the other and no call fails", async () => {
    const clientCount = sized(12, 60);
    const stage = await setStage({
      instances: 3,
      store: "redis",
      relay,
      env: { DRAIN_SECONDS: "5" },
    });
    const { judge, history, cluster, random } = stage;
    const clients = await connectStreamable(stage, clientCount);
    // Who drains has closed its door: over HTTP a client's answer to its question may not get there from elsewhere.
    const asks = relay !== "http";
    const load = startLoad(clients, { random, concurrency: 1, pauseMs: 200, callMs: 30_000, asks });
    await wait(1000);
    const exits = [];
    const drains: number[] = [];
    for (const index of [0, 1, 2]) {
      const start = performance.now();
      exits.push(await cluster.replace(index));
      drains.push(performance.now() - start);
      await wait(sized(500, 2000));
    }
    // Every client calls on, now on processes that none of them began with.
    await wait(3000);
    await load.stop();
    const { violations, summary } = judge({ mayRepeatAnswers: false, allNotifications: true });
    const breaches = breachesOf(clients);
    const [spec, sdk] = [true, false].map((isSpec) =>
      failedOf(
        clients.filter(({ version }) => (version === "spec") === isSpec),
        history,
      ),
    );
    note(
      `${relay}: 3 instances replaced under ${clientCount} clients that call every 200 ms, DRAIN_SECONDS=5`,
      "0 failed calls",
      `${spec} calls of clients that follow the specification and ${sdk} of SDK clients failed, ` +
        `${summary.repeatedExecutions} carried out twice, ${summary.missingNotifications} of ` +
        `${summary.notifications + summary.missingNotifications} notifications lost, ` +
        `${resumedBy(clients).lanes} requests' streams gone on with; ` +
        `longest replacement ${(Math.max(...drains) / 1000).toFixed(1)} s`,
      violations().length === 0 && breaches.length === 0,
    );
    expect(exits).toEqual(exits.map(() => ({ code: 0, signal: null })));
    expect({ violations: violations(), breaches }).toEqual({ violations: [], breaches: [] });
  }, 300_000);
});
