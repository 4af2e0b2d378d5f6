import { describe, expect, it } from "vitest";
import { Backlog } from "../../src/session/backlog.ts";
import { Outbox } from "../../src/session/outbox.ts";
import { ScriptedStream } from "./scripted.ts";

function open(pauseBytes = 10, maxBytes = 100) {
  const told: string[] = [];
  const backlog = new Backlog({
    pauseBytes,
    maxBytes,
    onFull: () => told.push("full"),
    onRoom: () => told.push("room"),
    onOverflow: () => told.push("overflow"),
  });
  const outbox = new Outbox({ backlog, numbers: { last: 0 }, now: () => 5 });
  return { outbox, told, stream: new ScriptedStream() };
}

const NOTE = { kind: "notification", id: undefined } as const;
const push = (outbox: Outbox, ...messages: string[]) =>
  messages.forEach((message) => outbox.push(Buffer.from(message), NOTE));
const nothing = () => false;

describe("Outbox", () => {
  it("passes messages straight to a stream that takes them, numbered from 1", () => {
    const { outbox, stream } = open();
    outbox.attach(stream, undefined, nothing);
    push(outbox, "a", "b");
    expect(stream.written).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    expect(outbox.pendingBytes).toBe(0);
  });

  it("keeps what comes while there is no stream, and hands it out in order with its own numbers", () => {
    const { outbox, stream } = open();
    push(outbox, "a", "b");
    outbox.attach(stream, undefined, nothing);
    push(outbox, "c");
    expect(stream.written).toEqual([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
  });

  it("stops at a stream that stands still and goes on where it stopped", () => {
    const { outbox, stream } = open();
    outbox.attach(stream, undefined, nothing);
    stream.keepsUp = false;
    push(outbox, "a", "b", "c");
    expect(stream.written).toEqual([[1, "a"]]);
    expect(outbox.blockedSince).toBe(5);
    outbox.resume();
    expect(stream.written).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    stream.keepsUp = true;
    outbox.resume();
    push(outbox, "d");
    expect(stream.written.map(([sequence]) => sequence)).toEqual([1, 2, 3, 4]);
    expect(outbox.blockedSince).toBeUndefined();
  });

  it("LIM-15 asks for a pause above its bound and for more below half of it, once each", () => {
    const { outbox, told, stream } = open(10, 100);
    push(outbox, "12345", "67890");
    expect(told).toEqual([]);
    push(outbox, "x", "y");
    expect(told).toEqual(["full"]);
    outbox.attach(stream, undefined, nothing);
    expect(told).toEqual(["full", "room"]);
  });

  it("LIM-15 overflows above its last bound and not at it", () => {
    const { outbox, told } = open(10, 100);
    push(outbox, "x".repeat(100));
    expect(told).toEqual(["full"]);
    push(outbox, "y");
    expect(told).toEqual(["full", "overflow"]);
  });

  it("hands everything over before it ends, even to a stream that lags", () => {
    const { outbox, stream } = open();
    stream.keepsUp = false;
    outbox.attach(stream, undefined, nothing);
    push(outbox, "a", "b", "c");
    outbox.end(1200);
    expect(stream.written.map(([, message]) => message)).toEqual(["a", "b", "c"]);
    expect([stream.end_, stream.retryMs]).toEqual(["ended", 1200]);
  });

  it("keeps its numbers right over thousands of waiting messages", () => {
    const { outbox, stream } = open(1e6, 1e7);
    for (let index = 1; index <= 5000; index += 1) push(outbox, String(index));
    stream.keepsUp = false;
    outbox.attach(stream, undefined, nothing);
    for (let index = 0; index < 2500; index += 1) outbox.resume();
    stream.keepsUp = true;
    outbox.resume();
    expect(stream.written.every(([sequence, message]) => String(sequence) === message)).toBe(true);
    expect(stream.written).toHaveLength(5000);
    expect(outbox.pendingBytes).toBe(0);
  });

  it("writes no heartbeat behind a jam", () => {
    const { outbox, stream } = open();
    outbox.attach(stream, undefined, nothing);
    outbox.ping();
    stream.keepsUp = false;
    push(outbox, "a");
    outbox.ping();
    expect(stream.pings).toBe(1);
  });

  it("has nothing to end while there is no stream", () => {
    const { outbox } = open();
    outbox.rest(1);
    outbox.end(1);
    outbox.cut();
    push(outbox, "a");
    expect(outbox.untaken).toHaveLength(1);
  });
});
