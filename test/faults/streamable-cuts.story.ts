import { describe, expect, onTestFinished, test, vi } from "vitest";
import { EdgeAgent } from "../support/front-proxy-parts.ts";
import type { Cut } from "../support/front-proxy.ts";
import { openFigures, sized } from "./figures.ts";
import { startLoad, wait } from "./load.ts";
import { setStage } from "./stage.ts";
import { breachesOf, connectStreamable, resumedBy } from "./streamable.ts";

const note = openFigures("7a Streamable HTTP: cut streams, one instance");
const KINDS: readonly Cut[] = ["end", "fin", "rst"];

describe("streams of Streamable HTTP are cut under load, one instance, sessions in memory", () => {
  test.each([
    ["and the gateway hears of it at once", 0, sized(25, 1000)],
    ["and the gateway hears of it 250 ms later", 250, sized(12, 200)],
  ])(
    "every call has its one answer and every notification comes once when streams are cut %s",
    async (when, lagMs, cuts) => {
      // A request's stream may end while the gateway does not hear of its cut; the next request must not be on its socket.
      if (lagMs > 0)
        onTestFinished(vi.spyOn(EdgeAgent.prototype, "keepSocketAlive").mockReturnValue(false).mockRestore);
      const stage = await setStage({ instances: 1, store: "memory", front: { lagMs } });
      const { cluster, judge, random } = stage;
      const clients = await connectStreamable(stage, 8, { retryMs: 40 });
      const load = startLoad(clients, { random });
      const { front } = cluster;
      const first = front.counts().cuts;
      while (front.counts().cuts - first < cuts) {
        await wait(10 + random() * 60);
        const open = front.openStreams().length;
        const kind = KINDS[Math.floor(random() * KINDS.length)] as Cut;
        // The youngest is mostly that of a request, and the others are mostly the clients' own.
        const index = random() < 0.6 ? open - 1 : Math.floor(random() * open);
        if (open > 0) front.cutOne(index, kind);
      }
      await load.stop();
      // Here clients say what they have, so that nothing is lost in the edge and nothing comes twice.
      const { violations, summary } = judge({
        sameChild: true,
        initializes: 1,
        mayRepeatAnswers: false,
        allNotifications: true,
      });
      const breaches = breachesOf(clients);
      const { lanes, own } = resumedBy(clients);
      note(
        `${cuts} cuts (end, FIN, RST) of 8 clients' streams under load, ${when}`,
        "each call answered once, each notification once, no second initialize, the same server process",
        `${summary.results} of ${summary.calls} calls answered, ${summary.lost} lost, ` +
          `${summary.repeatedExecutions} carried out twice, ${summary.repeatedAnswers} answers sent twice, ` +
          `${summary.initializes - 8} re-initialized, ${summary.children} processes, ` +
          `${summary.missingNotifications} of ${summary.notifications + summary.missingNotifications} notifications lost; ` +
          `${lanes} streams of requests and ${own} of clients gone on with`,
        violations().length === 0 && breaches.length === 0,
      );
      expect({ violations: violations(), breaches }).toEqual({ violations: [], breaches: [] });
      expect(lanes).toBeGreaterThan(0);
    },
    300_000,
  );
});
