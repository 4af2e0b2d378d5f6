import { expect, test } from "vitest";
import { openFigures, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { setStage } from "./stage.ts";

const note = openFigures("3 Rolling restart");

test("three instances are replaced one after the other and no call fails", async () => {
  const clientCount = sized(12, 100);
  const { connect, judge, cluster, random } = await setStage({
    instances: 3,
    store: "redis",
    relay: "http",
    env: { DRAIN_SECONDS: "5" },
  });
  const clients = await connect(clientCount);
  const load = startLoad(clients, { random, tool: "add", concurrency: 1, pauseMs: 200, callMs: 30_000 });
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
  const { violations, summary } = judge();
  const failed = summary.errors + summary.refused + summary.lost;
  note(
    `3 instances replaced under ${clientCount} clients that call every 200 ms, DRAIN_SECONDS=5`,
    "0 failed calls",
    `${failed} of ${summary.calls} calls failed, ${summary.repeatedExecutions} carried out twice; ` +
      `longest replacement ${(Math.max(...drains) / 1000).toFixed(1)} s`,
    violations().length === 0,
  );
  expect(exits).toEqual(exits.map(() => ({ code: 0, signal: null })));
  expect(violations()).toEqual([]);
}, 300_000);
