import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NO_EVENTS } from "../../src/events.ts";
import { GatewayError, type Reason } from "../../src/errors.ts";
import { breakUpstream } from "../../src/upstream/breaker.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { expectNoFixtures, fixture } from "./processes.ts";
import { createPuppet, type Puppet, type PuppetLink } from "./puppet.ts";
import { call, captureLog, never, Recorder } from "./recorder.ts";

const stdio = (name: string) =>
  createStdioUpstream({ name, ...fixture(name), maxLineBytes: 4 << 20, graceMs: 100, log: captureLog().log });

describeUpstream("behind a breaker", {
  create: () =>
    breakUpstream(stdio("raw-echo"), {
      failures: 1,
      resetMs: 1000,
      events: NO_EVENTS,
      log: captureLog().log,
    }),
  talk: (id, steps) => call(id, "progress", { steps }),
});

describe("a breaker", () => {
  let puppet: Puppet;
  let upstream: Upstream;
  let logged: () => string;
  beforeEach(() => {
    vi.useFakeTimers();
    puppet = createPuppet();
    const { log, text } = captureLog();
    logged = text;
    upstream = breakUpstream(puppet, {
      failures: 3,
      resetMs: 1000,
      events: NO_EVENTS,
      log,
      now: () => Date.now(),
    });
  });
  afterEach(() => vi.useRealTimers());

  const turn = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  const last = () => puppet.links.at(-1) as PuppetLink;
  const open = () =>
    upstream.open(new Recorder(), never()).then(
      () => "opened",
      ({ reason }: { reason: string }) => reason,
    );
  const failWith = (reason: Reason) => {
    puppet.onOpen = () => {
      throw new GatewayError(reason);
    };
  };
  async function breakIt(): Promise<void> {
    failWith("upstream_start_failed");
    for (let n = 0; n < 3; n += 1) expect(await open()).toBe("upstream_start_failed");
    puppet.onOpen = undefined;
  }

  it.each(["upstream_start_failed", "upstream_unreachable"] as const)(
    "leaves a server alone after three times %s",
    async (reason) => {
      failWith(reason);
      const outcomes = [await open(), await open(), await open(), await open()];
      expect(outcomes).toEqual([reason, reason, reason, "upstream_unavailable"]);
    },
  );

  it.each([
    ["says nothing before it ends", 5000, false],
    ["ends in its first second", 500, true],
  ])("counts a server that %s", async (_, ms, speaks) => {
    for (let n = 0; n < 3; n += 1) {
      expect(await open()).toBe("opened");
      if (speaks) last().say({ method: "hello" });
      await turn(ms);
      last().end("upstream_exited");
    }
    expect(await open()).toBe("upstream_unavailable");
  });

  it("does not count a server that has answered, however soon it crashes", async () => {
    await open();
    for (let n = 0; n < 5; n += 1) {
      last().say({ id: 0, result: {} });
      last().end("upstream_exited");
      expect(await open()).toBe("opened");
    }
    await breakIt();
    await turn(1000);
    expect(await open()).toBe("opened");
    last().say({ id: 0, error: { code: -32600, message: "no" } });
    last().end("upstream_exited");
    expect(await open()).toBe("opened");
  });

  it("does not count a server that worked, one that was closed, nor one that there was no room for", async () => {
    for (let n = 0; n < 5; n += 1) {
      await open();
      last().say({ method: "hello" });
      await turn(1000);
      last().end("upstream_exited");
      await open();
      await last().close();
    }
    failWith("upstream_queue_full");
    for (let n = 0; n < 5; n += 1) expect(await open()).toBe("upstream_queue_full");
  });

  it("counts only failures in a row", async () => {
    for (let n = 0; n < 3; n += 1) {
      failWith("upstream_start_failed");
      await open();
      await open();
      puppet.onOpen = undefined;
      expect(await open()).toBe("opened");
      last().say({ method: "hello" });
      await turn(1000);
    }
  });

  it("lets one try after the rest, and rests twice as long after each that fails, up to ten minutes", async () => {
    await breakIt();
    for (const ms of [
      1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 600_000, 600_000,
    ]) {
      await turn(ms - 1);
      expect(await open()).toBe("upstream_unavailable");
      await turn(1);
      failWith("upstream_start_failed");
      expect(await open()).toBe("upstream_start_failed");
    }
    expect(logged().match(/left alone/g)).toHaveLength(1);
  });

  it("refuses the others while one tries, and serves all when that went well", async () => {
    await breakIt();
    await turn(1000);
    expect([await open(), await open()]).toEqual(["opened", "upstream_unavailable"]);
    last().say({ method: "hello" });
    await turn(1000);
    expect([await open(), await open()]).toEqual(["opened", "opened"]);
    expect(logged().match(/works again/g)).toHaveLength(1);
  });

  it("lets the next one try when a trial says neither yes nor no, and believes it when it speaks later", async () => {
    await breakIt();
    await turn(1000);
    await open();
    await turn(1000);
    const silent = last();
    expect(await open()).toBe("opened");
    expect(await open()).toBe("upstream_unavailable");
    silent.say({ method: "hello" });
    expect(await open()).toBe("opened");
  });

  it("a trial that gives up waiting is none", async () => {
    await breakIt();
    await turn(1000);
    puppet.onOpen = () => {
      throw new Error("left");
    };
    await open();
    puppet.onOpen = undefined;
    expect(await open()).toBe("opened");
  });
});

it("a breaker leaves a real server alone that crashes at its start", async () => {
  const upstream = breakUpstream(stdio("crash-at-start"), {
    failures: 2,
    resetMs: 60_000,
    events: NO_EVENTS,
    log: captureLog().log,
  });
  for (let n = 0; n < 2; n += 1) {
    const seen = new Recorder();
    await upstream.open(seen, never());
    expect(await seen.end()).toBe("upstream_exited");
  }
  await expect(upstream.open(new Recorder(), never())).rejects.toMatchObject({
    reason: "upstream_unavailable",
  });
  await upstream.close();
  await expectNoFixtures();
});
