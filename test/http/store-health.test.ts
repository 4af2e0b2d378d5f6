import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import request from "supertest";
import { describe, expect, it } from "vitest";
import {
  believe,
  createStoreHealth,
  type FallbackHealth,
  type MirrorHealth,
  statusOf,
  type StoreHealth,
} from "../../src/http/store-health.ts";

const WELL: StoreHealth = {
  store: "redis",
  reachable: true,
  latencyMs: 1.234,
  breaker: "closed",
  leaseAgeSeconds: 3.21,
};
const AWAY: StoreHealth = { ...WELL, reachable: false, latencyMs: undefined, breaker: "open" };
const FALLBACK: FallbackHealth = { inUse: false, pending: 0 };
const MIRROR: MirrorHealth = {
  reachable: true,
  reading: false,
  queued: 0,
  dropped: 0,
  lagSeconds: 0,
  divergent: 0,
};

const serverOf = (health: StoreHealth) => {
  const route = createStoreHealth(() => Promise.resolve(health));
  return createServer((req: IncomingMessage, res: ServerResponse) => void route(req, res));
};

describe("the state of the store", () => {
  it.each<[string, StoreHealth, string]>([
    ["all is well", WELL, "ok"],
    ["all is well, with a fallback and a mirror", { ...WELL, fallback: FALLBACK, mirror: MIRROR }, "ok"],
    ["it is away", AWAY, "unavailable"],
    ["it is away, and its fallback is not in use", { ...AWAY, fallback: FALLBACK }, "unavailable"],
    ["it is away, and memory does its work", { ...AWAY, fallback: { ...FALLBACK, inUse: true } }, "degraded"],
    ["it is away, and the mirror is read", { ...AWAY, mirror: { ...MIRROR, reading: true } }, "degraded"],
    ["it is away, and so is the mirror", { ...AWAY, mirror: { ...MIRROR, reachable: false } }, "unavailable"],
    [
      "it is back, and memory is not written to it yet",
      { ...WELL, fallback: { ...FALLBACK, inUse: true } },
      "degraded",
    ],
    ["it answers, and its breaker has not closed yet", { ...WELL, breaker: "half-open" }, "degraded"],
    ["its mirror is away", { ...WELL, mirror: { ...MIRROR, reachable: false } }, "degraded"],
    ["its mirror is a little behind", { ...WELL, mirror: { ...MIRROR, lagSeconds: 1, queued: 3 } }, "ok"],
  ])("when %s", (_, health, status) => {
    expect(statusOf(health)).toBe(status);
  });
});

describe("/health/store", () => {
  it("tells what there is, in words without decimals that nobody reads", async () => {
    const answer = await request(serverOf(WELL)).get("/health/store");
    expect([answer.status, answer.body]).toEqual([
      200,
      {
        status: "ok",
        store: "redis",
        reachable: true,
        latencyMs: 1.2,
        breaker: "closed",
        leaseAgeSeconds: 3.2,
      },
    ]);
  });

  it("answers 200 when degraded, and 503 when unavailable", async () => {
    const fallback = { inUse: true, seconds: 12.34, pending: 5 };
    const degraded = await request(serverOf({ ...AWAY, fallback, mirror: MIRROR })).get("/health/store");
    expect([degraded.status, degraded.body]).toEqual([
      200,
      {
        status: "degraded",
        store: "redis",
        reachable: false,
        breaker: "open",
        leaseAgeSeconds: 3.2,
        fallback: { inUse: true, seconds: 12.3, pending: 5 },
        mirror: MIRROR,
      },
    ]);
    const away = await request(serverOf(AWAY)).get("/health/store");
    expect([away.status, away.body.status, away.headers["retry-after"]]).toEqual([503, "unavailable", "2"]);
  });

  it("asks once a second, however many probes come", async () => {
    let asked = 0;
    let now = 0;
    const read = believe(
      () => Promise.resolve({ ...WELL, latencyMs: (asked += 1) }),
      () => now,
    );
    await Promise.all(Array.from({ length: 20 }, read));
    now = 999;
    await read();
    expect(asked).toBe(1);
    now = 1000;
    expect((await read()).latencyMs).toBe(2);
  });
});
