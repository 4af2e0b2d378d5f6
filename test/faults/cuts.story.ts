import { describe, expect, test } from "vitest";
import type { Cut } from "../support/front-proxy.ts";
import { openFigures, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { setStage } from "./stage.ts";

const note = openFigures("1 Cut streams, one instance");
const KINDS: readonly Cut[] = ["end", "fin", "rst"];

describe("streams are cut under load, one instance, sessions in memory", () => {
  test.each([
    ["and the gateway hears of it at once", 0, sized(60, 1000)],
    ["and the gateway hears of it 250 ms later", 250, sized(30, 200)],
  ])(
    "every call has its one answer when streams are cut %s",
    async (when, lagMs, cuts) => {
      const { cluster, connect, judge, random } = await setStage({
        instances: 1,
        store: "memory",
        front: { lagMs },
      });
      const clients = await connect(8, { retryMs: 40 });
      const load = startLoad(clients, { random });
      const { front } = cluster;
      const first = front.counts().cuts;
      while (front.counts().cuts - first < cuts) {
        await wait(10 + random() * 60);
        const open = front.openStreams().length;
        const kind = KINDS[Math.floor(random() * KINDS.length)] as Cut;
        if (open > 0) front.cutOne(Math.floor(random() * open), kind);
      }
      await load.stop();
      // A notification that the edge held when it cut the stream is lost: it must not come twice, and no client says
      // what it got. Answers may be repeated, so none of them is.
      const { violations, summary } = judge({ sameChild: true, initializes: 1 });
      note(
        `${cuts} cuts (end, FIN, RST) of 8 clients' streams under load, ${when}`,
        "each call answered once, no second initialize, the same server process",
        `${summary.results} of ${summary.calls} calls answered, ${summary.lost} lost, ` +
          `${summary.repeatedExecutions} carried out twice, ${summary.repeatedAnswers} answers sent twice, ` +
          `${summary.initializes - 8} re-initialized, ${summary.children} processes, ` +
          `${summary.missingNotifications} of ${summary.notifications + summary.missingNotifications} notifications lost in the edge`,
        violations().length === 0,
      );
      expect(violations()).toEqual([]);
    },
    300_000,
  );
});
