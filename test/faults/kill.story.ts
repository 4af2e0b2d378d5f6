import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import type { WatchedClient } from "../support/cluster-client.ts";
import type { CallRecord, ClientRecord } from "../support/history.ts";
import { ms, openFigures, percentile, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { expireLease, isAlive, ownersByClient, readRecords } from "./owners.ts";
import { setStage } from "./stage.ts";

/** A client that does not work by then is broken. */
const GIVE_UP_MS = 15_000;
const note = openFigures("4 Killed and frozen instances");

/** From a client's first stream after the kill to the end of a call that works, in ms. It calls anew until one does. */
async function recoveryMs(
  client: WatchedClient,
  { streams }: ClientRecord,
  killedAt: number,
): Promise<number> {
  const isBack = ({ at, status }: { at: number; status: number }) => at > killedAt && status === 200;
  await eventually(() => streams.some(isBack), GIVE_UP_MS);
  const back = streams.find(isBack)?.at ?? 0;
  while (Date.now() - back < GIVE_UP_MS) {
    const { kind } = await client.call("add", {}, 5000);
    if (kind === "result") return Date.now() - back;
  }
  return Infinity;
}

describe.each([
  ["http", "off"],
  ["http", "store"],
  ["redis", "store"],
] as const)("with the relay over %s and SESSION_DURABILITY=%s", (relay, durability) => {
  test("kill -9 of one of three costs others nothing, and its own clients at most one retryable error a call", async () => {
    const { cluster, connect, judge, history, random } = await setStage({
      instances: 3,
      store: "redis",
      relay,
      env: { SESSION_DURABILITY: durability },
    });
    const db = cluster.db as Redis;
    const clients = await connect(sized(9, 24));
    const load = startLoad(clients, { random, concurrency: 2, pauseMs: 20, callMs: 8000 });
    await wait(2000);
    const owners = await ownersByClient(db);
    const dead = cluster.gateways[0]?.instanceId;
    const victims = new Set([...owners].filter(([, owner]) => owner === dead).map(([name]) => name));
    const at = Date.now();
    await cluster.kill(0);
    cluster.leave(0);
    const goneAt = Date.now();
    const hit = clients.filter(({ name }) => victims.has(name));
    const recoveries = await Promise.all(
      hit.map((client) => recoveryMs(client, history.client(client.name), at)),
    );
    await wait(sized(3000, 10_000));
    await load.stop();

    const slowest = Math.max(0, ...recoveries);
    const isVictims = (call: CallRecord) => victims.has(call.client) && call.startedAt < at + 6000;
    // A POST that was inside the killed instance on its way to another: its edge answers 502 for it.
    const wasInside = (call: CallRecord, { status }: { status: number }) =>
      status === 502 && call.startedAt <= goneAt && (call.endedAt ?? 0) >= at;
    // An answer of the client to the server that was inside: no SDK sends it again, so the server waits in vain.
    const answerWasInside = ({ tool, client, endedAt = Infinity }: CallRecord) =>
      tool === "ask" && history.client(client).failedAnswers.some((one) => one.at >= at && one.at <= endedAt);
    const { violations, summary } = judge({
      crashes: [{ at, clients: victims }],
      // Until its client is back, a session whose instance is dead cannot be posted to.
      mayFail: (call, outcome) => outcome.kind === "refused" && (isVictims(call) || wasInside(call, outcome)),
      mayTimeOut: (call) =>
        answerWasInside(call) || (durability === "off" && isVictims(call) && call.startedAt <= at + 1000),
    });
    note(
      `kill -9 of one of three, relay ${relay}, SESSION_DURABILITY=${durability}`,
      durability === "store"
        ? "others see nothing; works within 3 s of the reconnect; no acknowledged message lost"
        : "others see nothing; works within 3 s of the reconnect",
      `${victims.size} of ${clients.length} clients hit, slowest works ${ms(slowest)} after its reconnect ` +
        `(median ${ms(percentile(recoveries, 0.5))}); ${summary.errors} retryable errors, ` +
        `${summary.refused} refused before the reconnect, ${summary.lost} lost, ` +
        `${summary.repeatedExecutions} carried out twice`,
      violations().length === 0 && slowest < 3000,
    );
    expect(victims.size).toBeGreaterThan(0);
    expect(violations()).toEqual([]);
    // Promised: 3 s; a machine that others use as well is given more.
    expect(slowest).toBeLessThan(6000);
  });
});

test.each(["http", "redis"] as const)(
  "an owner that was frozen past its lease and wakes carries nothing out late and owns nothing (relay %s)",
  async (relay) => {
    const { cluster, connect, judge, random } = await setStage({ instances: 3, store: "redis", relay });
    const db = cluster.db as Redis;
    const clients = await connect(6, { retryMs: 200 });
    for (const client of clients) expect(await client.call("add")).toMatchObject({ kind: "result" });
    const owners = [...(await ownersByClient(db))];
    const ownedBy = (instanceId: string | undefined) =>
      owners.filter(([, owner]) => owner === instanceId).map(([name]) => name);
    // The one with the most sessions: chance may have left another with none.
    const counts = cluster.gateways.map(({ instanceId }) => ownedBy(instanceId).length);
    const chosen = counts.indexOf(Math.max(...counts));
    const frozen = cluster.gateways[chosen]?.instanceId ?? "";
    const owned = ownedBy(frozen);
    const before = cluster.ledger().filter(({ client }) => owned.includes(client));
    cluster.freeze(chosen);
    cluster.leave(chosen);
    const at = Date.now();
    // Calls come while it is frozen; what is relayed to it must never be carried out once it wakes.
    const load = startLoad(clients, { random, tool: "add", concurrency: 1, pauseMs: 100, callMs: 8000 });
    await wait(1500);
    await expireLease(db, frozen);
    for (const { backend, index } of cluster.front
      .openStreams()
      .map((one, index) => ({ ...one, index }))
      .toReversed())
      if (backend.name === frozen) cluster.front.cutOne(index, "rst");
    await wait(sized(5000, 10_000));
    cluster.thaw(chosen);
    await wait(sized(3000, 10_000));
    await load.stop();

    const records = await readRecords(db);
    const stillOwned = records.filter(({ owner }) => owner === frozen).length;
    const oldChildren = [...new Set(before.map(({ pid }) => pid))];
    await eventually(() => expect(oldChildren.filter(isAlive)).toEqual([]), 15_000).catch(() => undefined);
    const left = oldChildren.filter(isAlive).length;
    const { violations, summary } = judge({
      crashes: [{ at, clients: new Set(owned) }],
      mayFail: ({ client }, { kind }) => kind === "refused" && owned.includes(client),
      mayTimeOut: ({ client }) => owned.includes(client),
    });
    note(
      `owner of ${owned.length} sessions frozen past its lease, then woken (relay ${relay})`,
      "no late execution, no two owners",
      `${summary.repeatedExecutions} carried out twice, ${stillOwned} sessions still its own, ` +
        `${left} of its ${oldChildren.length} servers left; ${summary.refused} calls refused meanwhile`,
      violations().length === 0 && stillOwned === 0 && left === 0,
    );
    expect({ violations: violations(), stillOwned, left }).toEqual({
      violations: [],
      stillOwned: 0,
      left: 0,
    });
  },
);
