import { describe, expect, it } from "vitest";
import { Backlog } from "../../src/session/backlog.ts";
import { Outbox, type Sent } from "../../src/session/outbox.ts";
import { ScriptedStream } from "./scripted.ts";

const nothing = () => false;
const everything = () => true;

function open({ pauseBytes = 1e6, maxBytes = 1e7, startsAfter = 0 } = {}) {
  const told: string[] = [];
  const clock = { now: 0 };
  const backlog = new Backlog({
    pauseBytes,
    maxBytes,
    onFull: () => told.push("full"),
    onRoom: () => told.push("room"),
    onOverflow: () => told.push("overflow"),
  });
  const outbox = new Outbox({ backlog, numbers: { last: startsAfter }, now: () => clock.now });
  const attach = (after?: number, repeats: (sent: Sent) => boolean = nothing, keepsUp = true) => {
    const stream = new ScriptedStream();
    stream.keepsUp = keepsUp;
    outbox.attach(stream, after, repeats);
    return stream;
  };
  const push = (...messages: string[]) =>
    messages.forEach((message) => outbox.push(Buffer.from(message), { kind: "notification", id: undefined }));
  const take = (count: number) => {
    for (let one = 0; one < count; one += 1) outbox.take();
  };
  return { outbox, told, clock, attach, push, take };
}

const texts = (stream: ScriptedStream) => stream.written.map(([, message]) => message).join("");

describe("what a dead stream leaves", () => {
  it("is written to the next one from the first message that its socket had not taken, with the same numbers", () => {
    const { outbox, attach, push, take } = open();
    attach();
    push("a", "b", "c");
    take(1);
    outbox.detach();
    push("d");
    const next = attach();
    push("e");
    expect(next.written).toEqual([
      [2, "b"],
      [3, "c"],
      [4, "d"],
      [5, "e"],
    ]);
  });

  it("is written once: what the next one takes does not come again", () => {
    const { outbox, attach, push, take } = open();
    attach();
    push("a", "b");
    outbox.detach();
    attach();
    take(2);
    outbox.detach();
    expect(attach().written).toEqual([]);
    expect([outbox.isQuiet, outbox.untaken]).toEqual([true, []]);
  });

  it("is found whole through any number of streams that take a part each", () => {
    const { outbox, attach, push, take } = open();
    let all = "";
    const count = 5000;
    let pushed = 0;
    for (let round = 0; all.split(",").length <= count; round += 1) {
      for (let one = 0; one < 37 && pushed < count; one += 1) push(`${(pushed += 1)},`);
      const stream = attach(undefined, nothing, round % 3 !== 0);
      if (round % 3 === 0) for (let one = 0; one < 20; one += 1) outbox.resume();
      const taken = Math.min(stream.written.length, 1 + (round % 29));
      take(taken);
      all += texts(stream)
        .split(",")
        .slice(0, taken)
        .map((text) => `${text},`)
        .join("");
      outbox.detach();
    }
    expect(all).toBe(Array.from({ length: count }, (_, at) => `${at + 1},`).join(""));
  });

  it("does not count as written that nothing took, however often its stream says so", () => {
    const { outbox, attach, push } = open();
    expect(outbox.take()).toBeUndefined();
    attach();
    push("a");
    expect(outbox.take()).toMatchObject({ sequence: 1, taken: 1 });
    expect(outbox.take()).toBeUndefined();
    push("b");
    outbox.detach();
    expect(outbox.take()).toBeUndefined();
    expect(outbox.untaken.map(({ sequence }) => sequence)).toEqual([2]);
  });

  it("waits in its place while the next one stands still", () => {
    const { outbox, attach, push } = open();
    attach();
    push("a", "b", "c");
    outbox.detach();
    const next = attach(undefined, nothing, false);
    expect(texts(next)).toBe("a");
    push("d");
    outbox.resume();
    next.keepsUp = true;
    outbox.resume();
    expect(texts(next)).toBe("abcd");
  });
});

describe("what a dead stream's socket had taken", () => {
  it("is repeated as far as it may be, in its place before what comes later", () => {
    const { outbox, attach, push, take } = open();
    attach();
    push("a", "b", "c", "d");
    take(3);
    outbox.detach();
    push("e");
    expect(texts(attach(undefined, ({ sequence }) => sequence !== 2))).toBe("acde");
  });

  it("is asked after with how often and when it was taken, and only when it was", () => {
    const { outbox, attach, push, take, clock } = open();
    attach();
    push("a", "b");
    clock.now = 7;
    take(1);
    outbox.detach();
    const asked: unknown[] = [];
    const repeats = ({ sequence, taken, takenAt }: Sent) => Boolean(asked.push([sequence, taken, takenAt]));
    attach(undefined, repeats);
    clock.now = 9;
    take(1);
    outbox.detach();
    attach(undefined, repeats);
    expect(asked).toEqual([
      [1, 1, 7],
      [1, 2, 9],
    ]);
  });

  it("is sent exactly from where the client says, taken or not", () => {
    for (const [after, expected] of [
      [0, "abcd"],
      [1, "bcd"],
      [3, "d"],
      [4, ""],
    ] as const) {
      const { outbox, attach, push, take } = open();
      attach();
      push("a", "b", "c", "d");
      take(2);
      outbox.detach();
      expect(texts(attach(after, nothing))).toBe(expected);
    }
  });

  it("is judged as if the client had said nothing when it names what was never sent", () => {
    const { outbox, attach, push, take } = open({ startsAfter: 100 });
    attach();
    push("a", "b");
    take(1);
    outbox.detach();
    expect(attach(103, nothing).written).toEqual([[102, "b"]]);
  });

  it("is out of doubt when the stream was ended by ourselves and took everything", () => {
    const { outbox, attach, push, take } = open();
    attach();
    push("a", "b");
    outbox.rest(1);
    push("c");
    take(2);
    outbox.detach();
    expect(texts(attach(undefined, everything))).toBe("c");
  });

  it("is in doubt as ever when the stream that we ended did not take everything", () => {
    const { outbox, attach, push, take } = open();
    attach();
    push("a", "b");
    outbox.rest(1);
    take(1);
    outbox.detach();
    expect(texts(attach(undefined, everything))).toBe("ab");
  });

  it("is kept up to 64 messages", () => {
    const { outbox, attach, push, take } = open();
    attach();
    const all = Array.from({ length: 1000 }, (_, at) => `${at + 1},`);
    for (const one of all) {
      push(one);
      take(1);
    }
    outbox.detach();
    expect(texts(attach(0, nothing))).toBe(all.slice(-64).join(""));
  });

  it("is kept up to the bytes at which the server is paused, and the last one whatever its size", () => {
    const { outbox, attach, push, take } = open({ pauseBytes: 10 });
    attach();
    for (const one of ["aaaa", "bbbb", "cccc"]) {
      push(one);
      take(1);
    }
    outbox.detach();
    expect(texts(attach(0, nothing))).toBe("bbbbcccc");
    take(2);
    push("x".repeat(11));
    take(1);
    outbox.detach();
    expect(texts(attach(0, nothing))).toBe("x".repeat(11));
  });

  it("is kept for a minute while the stream lives, and longer while there is none", () => {
    const { outbox, attach, push, take, clock } = open();
    attach();
    push("a");
    take(1);
    clock.now = 1;
    push("b");
    take(1);
    outbox.tidy(60_001);
    outbox.detach();
    outbox.tidy(1e9);
    expect(texts(attach(0, nothing))).toBe("b");
  });
});

describe("the bounds of what waits", () => {
  it("count what a dead stream hands back, and tell of it once, but cut nobody for it", () => {
    const { outbox, told, attach, push } = open({ pauseBytes: 10, maxBytes: 20 });
    attach();
    push("x".repeat(15), "y".repeat(15));
    expect(told).toEqual([]);
    outbox.detach();
    expect([told, outbox.pendingBytes]).toEqual([["full"], 30]);
    attach();
    expect([told, outbox.pendingBytes]).toEqual([["full", "room"], 0]);
    outbox.detach();
    push("z");
    expect(told).toEqual(["full", "room", "full", "overflow"]);
  });

  it("are those of what is new when everything else is forgotten", () => {
    const { outbox, told, attach, push } = open({ pauseBytes: 10 });
    push("x".repeat(11));
    outbox.clear();
    expect(told).toEqual(["full", "room"]);
    push("a");
    expect(attach(0, everything).written).toEqual([[2, "a"]]);
  });

  it("count what an earlier owner left, which goes first and keeps its numbers", () => {
    const { outbox, attach, push, told } = open({ startsAfter: 100, pauseBytes: 3 });
    const left = [7, 9].map((sequence) => ({
      ...{ sequence, message: Buffer.from(`${sequence}`), kind: "response", id: "1" },
      ...{ takenAt: Infinity, taken: 0 },
    })) as Sent[];
    outbox.restore(left);
    push("ab");
    expect(told).toEqual(["full"]);
    expect(attach(7, everything).written).toEqual([
      [9, "9"],
      [101, "ab"],
    ]);
  });
});

describe("a stream that is ended", () => {
  it("to rest gets nothing more, and what comes waits for the next one", () => {
    const { outbox, attach, push, take } = open();
    const stream = attach();
    push("a");
    outbox.rest(1500);
    outbox.rest(9);
    push("b");
    outbox.resume();
    outbox.ping();
    expect([texts(stream), stream.end_, stream.retryMs, stream.pings]).toEqual(["a", "ended", 1500, 0]);
    take(1);
    outbox.detach();
    expect(texts(attach())).toBe("b");
  });

  it("for good after it was ended to rest is not ended twice, nor given more", () => {
    const { outbox, attach, push } = open();
    const stream = attach();
    outbox.rest(1500);
    push("a");
    outbox.end(9);
    expect([texts(stream), stream.retryMs, outbox.stream]).toEqual(["", 1500, undefined]);
  });
});
