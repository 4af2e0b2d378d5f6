import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ask } from "../../src/relay/ask.ts";
import type { Published } from "../../src/relay/channels.ts";
import type { RelayOutcome } from "../../src/relay/relay.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => vi.useRealTimers());

const ANSWER: RelayOutcome = { kind: "answered", answer: { ok: true } };

/** Asks over a channel of the test's: `counts` is who listened at each try, the last one from then on. */
function open({ counts, countsAll = true, deadlineMs = 5000 }: OpenOptions) {
  const began = performance.now();
  const triedAt: number[] = [];
  let answer = (_outcome: RelayOutcome) => undefined as void;
  const outcome = new Promise<RelayOutcome>((resolve) => (answer = resolve));
  const seen: { outcome?: RelayOutcome; at?: number } = {};
  const asked = ask({
    deadlineMs,
    retryMs: [250],
    countsAll,
    publish: () => {
      const published = counts[Math.min(triedAt.length, counts.length - 1)];
      triedAt.push(performance.now() - began);
      return published === "never" ? new Promise(() => undefined) : Promise.resolve(published as Published);
    },
    outcome,
  }).then((came) => Object.assign(seen, { outcome: came, at: performance.now() - began }));
  return { triedAt, answer, seen, asked };
}

interface OpenOptions {
  counts: readonly (Published | "never")[];
  countsAll?: boolean;
  deadlineMs?: number;
}

test("publishes a message once when its answer comes soon", async () => {
  const { triedAt, answer, seen } = open({ counts: [1] });
  await vi.advanceTimersByTimeAsync(1999);
  answer(ANSWER);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([triedAt, seen]).toEqual([[0], { outcome: ANSWER, at: 1999 }]);
});

test("publishes it again every two seconds while nobody answers, and says unknown at the deadline", async () => {
  const { triedAt, seen } = open({ counts: [1], deadlineMs: 15_000 });
  await vi.advanceTimersByTimeAsync(14_999);
  expect([triedAt.slice(0, 8), seen]).toEqual([[0, 2000, 4000, 6000, 8000, 10_000, 12_000, 14_000], {}]);
  await vi.advanceTimersByTimeAsync(5);
  expect(seen.outcome).toEqual({ kind: "unknown" });
});

test("publishes it again at half of a short deadline", async () => {
  const { triedAt, seen } = open({ counts: [1], deadlineMs: 1000 });
  await vi.advanceTimersByTimeAsync(999);
  expect([triedAt, seen]).toEqual([[0, 500], {}]);
  await vi.advanceTimersByTimeAsync(5);
  expect(seen.outcome).toEqual({ kind: "unknown" });
});

test("takes an answer at any time, also while a try is under way that never ends", async () => {
  const { answer, seen } = open({ counts: [1, "never"], deadlineMs: 5000 });
  await vi.advanceTimersByTimeAsync(2001);
  answer(ANSWER);
  await vi.advanceTimersByTimeAsync(1);
  expect(seen.outcome).toEqual(ANSWER);
});

test("gives up with unknown when nobody listens twice in a row, since whoever took it is gone with the answer", async () => {
  const { triedAt, seen } = open({ counts: [1, 0, 0] });
  await vi.advanceTimersByTimeAsync(2249);
  expect(seen).toEqual({});
  await vi.advanceTimersByTimeAsync(5);
  expect([triedAt, seen.outcome]).toEqual([[0, 2000, 2250], { kind: "unknown" }]);
});

test("does not give up on a listener that is missed once, and listens again", async () => {
  const { answer, seen } = open({ counts: [1, 0, 1, 0, 1], deadlineMs: 15_000 });
  await vi.advanceTimersByTimeAsync(8000);
  expect(seen).toEqual({});
  answer(ANSWER);
  await vi.advanceTimersByTimeAsync(1);
  expect(seen.outcome).toEqual(ANSWER);
});

test("believes no count of a node that does not know all who listen", async () => {
  const { seen } = open({ counts: [0], countsAll: false });
  await vi.advanceTimersByTimeAsync(4999);
  expect(seen).toEqual({});
  await vi.advanceTimersByTimeAsync(5);
  expect(seen.outcome).toEqual({ kind: "unknown" });
});

test("says dead when nobody listened at first nor a moment later, and unreachable when nothing was published", async () => {
  const dead = open({ counts: [0] });
  const away = open({ counts: ["unreachable"] });
  await vi.advanceTimersByTimeAsync(250);
  expect([dead.seen, dead.triedAt]).toEqual([{ outcome: { kind: "dead" }, at: 250 }, [0, 250]]);
  expect(away.seen).toEqual({ outcome: { kind: "unreachable" }, at: 0 });
});
