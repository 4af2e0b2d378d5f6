import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { ms, openFigures } from "./figures.ts";
import { wait } from "./load.ts";
import { expireLease } from "./owners.ts";
import { openProbe } from "./store-probe.ts";

const note = openFigures("5b Routing between instances");

describe.each([
  ["http", "redis"],
  ["redis", "redis"],
  ["upstash", "upstash"],
] as const)("with the relay over %s", (relay, store) => {
  test("FLT-06: a relay whose subscriptions were killed hears again within two seconds", async () => {
    if (relay === "http") return;
    const { cluster, other, post } = await openProbe({ store, relay });
    expect((await post(other)).status).toBe(202);
    if (cluster.upstash === undefined) await cluster.db?.call("CLIENT", "KILL", "TYPE", "pubsub");
    else cluster.upstash.cutStreams();
    const start = performance.now();
    const statuses: number[] = [];
    await eventually(async () => {
      const { status } = await post(other);
      statuses.push(status);
      return status === 202;
    }, 20_000);
    const took = performance.now() - start;
    note(
      `${relay}: all subscriptions killed (FLT-06)`,
      "relays again within 2 s, 503 meanwhile, never 404",
      `again after ${ms(took)}; meanwhile ${statuses.slice(0, -1).join(" ") || "nothing refused"}`,
      took < 2000 && !statuses.includes(404),
    );
    expect(statuses).not.toContain(404);
  });

  test("FLT-11 and 17: a dead owner is known at once from the relay's evidence, and from its lease", async () => {
    const { cluster, other, owner, post } = await openProbe({ store, relay });
    expect((await post(other)).status).toBe(202);
    owner.signal("SIGKILL");
    await owner.exited;
    const start = performance.now();
    const first = await post(other);
    let answer = first;
    await eventually(async () => {
      answer = await post(other);
      return answer.status === 404 || answer.status === 202;
    }, 10_000).catch(() => expireLease(cluster.db as Redis, owner.instanceId));
    const took = performance.now() - start;
    note(
      `${relay}: POST for a session whose owner was killed (FLT-11, 17)`,
      "known to be dead within 2 s",
      `first ${first.status} ${first.reason ?? ""} in ${ms(first.tookMs)}; then ${answer.status} ${answer.reason ?? ""} after ${ms(took)}`,
      took < 2000,
    );
    expect(first.tookMs).toBeLessThan(2500);
  });

  test("FLT-12: what was relayed to a frozen owner is refused in time, and never carried out when it wakes", async () => {
    const { cluster, other, owner, post, stream } = await openProbe({ store, relay });
    expect((await post(other)).status).toBe(202);
    const before = stream.messages.length;
    owner.signal("SIGSTOP");
    const answers = [await post(other), await post(other), await post(other)];
    await wait(3000);
    owner.signal("SIGCONT");
    await eventually(async () => (await post(other)).status === 202, 20_000);
    await wait(1000);
    // The ping that worked after it woke, and those that were accepted as it did.
    const late = stream.messages
      .slice(before)
      .filter(({ id }) => answers.some(({ text }) => text.includes(String(id))));
    note(
      `${relay}: POSTs for a session whose owner is frozen (FLT-12)`,
      "503 or 504 at the relay's deadline, no late execution",
      `${answers.map(({ status, tookMs }) => `${status} in ${ms(tookMs)}`).join(", ")}; ${late.length} late`,
      late.length === 0 && answers.every(({ status, tookMs }) => status >= 503 && tookMs < 6000),
    );
    expect(answers.every(({ status }) => status === 503 || status === 504)).toBe(true);
    expect(cluster.front.counts().badGateways).toBe(0);
  });
});
