import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { poolUpstream, type PoolUpstream } from "../../src/upstream/pool.ts";
import { createStdioUpstream, type StdioUpstream } from "../../src/upstream/stdio.ts";
import { describeUpstream } from "./conformance.ts";
import { expectNoFixtures, fixture, livingFixtures } from "./processes.ts";
import { createPuppet, type Puppet, type PuppetLink } from "./puppet.ts";
import { call, captureLog, encode, never, Recorder } from "./recorder.ts";

const { log, text: logged } = captureLog();
const stdio = (name: string, maxChildren = 100): StdioUpstream =>
  createStdioUpstream({
    name,
    ...fixture(name),
    maxLineBytes: 4 << 20,
    graceMs: 100,
    maxChildren,
    spawnConcurrency: 10,
    log,
  });

const started = (pool: PoolUpstream): PoolUpstream => {
  pool.start();
  return pool;
};

describeUpstream("a pool that is cold", {
  create: () => poolUpstream(stdio("raw-echo"), { size: 2, idleMs: 0, log }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

describe("a pool that is warm", () => {
  let warm: PoolUpstream;
  beforeEach(async () => {
    warm = started(poolUpstream(stdio("raw-echo"), { size: 4, idleMs: 0, log }));
    await expect.poll(() => warm.warm).toBe(4);
  });
  describeUpstream("a pool", { create: () => warm, talk: (id, steps) => call(id, "progress", { steps }) });
});

describe("a pool of real servers", () => {
  let stdioUpstream: StdioUpstream;
  let pool: PoolUpstream;
  const create = (name: string, size: number, maxChildren?: number): PoolUpstream => {
    stdioUpstream = stdio(name, maxChildren);
    return (pool = poolUpstream(stdioUpstream, { size, idleMs: 0, log }));
  };
  afterEach(async () => {
    await pool.close();
    await expectNoFixtures();
  });

  it("hands out a process that is up, never the same twice, and starts another", async () => {
    started(create("raw-echo", 1));
    const pids = new Set<string | undefined>();
    for (let n = 1; n <= 3; n += 1) {
      await expect.poll(() => pool.warm).toBe(1);
      const [before] = livingFixtures().slice(-1);
      const seen = new Recorder();
      const link = await pool.open(seen, never());
      expect(pool.warm).toBe(0);
      await link.send(call(0, "pid"));
      await seen.answer(0);
      expect(seen.texts()).toEqual([String(before)]);
      pids.add(seen.texts()[0]);
    }
    expect(pids.size).toBe(3);
  });

  it("leaves room for those who come: it starts nothing ahead of them when there is no more", async () => {
    create("raw-echo", 3, 2);
    const opened = [];
    for (let n = 0; n < 2; n += 1) opened.push(await pool.open(new Recorder(), never()));
    expect([pool.warm, pool.isFull, stdioUpstream.stats().children]).toEqual([0, true, 2]);
    await opened[0]?.close();
    await expect.poll(() => pool.warm).toBe(1);
    expect([pool.isFull, stdioUpstream.stats().waiting]).toEqual([false, 0]);
  });

  it("leaves nothing behind when it is closed while it fills", async () => {
    started(create("slow-start", 4));
    await pool.close();
    expect(livingFixtures()).toEqual([]);
    await expect(pool.open(new Recorder(), never())).rejects.toMatchObject({
      reason: "upstream_start_failed",
    });
  });
});

describe("a pool", () => {
  let puppet: Puppet;
  beforeEach(() => {
    vi.useFakeTimers();
    puppet = createPuppet();
  });
  afterEach(() => vi.useRealTimers());
  const create = (size: number, idleMs = 0): PoolUpstream => poolUpstream(puppet, { size, idleMs, log });
  const server = (n: number) => puppet.links[n] as PuppetLink;
  const turn = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

  it("hands out what the server said before, in order, after open and before what comes then", async () => {
    const pool = started(create(1));
    await turn();
    for (const method of ["one", "two"]) server(0).say({ method });
    const seen = new Recorder();
    const link = await pool.open(seen, never());
    expect(seen.messages).toEqual([]);
    server(0).say({ method: "three" });
    seen.onEach = () => link.pause();
    await turn();
    expect(seen.messages.map(({ method }) => method)).toEqual(["one"]);
    seen.onEach = undefined;
    link.resume();
    server(0).say({ method: "four" });
    expect(seen.messages.map(({ method }) => method)).toEqual(["one", "two", "three", "four"]);
  });

  it("tells the end of a server after its last words, whether or not the session is paused", async () => {
    const pool = started(create(2));
    await turn();
    for (const pauses of [false, true]) {
      const seen = new Recorder();
      const link = await pool.open(seen, never());
      const puppetLink = server(pauses ? 1 : 0);
      puppetLink.say({ method: "last words" });
      if (pauses) link.pause();
      puppetLink.end("upstream_exited");
      await turn();
      expect([seen.messages.length, seen.ends]).toEqual([1, ["upstream_exited"]]);
    }
  });

  it("pauses a server that says much before anyone has its link", async () => {
    const pool = started(create(1));
    await turn();
    server(0).say({ method: "x".repeat(70_000) });
    expect(server(0).isPaused).toBe(true);
    await pool.open(new Recorder(), never());
    await turn();
    expect(server(0).isPaused).toBe(false);
  });

  it("drops a warm link that ends, and tries again ever more slowly", async () => {
    const pool = started(create(1));
    await turn();
    for (const [n, waitMs] of [1000, 2000, 4000].entries()) {
      server(n).end("upstream_exited");
      expect(pool.warm).toBe(0);
      await turn(waitMs - 1);
      expect(puppet.links.length).toBe(n + 1);
      await turn(1);
      expect([puppet.links.length, pool.warm]).toEqual([n + 2, 1]);
    }
    expect(logged().match(/did not last/g)).toHaveLength(1);
    const link = await pool.open(new Recorder(), never());
    await link.send(encode({ method: "m" }));
    expect(server(3).sent.length).toBe(1);
    await turn(100);
    expect(puppet.links.length).toBe(5);
  });

  it("opens as if there were no pool when none is warm, and lets that go first", async () => {
    const waiting: (() => void)[] = [];
    puppet.onOpen = () => new Promise((resolve) => waiting.push(resolve));
    const pool = create(2);
    const opening = [1, 2].map(() => pool.open(new Recorder(), never()));
    waiting[0]?.();
    await opening[0];
    await turn(1000);
    expect(waiting.length).toBe(2);
    waiting[1]?.();
    await opening[1];
    await turn(100);
    expect(waiting.length).toBe(4);
    await pool.close();
  });

  it("lets its warm links go when nobody comes for a time, and is warm again after the next", async () => {
    const pool = started(create(2, 5000));
    await turn(4999);
    expect(pool.warm).toBe(2);
    await turn(1);
    expect([pool.warm, puppet.links.map(({ isClosed }) => isClosed)]).toEqual([0, [true, true]]);
    await pool.open(new Recorder(), never());
    await turn(100);
    expect([pool.warm, puppet.links.length]).toEqual([2, 5]);
    await pool.close();
    await turn(1e6);
    expect(puppet.links.length).toBe(5);
  });
});
