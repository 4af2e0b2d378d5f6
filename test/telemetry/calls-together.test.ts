import { describe, expect, it } from "vitest";
import type { CallBegin, CallEnd, Calls } from "../../src/events.ts";
import { watchTogether } from "../../src/telemetry/calls-together.ts";

const CALL: CallBegin = {
  server: "s",
  method: "ping",
  message: Buffer.from("a"),
  id: "1",
  session: undefined,
  transport: "sse",
};

interface Seen {
  shown: string[];
  ended: CallEnd[];
}

/** Watches all, and puts this behind the message. */
function watcher(seen: Seen, adds = ""): Calls {
  return {
    begin(call) {
      seen.shown.push(call.message.toString());
      return {
        message: adds === "" ? call.message : Buffer.concat([call.message, Buffer.from(adds)]),
        end: (outcome) => seen.ended.push(outcome),
      };
    },
  };
}

const NOBODY: Calls = { begin: () => undefined };
const nothingSeen = (): Seen => ({ shown: [], ended: [] });

describe("watchTogether", () => {
  it("is nobody for none, and one alone as it is", () => {
    expect(watchTogether([])).toBeUndefined();
    const one = watcher(nothingSeen());
    expect(watchTogether([one])).toBe(one);
  });

  it("shows each what those before made of the message, and gives on what the last did", () => {
    const seen = [nothingSeen(), nothingSeen(), nothingSeen()] as const;
    const all = watchTogether([watcher(seen[0], "b"), NOBODY, watcher(seen[1], "c"), watcher(seen[2])]);
    const flight = all?.begin(CALL);
    expect(flight?.message.toString()).toBe("abc");
    expect(seen.map((each) => each.shown)).toEqual([["a"], ["ab"], ["abc"]]);
    flight?.end({ failed: false });
    expect(seen.map((each) => each.ended)).toEqual(Array(3).fill([{ failed: false }]));
  });

  it("gives on the same bytes when nobody changed them", () => {
    const flight = watchTogether([watcher(nothingSeen()), watcher(nothingSeen())])?.begin(CALL);
    expect(flight?.message).toBe(CALL.message);
  });

  it("does not watch a call that nobody watches", () => {
    expect(watchTogether([NOBODY, NOBODY])?.begin(CALL)).toBeUndefined();
  });
});
