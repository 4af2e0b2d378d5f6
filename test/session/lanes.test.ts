import { describe, expect, it } from "vitest";
import { Backlog } from "../../src/session/backlog.ts";
import { Lanes } from "../../src/session/lanes.ts";
import { ScriptedStream } from "./scripted.ts";

/** Lanes whose answers were taken by sockets that are gone, so that their clients may come back for them. */
function open({ pauseBytes = 1e6 } = {}) {
  const clock = { now: 0 };
  const nothing = () => undefined;
  const backlog = new Backlog({
    pauseBytes,
    maxBytes: 1e7,
    onFull: nothing,
    onRoom: nothing,
    onOverflow: nothing,
  });
  const lanes = new Lanes({
    backlog,
    numbers: { last: 0 },
    now: () => clock.now,
    limits: { orphanMs: 120_000, streamMaxAgeMs: 0, slowReaderMs: 30_000, outboxMaxBytes: 1e9 },
    onUnheard: () => undefined,
    retryMs: () => 1234,
    onTaken: nothing,
    onStreamEnd: nothing,
    onLost: nothing,
  });
  const answer = (count: number, text = "{}", from = 0) => {
    for (let one = from; one < from + count; one += 1) {
      const stream = new ScriptedStream();
      lanes
        .open(`lane-${one}`, String(one), stream)
        .push(Buffer.from(text), { kind: "response", id: String(one) });
      stream.take();
      stream.close();
    }
  };
  const kept = (count: number) =>
    Array.from({ length: count }, (_, one) => one).filter((one) => lanes.find(`lane-${one}`) !== undefined);
  return { clock, lanes, answer, kept };
}

describe("an answer that was sent", () => {
  it("is kept for seconds however many follow it, for a client that was cut to come back for", () => {
    const { lanes, answer } = open();
    answer(400);
    const back = new ScriptedStream();
    lanes.find("lane-0")?.attach(back, 0);
    expect(back.written).toEqual([[1, "{}"]]);
    expect(back.end_).toBe("ended");
  });

  it("is kept among the last 512, of those seconds", () => {
    const { answer, kept } = open();
    answer(600);
    expect(kept(600)).toEqual(Array.from({ length: 512 }, (_, one) => one + 88));
  });

  it("is kept among the last 32 after that, and a minute at the most", () => {
    const { clock, lanes, answer, kept } = open();
    answer(100);
    clock.now = 5000;
    lanes.beat(clock.now);
    expect(kept(100)).toEqual(Array.from({ length: 32 }, (_, one) => one + 68));
    clock.now = 60_000;
    lanes.beat(clock.now);
    expect(kept(100)).toEqual([]);
  });

  it("is kept up to the bytes at which the server is paused, all together, and the last one whatever its size", () => {
    const { answer, kept } = open({ pauseBytes: 1000 });
    answer(20, `"${"x".repeat(98)}"`);
    expect(kept(20)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    answer(1, `"${"x".repeat(5000)}"`, 20);
    expect(kept(21)).toEqual([20]);
  });

  it("is not forgotten while its client takes it", () => {
    const { clock, lanes, answer, kept } = open();
    answer(1);
    const back = new ScriptedStream();
    back.keepsUp = false;
    lanes.find("lane-0")?.attach(back, 0);
    answer(100, "{}", 1);
    clock.now = 5000;
    lanes.beat(clock.now);
    expect(kept(101)).toContain(0);
  });
});
