import { describe, expect, it, vi } from "vitest";
import type { Session } from "../../src/session/session.ts";
import { DURABLE } from "./open-session.ts";
import { ALICE, createCluster, type Instance } from "./instances.ts";
import { ScriptedStream, settled } from "./scripted.ts";

/** A session at `there`, whose client reached `here`: what it is written comes out of `stream`. */
async function open({ isTaking = true } = {}) {
  const cluster = createCluster();
  const limits = { ...DURABLE, outboxMaxBytes: 10_000_000, firstPostMs: Infinity, idleMs: Infinity };
  const [here, there] = [await cluster.start("i-1"), await cluster.start("i-2", { limits })];
  const { session, stream: old } = await there.connect();
  old.close();
  await settled();
  const stream = await carry(here, session, isTaking);
  const say = (n: number, text = "") =>
    there.upstream.links[0]?.say({ jsonrpc: "2.0", method: "n", params: { n, text } });
  cluster.network.sent.length = 0;
  return { ...cluster, here, there, session, stream, say };
}

/** A client's stream that takes whatever it is given, unless told not to. */
class TakingStream extends ScriptedStream {
  isTaking = true;

  override write(sequence: number, message: Buffer): boolean {
    super.write(sequence, message);
    if (this.isTaking) queueMicrotask(() => this.take());
    return this.keepsUp;
  }
}

async function carry(
  here: Instance,
  session: Session,
  isTaking = true,
  after?: number,
): Promise<TakingStream> {
  const stream = new TakingStream();
  stream.isTaking = isTaking;
  const owner = { instanceId: "i-2", address: "memory:i-2" };
  const errand = { sessionId: session.id, owner, ...(after === undefined ? {} : { after }) };
  await here.carrier.carry(stream, errand, { caller: "alice" });
  return stream;
}

const numbers = (stream: ScriptedStream) => stream.messages.map(({ params }) => params?.["n"]);

describe("a stream that is carried", () => {
  it("brings every message of the session in its order, with its own numbers, and whole", async () => {
    const { say, stream, session } = await open();
    expect(session.orphanedAt).toBeUndefined();
    const text = "ä\u2028".repeat(100_000);
    say(1, text);
    for (let n = 2; n <= 2000; n += 1) {
      say(n);
      if (n % 300 === 0) await settled();
    }
    await expect.poll(() => stream.written.length).toBe(2000);
    expect(numbers(stream)).toEqual(Array.from({ length: 2000 }, (_, at) => at + 1));
    expect(stream.sequences).toEqual(Array.from({ length: 2000 }, (_, at) => at + 2));
    expect(stream.messages[0]?.params?.["text"]).toBe(text);
  });

  it("brings what is written in one turn in one piece", async () => {
    const { say, stream, network } = await open();
    for (let n = 1; n <= 8; n += 1) say(n);
    await expect.poll(() => stream.written.length).toBe(8);
    expect(network.count("events")).toBe(1);
  });

  it("begins with what waited, exactly behind the event that the client names", async () => {
    const { here, say, stream, session } = await open();
    for (const n of [1, 2, 3]) say(n);
    await expect.poll(() => stream.written.length).toBe(3);
    stream.close();
    await settled();
    expect(session.orphanedAt).toBeDefined();
    say(4);
    const back = await carry(here, session, true, 3);
    await expect.poll(() => numbers(back)).toEqual([3, 4]);
  });

  it("holds back what its client does not take, and the server behind it, and goes on when it does", async () => {
    const { say, stream, there, network } = await open({ isTaking: false });
    say(1);
    await expect.poll(() => stream.written.length).toBe(1);
    // What is on its way is not waited for above this.
    for (let n = 2; n <= 9; n += 1) say(n, "x".repeat(40_000));
    for (let n = 10; n <= 12; n += 1) say(n, "x".repeat(500));
    await settled();
    expect([stream.written.length, network.count("events")]).toEqual([1, 1]);
    expect(there.upstream.links[0]?.isPaused).toBe(true);
    stream.isTaking = true;
    stream.take();
    await expect.poll(() => numbers(stream)).toEqual(Array.from({ length: 12 }, (_, at) => at + 1));
    expect(there.upstream.links[0]?.isPaused).toBe(false);
  });

  it("counts as taken what its client took, also when the rest is late", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const { say, stream, here, session } = await open({ isTaking: false });
      for (const n of [1, 2, 3]) say(n);
      await settled();
      expect(numbers(stream)).toEqual([1, 2, 3]);
      stream.take();
      await vi.advanceTimersByTimeAsync(8000);
      await settled();
      stream.close();
      await settled();
      expect(session.orphanedAt).toBeDefined();
      const back = await carry(here, session);
      await settled();
      expect(numbers(back)).toEqual([2, 3]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("is over with the client's own: the session waits for its client", async () => {
    const { stream, session, here } = await open();
    stream.close();
    await settled();
    expect([session.orphanedAt !== undefined, here.carrier.count]).toEqual([true, 0]);
  });

  it("is ended by its session with the time to come back, after everything that was written", async () => {
    const { stream, session, say, here } = await open();
    say(1);
    session.leave();
    await settled();
    expect([numbers(stream), stream.end_, stream.retryMs, here.carrier.count]).toEqual([
      [1],
      "ended",
      1234,
      0,
    ]);
    expect(session.orphanedAt).toBeDefined();
    expect(session.bequeath().messages).toEqual([]);
  });

  it("is cut when the client has come back elsewhere, and brings that nothing that it took", async () => {
    const { stream, session, say, there } = await open();
    say(1);
    await expect.poll(() => stream.written.length).toBe(1);
    await settled();
    const local = new ScriptedStream();
    session.attach(local);
    say(2);
    await settled();
    expect([numbers(stream), stream.end_, numbers(local)]).toEqual([[1], "ended", [2]]);
    stream.close();
    await settled();
    expect([session.orphanedAt, there.sessions.count]).toEqual([undefined, 1]);
  });

  it("gets its heartbeats from the instance that holds it", async () => {
    const { stream, session, here, clock } = await open();
    session.beat(clock.now + 31_000);
    expect(stream.pings).toBe(0);
    here.carrier.beat(clock.now + 31_000);
    expect(stream.pings).toBe(1);
    here.carrier.beat(clock.now + 31_001);
    expect(stream.pings).toBe(1);
  });

  it("is not told of by an instance that does not own its session", async () => {
    const { network, here, stream, say } = await open();
    say(1);
    await settled();
    const attach = { stream: "", sequences: [2] };
    const id = String(network.sent.find(({ kind }) => kind === "events")?.head["stream"]);
    const message = { kind: "events", head: { ...attach, stream: id }, bodies: [Buffer.from("{}")] };
    expect(await here.summons.receive("i-3", message)).toEqual({ delivery: "gone" });
    expect(await here.summons.receive("i-2", { ...message, head: attach })).toEqual({ delivery: "gone" });
    expect(stream.written).toHaveLength(1);
  });
});

describe("a stream whose way breaks", () => {
  it("may have brought what was on it: that is not written again", async () => {
    for (const mishap of ["unknown", "unheard"] as const) {
      const { network, session, say, stream } = await open();
      network.mishap = ({ kind }) => (kind === "events" ? mishap : undefined);
      say(1);
      say(2);
      await settled();
      say(3);
      expect(session.orphanedAt).toBeDefined();
      const back = new ScriptedStream();
      session.attach(back);
      expect(numbers(back)).toEqual([3]);
      expect(numbers(stream)).toEqual(mishap === "unheard" ? [1, 2] : []);
    }
  });

  it.each(["unreachable", "dead"] as const)(
    "has not brought what was on it, which was %s",
    async (mishap) => {
      const { network, session, say } = await open();
      network.mishap = ({ kind }) => (kind === "events" ? mishap : undefined);
      say(1);
      await settled();
      say(2);
      const back = new ScriptedStream();
      session.attach(back);
      expect(numbers(back)).toEqual([1, 2]);
    },
  );

  it("is ended for its client to come back, although nothing came through to say so", async () => {
    const { network, here, clock, session, say, stream } = await open();
    network.mishap = ({ kind }) => (kind === "events" ? "unreachable" : undefined);
    say(1);
    await settled();
    expect(session.orphanedAt).toBeDefined();
    network.mishap = () => undefined;
    for (let second = 1; second <= 60; second += 1) {
      here.carrier.beat((clock.now += 1000));
      await settled(1);
    }
    expect(stream.end_).toBe("ended");
  });

  it("is ended when its owner is dead, and no other is", async () => {
    const { network, start, here, clock, stream } = await open();
    const third = await start("i-3");
    const { session } = await third.connect(ALICE);
    const other = new TakingStream();
    const owner = { instanceId: "i-3", address: "memory:i-3" };
    await here.carrier.carry(other, { sessionId: session.id, owner }, { caller: "alice" });
    network.kill("i-2");
    here.carrier.beat((clock.now += 1000));
    await settled();
    expect([stream.end_, stream.retryMs, other.end_, here.carrier.count]).toEqual(["ended", 1234, "open", 1]);
  });

  it("is not ended for an owner that cannot be reached and may live", async () => {
    const { network, here, clock, stream } = await open();
    for (const mishap of ["unreachable", "unknown"] as const) {
      network.mishap = () => mishap;
      here.carrier.beat((clock.now += 1000));
      await settled();
    }
    expect([stream.end_, network.count("hello")]).toEqual(["open", 2]);
  });

  it("leaves an orphan when the instance that holds it is dead", async () => {
    const { network, there, clock, session } = await open();
    network.kill("i-1");
    there.summons.beat((clock.now += 30_000));
    await settled();
    expect(session.orphanedAt).toBeDefined();
  });

  it("is ended with all others when its instance closes, for the clients to come back elsewhere", async () => {
    const { here, stream, session } = await open();
    here.carrier.close();
    expect([stream.end_, stream.retryMs, here.carrier.count]).toEqual(["ended", 1234, 0]);
    await settled();
    expect(session.orphanedAt).toBeDefined();
  });
});

describe("a stream that cannot be carried", () => {
  it("is ended for its client to come back: the session is gone, leaves, is another caller's, or cannot be reached", async () => {
    const { here, session, network } = await open();
    const owner = { instanceId: "i-2", address: "memory:i-2" };
    const attempt = async (sessionId: string, caller = "alice") => {
      const stream = new ScriptedStream();
      await here.carrier.carry(stream, { sessionId, owner }, { caller });
      return [stream.end_, stream.retryMs];
    };
    const ended = ["ended", 1234];
    expect(await attempt("unknown")).toEqual(ended);
    expect(await attempt(session.id, "bob")).toEqual(ended);
    session.leave();
    await settled();
    expect(await attempt(session.id)).toEqual(ended);
    network.mishap = () => "unreachable";
    expect(await attempt(session.id)).toEqual(ended);
    here.relay.current = undefined;
    expect(await attempt(session.id)).toEqual(ended);
    expect(here.carrier.count).toBe(0);
  });

  it("leaves the session's own stream alone when it is another caller's", async () => {
    const { here, session, stream } = await open();
    const foreign = new ScriptedStream();
    const owner = { instanceId: "i-2", address: "memory:i-2" };
    await here.carrier.carry(foreign, { sessionId: session.id, owner }, { caller: "bob" });
    expect([stream.end_, session.orphanedAt]).toEqual(["open", undefined]);
  });
});
