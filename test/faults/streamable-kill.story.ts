import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import type { WatchedClient } from "../support/cluster-client.ts";
import { eventually } from "../support/eventually.ts";
import type { CallRecord, Outcome } from "../support/history.ts";
import { ms, openFigures, percentile, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { expireLease, isAlive, ownersByClient, readRecords } from "./owners.ts";
import { setStage } from "./stage.ts";
import { breachesOf, connectStreamable, resumedBy } from "./streamable.ts";

/** A client that does not work by then is broken. */
const GIVE_UP_MS = 15_000;
const note = openFigures("7d Streamable HTTP: killed and frozen instances");

/** From the kill to the end of a call that works, in ms. The client calls anew until one does. */
async function recoveryMs(client: WatchedClient, killedAt: number): Promise<number> {
  while (Date.now() - killedAt < GIVE_UP_MS) {
    const { kind } = await client.call("add", {}, 5000);
    if (kind === "result") return Date.now() - killedAt;
    await wait(20);
  }
  return Infinity;
}

/** The client went on with its stream on another instance, which knows nothing of the request any more. */
const isAnswerLost = (outcome: Outcome) => outcome.kind === "error" && outcome.reason === "answer_lost";
/** The same as a 504, of a POST whose stream had begun. */
const isUnknown = (outcome: Outcome) => outcome.kind === "error" && outcome.reason === "delivery_unknown";

describe.each([
  ["http", "off"],
  ["http", "store"],
  ["redis", "store"],
] as const)("with the relay over %s and SESSION_DURABILITY=%s", (relay, durability) => {
  test("kill -9 of one of three costs others nothing, and its own clients at most one retryable error a call", async () => {
    const stage = await setStage({
      instances: 3,
      store: "redis",
      relay,
      env: { SESSION_DURABILITY: durability },
    });
    const { cluster, judge, history, random } = stage;
    const clients = await connectStreamable(stage, sized(9, 24));
    const load = startLoad(clients, { random, concurrency: 2, pauseMs: 20, callMs: 12_000 });
    await wait(2000);
    const owners = await ownersByClient(cluster.db as Redis);
    const dead = cluster.gateways[0]?.instanceId;
    const victims = new Set([...owners].filter(([, owner]) => owner === dead).map(([name]) => name));
    const at = Date.now();
    await cluster.kill(0);
    cluster.leave(0);
    const goneAt = Date.now();
    const hit = clients.filter(({ name }) => victims.has(name));
    const recoveries = await Promise.all(hit.map((client) => recoveryMs(client, at)));
    await wait(sized(3000, 10_000));
    await load.stop();

    const slowest = Math.max(0, ...recoveries);
    const wasInFlight = (call: CallRecord) => call.startedAt <= goneAt && (call.endedAt ?? Infinity) >= at;
    // A POST that was inside the killed instance, on its way to another or from there, and had no stream yet: the edge
    // answers 502 for it, and the gateway 504.
    const wasInside = (call: CallRecord, outcome: Outcome) =>
      outcome.kind === "refused" &&
      wasInFlight(call) &&
      (outcome.status === 502 || (outcome.status === 504 && victims.has(call.client)));
    // An answer of the client to the server that was inside: nobody sends it again, so the server waits in vain.
    const answerWasInside = ({ tool, client, endedAt = Infinity }: CallRecord) =>
      tool === "ask" && history.client(client).failedAnswers.some((one) => one.at >= at && one.at <= endedAt);
    const { violations, summary } = judge({
      crashes: [{ at, clients: victims }],
      mayFail: (call, outcome) =>
        wasInside(call, outcome) ||
        (isUnknown(outcome) && victims.has(call.client) && wasInFlight(call)) ||
        (isAnswerLost(outcome) && victims.has(call.client) && call.startedAt <= goneAt + 1000),
      mayTimeOut: answerWasInside,
    });
    const breaches = breachesOf(clients);
    const ofOthers = [...history.clients.values()]
      .filter(({ name }) => !victims.has(name))
      .flatMap(({ calls }) => calls.filter(({ outcomes }) => outcomes[0]?.kind !== "result")).length;
    const lost = [...history.clients.values()]
      .flatMap(({ calls }) => calls)
      .filter(({ outcomes: [outcome] }) => outcome !== undefined && isAnswerLost(outcome)).length;
    note(
      `kill -9 of one of three, relay ${relay}, SESSION_DURABILITY=${durability}`,
      durability === "store"
        ? "others see nothing but 502 for POSTs inside the killed one; works within 3 s; no acknowledged message lost"
        : "others see nothing but 502 for POSTs inside the killed one; works within 3 s; an error for each call in flight",
      `${victims.size} of ${clients.length} clients hit, slowest works ${ms(slowest)} after the kill ` +
        `(median ${ms(percentile(recoveries, 0.5))}); ${summary.errors} retryable errors (${lost} answer_lost), ` +
        `${summary.refused} refused by the edge, of other clients' calls ${ofOthers}, ${summary.lost} lost, ` +
        `${summary.repeatedExecutions} carried out twice, ${resumedBy(clients).lanes} requests' streams gone on with`,
      violations().length === 0 && breaches.length === 0 && slowest < 3000,
    );
    expect(victims.size).toBeGreaterThan(0);
    expect({ violations: violations(), breaches }).toEqual({ violations: [], breaches: [] });
    // Promised: 3 s; a machine that others use as well is given more.
    expect(slowest).toBeLessThan(6000);
  });
});

test.each(["http", "redis"] as const)(
  "an owner that was frozen past its lease and wakes carries nothing out late and owns nothing (relay %s)",
  async (relay) => {
    const stage = await setStage({ instances: 3, store: "redis", relay });
    const { cluster, judge, random } = stage;
    const db = cluster.db as Redis;
    const clients = await connectStreamable(stage, 6, { retryMs: 200 });
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
    const streams = cluster.front.openStreams().map((one, index) => ({ ...one, index }));
    for (const { backend, index } of streams.toReversed())
      if (backend.name === frozen) cluster.front.cutOne(index, "rst");
    await wait(sized(5000, 10_000));
    cluster.thaw(chosen);
    await wait(sized(3000, 10_000));
    await load.stop();

    const stillOwned = (await readRecords(db)).filter(({ owner }) => owner === frozen).length;
    const oldChildren = [...new Set(before.map(({ pid }) => pid))];
    await eventually(() => expect(oldChildren.filter(isAlive)).toEqual([]), 15_000).catch(() => undefined);
    const left = oldChildren.filter(isAlive).length;
    const { violations, summary } = judge({
      crashes: [{ at, clients: new Set(owned) }],
      mayFail: ({ client }, outcome) =>
        owned.includes(client) && (outcome.kind === "refused" || isUnknown(outcome) || isAnswerLost(outcome)),
      mayTimeOut: ({ client }) => owned.includes(client),
    });
    const breaches = breachesOf(clients);
    note(
      `owner of ${owned.length} sessions frozen past its lease, then woken (relay ${relay})`,
      "no late execution, no two owners",
      `${summary.repeatedExecutions} carried out twice, ${stillOwned} sessions still its own, ` +
        `${left} of its ${oldChildren.length} servers left; ${summary.refused} calls refused, ` +
        `${summary.errors} with an error and ${summary.lost} without an answer meanwhile`,
      violations().length === 0 && breaches.length === 0 && stillOwned === 0 && left === 0,
    );
    expect({ violations: violations(), breaches, stillOwned, left }).toEqual({
      violations: [],
      breaches: [],
      stillOwned: 0,
      left: 0,
    });
  },
);
