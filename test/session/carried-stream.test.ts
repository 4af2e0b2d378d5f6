import { describe, expect, it } from "vitest";
import type { Relay, RelayMessage, RelayOutcome } from "../../src/relay/relay.ts";
import { CarriedStream } from "../../src/session/carried-stream.ts";
import { settled } from "./scripted.ts";

/** A stream whose other side is the test: it answers what is sent, one after the other. */
function open() {
  const sent: RelayMessage[] = [];
  const answers: ((outcome: RelayOutcome) => void)[] = [];
  const relay = {
    send: (_to: unknown, message: RelayMessage) => {
      sent.push(message);
      return new Promise<RelayOutcome>((resolve) => answers.push(resolve));
    },
  } as unknown as Relay;
  const told: string[] = [];
  const stream = new CarriedStream({
    relay,
    peer: { instanceId: "i-1", address: "a" },
    streamId: "s",
    onGone: () => told.push("gone"),
  });
  stream.events = {
    onTaken: () => told.push("taken"),
    onDrain: () => told.push("drain"),
    onClose: (closed) => told.push(closed === stream ? "close" : "another"),
  };
  const answer = async (outcome: RelayOutcome) => {
    answers.shift()?.(outcome);
    await settled(1);
  };
  const delivered = (taken: number) => answer({ kind: "answered", answer: { delivery: "delivered", taken } });
  const write = (...sequences: number[]) =>
    sequences.map((sequence) => stream.write(sequence, Buffer.from(`{"n":${sequence}}`)));
  const sequences = () => sent.map(({ head }) => head["sequences"]);
  return { stream, sent, told, answer, delivered, write, sequences };
}

describe("a stream to another instance", () => {
  it("has one batch on its way, and what is written meanwhile in the next", async () => {
    const { delivered, write, sequences, told } = open();
    write(1, 2);
    await settled(1);
    write(3, 4);
    await settled(1);
    expect(sequences()).toEqual([[1, 2]]);
    await delivered(2);
    expect([sequences(), told]).toEqual([
      [
        [1, 2],
        [3, 4],
      ],
      ["taken", "taken"],
    ]);
    await delivered(4);
    expect(told).toHaveLength(4);
  });

  it("asks on while not everything is taken, and sends nothing twice", async () => {
    const { delivered, write, sequences, told, sent } = open();
    write(1, 2, 3);
    await settled(1);
    await delivered(1);
    await delivered(1);
    await delivered(3);
    expect([sequences(), told, sent.length]).toEqual([[[1, 2, 3], [], []], ["taken", "taken", "taken"], 3]);
  });

  it("says when it is full, and when it has room again, once everything is taken", async () => {
    const { stream, delivered, told } = open();
    const large = Buffer.alloc(200 * 1024, "x");
    expect([stream.write(1, large), stream.write(2, large)]).toEqual([true, false]);
    await settled(1);
    expect(stream.pendingBytes).toBe(2 * large.length);
    await delivered(1);
    expect([told, stream.pendingBytes]).toEqual([["taken"], large.length]);
    await delivered(2);
    expect([told, stream.pendingBytes]).toEqual([["taken", "taken", "drain"], 0]);
  });

  it("sends batches that the relay can carry: by bytes and by number", async () => {
    const { stream, sequences, delivered } = open();
    for (let n = 1; n <= 3; n += 1) stream.write(n, Buffer.alloc(300 * 1024));
    for (let n = 4; n <= 700; n += 1) stream.write(n, Buffer.alloc(1));
    await settled(1);
    for (const taken of [1, 2, 514]) await delivered(taken);
    expect(sequences().map((batch) => (batch as number[]).length)).toEqual([1, 1, 512, 186]);
  });

  it("sends one that is larger than a batch alone", async () => {
    const { stream, sequences } = open();
    stream.write(1, Buffer.alloc(2_000_000));
    stream.write(2, Buffer.alloc(1));
    await settled(1);
    expect(sequences()).toEqual([[1]]);
  });

  it("ends after everything, with the time to come back, and once", async () => {
    const { stream, write, sent, delivered, told } = open();
    write(1);
    await settled(1);
    write(2);
    stream.end(1500);
    stream.end(9);
    await delivered(1);
    expect(sent.map(({ head }) => head["end"])).toEqual([undefined, { retryMs: 1500 }]);
    await delivered(2);
    expect(told).toEqual(["taken", "taken", "gone", "close"]);
    stream.close();
    stream.cut();
    expect([told.length, sent.length]).toEqual([4, 2]);
  });

  it("is over when the other side has it no more: what was on its way is not taken", async () => {
    const { write, answer, told } = open();
    write(1);
    await settled(1);
    await answer({ kind: "answered", answer: { delivery: "gone" } });
    expect(told).toEqual(["gone", "close"]);
  });

  it("counts as taken all that may have been written there, and nothing that was not sent", async () => {
    const { write, answer, delivered, told } = open();
    write(1, 2, 3);
    await settled(1);
    // Two of them stand in the client's socket.
    await delivered(1);
    write(4);
    await answer({ kind: "unknown" });
    expect(told).toEqual(["taken", "taken", "taken", "gone", "close"]);
  });

  it("is cut at once, which the other side is told", () => {
    const { stream, write, sent, told } = open();
    write(1);
    stream.cut();
    expect(sent.at(-1)).toMatchObject({ kind: "events", head: { stream: "s", end: {} }, bodies: [] });
    expect(told).toEqual(["gone", "close"]);
  });
});
