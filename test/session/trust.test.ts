import { describe, expect, it } from "vitest";
import { InstanceLease } from "../../src/session/instance-lease.ts";
import type { Records } from "../../src/session/records.ts";
import { Trust } from "../../src/session/trust.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import { settled, silent } from "./scripted.ts";

/** An instance in good standing, whose records are looked at when the test lets them be. */
async function open() {
  const clock = { now: 0 };
  const look = { count: 0, gate: Promise.resolve() };
  const lease = new InstanceLease(createMemorySessionStore(), "i-1", silent, {
    onLook: () => undefined,
    onLost: () => undefined,
  });
  const records = {
    verify: () => {
      look.count += 1;
      return look.gate;
    },
  } as unknown as Records;
  const trust = new Trust({ lease, records, now: () => clock.now });
  await lease.beat(0);
  /** Its process runs as it should for so long. */
  const awake = (ms: number) => {
    for (const until = clock.now + ms; clock.now < until;) trust.beat((clock.now += 500));
  };
  return { clock, look, lease, trust, awake };
}

function gate() {
  let open = (): void => undefined;
  const held = new Promise<void>((resolve) => (open = resolve));
  return { held, open: () => open() };
}

describe("whether an instance may trust that its sessions are its own", () => {
  it("is in doubt when its process has missed its beat for two and a half seconds, and no more once it beats", async () => {
    const { clock, trust } = await open();
    clock.now = 2500;
    expect(trust.isDoubtful).toBe(false);
    clock.now = 2501;
    expect(trust.isDoubtful).toBe(true);
    trust.beat(2501);
    expect(trust.isDoubtful).toBe(false);
  });

  it("is in doubt when its lease may have run out, however regularly it beats, until it is renewed", async () => {
    const { trust, awake, clock, lease } = await open();
    awake(89_500);
    expect(trust.isDoubtful).toBe(false);
    awake(500);
    expect(trust.isDoubtful).toBe(true);
    await lease.rewrite(clock.now);
    expect(trust.isDoubtful).toBe(false);
  });

  it("is looked at once for all who wait, and again when others could not reach it", async () => {
    const { clock, look, trust } = await open();
    await trust.verify();
    expect(look.count).toBe(0);
    clock.now = 3000;
    const { held, open: answer } = gate();
    look.gate = held;
    let done = 0;
    const waiting = [1, 2, 3].map(() => trust.verify().then(() => (done += 1)));
    await settled();
    expect([look.count, done]).toEqual([1, 0]);
    answer();
    await Promise.all(waiting);
    expect([look.count, done]).toEqual([1, 3]);
    await trust.verify();
    expect(look.count).toBe(1);
    trust.lose();
    expect([look.count, trust.isDoubtful]).toEqual([2, true]);
    await settled();
    expect(look.count).toBe(2);
  });

  it("is looked at once a second at most while the store cannot tell, and rejects nobody", async () => {
    const { clock, look, trust } = await open();
    clock.now = 3000;
    look.gate = Promise.reject(new Error("away"));
    await trust.verify();
    clock.now = 3999;
    await trust.verify();
    expect(look.count).toBe(1);
    clock.now = 4000;
    await trust.verify();
    expect(look.count).toBe(2);
  });
});
