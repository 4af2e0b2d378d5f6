import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { RESUMES } from "../support/cluster-client-wire.ts";
import type { Cut } from "../support/front-proxy.ts";
import { openFigures, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { ownersByClient } from "./owners.ts";
import { setStage } from "./stage.ts";
import { breachesOf, connectStreamable, resumedBy } from "./streamable.ts";

const note = openFigures("7b Streamable HTTP: relay, three instances");
const KINDS: readonly Cut[] = ["end", "fin", "rst"];

describe.each(["http", "redis"] as const)("with the relay over %s", (relay) => {
  test("no call is lost, repeated or failed while streams are cut and gone on with on any instance", async () => {
    const stage = await setStage({ instances: 3, store: "redis", relay });
    const { cluster, judge, random } = stage;
    const clients = await connectStreamable(stage, 8, { retryMs: 100 });
    const owners = await ownersByClient(cluster.db as Redis);
    let elsewhere = 0;
    cluster.front.setRoute(({ path }, rotation) => {
      const chosen = rotation[Math.floor(random() * rotation.length)];
      const query = new URL(path, cluster.front.url).searchParams;
      const owner = owners.get(query.get("clientId") ?? "");
      if (query.has(RESUMES) && chosen !== undefined && chosen.name !== owner) elsewhere += 1;
      return chosen;
    });
    const load = startLoad(clients, { random, pauseMs: 30 });
    const { front } = cluster;
    const first = front.counts().cuts;
    const endAt = performance.now() + sized(9000, 40_000);
    while (performance.now() < endAt) {
      await wait(20 + random() * 100);
      const open = front.openStreams().length;
      const kind = KINDS[Math.floor(random() * KINDS.length)] as Cut;
      const index = random() < 0.6 ? open - 1 : Math.floor(random() * open);
      if (open > 0) front.cutOne(index, kind);
    }
    await load.stop();
    const { violations, summary } = judge({
      sameChild: true,
      initializes: 1,
      mayRepeatAnswers: false,
      allNotifications: true,
    });
    const breaches = breachesOf(clients);
    const { lanes } = resumedBy(clients);
    note(
      `${relay}: 8 clients, random instance for each request, ${front.counts().cuts - first} cuts of requests' and clients' streams`,
      "0 lost, 0 carried out twice, 0 failed, each notification once",
      `${summary.calls} calls, ${summary.lost} lost, ${summary.repeatedExecutions} twice, ` +
        `${summary.errors + summary.refused} failed, ${summary.repeatedAnswers} answers sent twice; ` +
        `${lanes} requests' streams gone on with by Last-Event-ID, ${elsewhere} on another instance than the session's; ` +
        `${summary.missingNotifications} of ${summary.notifications + summary.missingNotifications} notifications lost`,
      violations().length === 0 && breaches.length === 0,
    );
    expect({ violations: violations(), breaches }).toEqual({ violations: [], breaches: [] });
    expect(elsewhere).toBeGreaterThan(0);
  });
});
