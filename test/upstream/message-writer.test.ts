import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MessageWriter } from "../../src/upstream/message-writer.ts";
import { outcomeOf } from "./recorder.ts";

/** A pipe whose reader reads when the test says so. */
function openPipe(highWaterMark = 10) {
  const writes: string[] = [];
  let take: (() => void) | undefined;
  const stdin = new Writable({
    highWaterMark,
    write: (chunk: Buffer, _encoding, done) => {
      writes.push(chunk.toString());
      take = done;
    },
    writev: (chunks, done) => {
      writes.push(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)).toString());
      take = done;
    },
  });
  stdin.on("error", () => {});
  const read = async (): Promise<void> => {
    await endOfTurn();
    take?.();
    await vi.advanceTimersByTimeAsync(0);
    await endOfTurn();
  };
  return { stdin, writes, read, writer: new MessageWriter(stdin, { sendTimeoutMs: 2000 }) };
}

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const message = (text: string): Buffer => Buffer.from(`{"${text}"}`);

describe("MessageWriter", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("gives what came in one turn in one write, in order, and waits for nothing else", async () => {
    const { writer, writes } = openPipe(1000);
    const other = openPipe(1000);
    for (const text of ["a", "b", "c"]) {
      expect(writer.send(message(text))).toBeUndefined();
      expect(other.writer.send(message(text))).toBeUndefined();
    }
    await endOfTurn();
    expect(writes).toEqual(['{"a"}\n{"b"}\n{"c"}\n']);
    expect(other.writes).toEqual(writes);
  });

  it("keeps the order of small and large messages of one turn, each whole", async () => {
    const { writer, writes, read } = openPipe(100_000);
    const large = `{"${"x".repeat(20_000)}"}`;
    for (const text of ["{1}", large, "{2}", "{3}"]) void writer.send(Buffer.from(text));
    for (let reads = 0; reads < 4; reads += 1) await read();
    expect(writes.join("")).toBe(["{1}", large, "{2}", "{3}", ""].join("\n"));
  });

  it("writes before the turn is over when the pipe has all it is to hold", async () => {
    const { writer, writes } = openPipe(10);
    expect(writer.send(message("a"))).toBeUndefined();
    expect(writer.send(message("b"))).toBeUndefined();
    expect(writes).toEqual(['{"a"}\n{"b"}\n']);
    await expect(Promise.race([writer.send(message("c")), endOfTurn().then(() => "waits")])).resolves.toBe(
      "waits",
    );
  });

  it("gives what came in the turn in which its pipe is ended", async () => {
    const { writer, stdin, writes } = openPipe(1000);
    void writer.send(message("last"));
    writer.end();
    stdin.end();
    await endOfTurn();
    expect(writes).toEqual(['{"last"}\n']);
  });

  it("writes a message and its line end at once, small or large", async () => {
    const { writer, writes, read } = openPipe();
    expect(writer.send(message("a"))).toBeUndefined();
    await read();
    const large = "x".repeat(20_000);
    expect(writer.send(message(large))).toBeUndefined();
    await read();
    expect(writes).toEqual(['{"a"}\n', `{"${large}"}\n`]);
  });

  it("FLT-34 gives nothing of a message to a reader that does not read, and says so in time", async () => {
    const { writer, writes, read } = openPipe();
    expect(writer.send(message("fills the pipe"))).toBeUndefined();
    const outcome = outcomeOf(writer.send(message("waits")));
    await vi.advanceTimersByTimeAsync(2000);
    expect(await outcome).toBe("upstream_busy");
    await read();
    expect(writer.send(message("b"))).toBeUndefined();
    await endOfTurn();
    expect(writes).toEqual(['{"fills the pipe"}\n', '{"b"}\n']);
  });

  it("keeps the order of what waits and what comes later", async () => {
    const { writer, writes, read } = openPipe();
    void writer.send(message("fills the pipe"));
    const order: number[] = [];
    const sent = [1, 2, 3].map((n) =>
      outcomeOf(writer.send(message(`waits ${n}, long`))).then(() => order.push(n)),
    );
    while (order.length < 3) {
      await read();
      // Room again, but others stand before it.
      if (order.length === 1) sent.push(outcomeOf(writer.send(message("late"))).then(() => order.push(4)));
    }
    await read();
    await read();
    await Promise.all(sent);
    expect(order).toEqual([1, 2, 3, 4]);
    expect(writes.map((line) => line.slice(2, 9))).toEqual([
      "fills t",
      "waits 1",
      "waits 2",
      "waits 3",
      'late"}\n',
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("bounds what waits, in messages and in bytes", async () => {
    const { writer, stdin } = openPipe();
    void writer.send(message("fills the pipe"));
    const waiting = Array.from({ length: 1000 }, () => outcomeOf(writer.send(message("x"))));
    await expect(writer.send(message("x"))).rejects.toMatchObject({ reason: "upstream_busy" });
    stdin.destroy();
    await Promise.all(waiting);

    const other = openPipe();
    void other.writer.send(message("fills the pipe"));
    const large = outcomeOf(other.writer.send(Buffer.alloc(9 << 20, "x")));
    await expect(other.writer.send(message("x"))).rejects.toMatchObject({ reason: "upstream_busy" });
    other.stdin.destroy();
    await large;
  });

  it("refuses what waits when the pipe breaks, and all that comes later", async () => {
    const { writer, stdin, writes } = openPipe();
    void writer.send(message("fills the pipe"));
    await endOfTurn();
    const outcome = outcomeOf(writer.send(message("waits")));
    stdin.destroy(new Error("EPIPE"));
    expect(await outcome).toBe("upstream_exited");
    await expect(writer.send(message("late"))).rejects.toMatchObject({ reason: "upstream_exited" });
    expect(writes).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
