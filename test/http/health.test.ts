import type { ServerResponse } from "node:http";
import { describe, expect, it } from "vitest";
import request from "supertest";
import { createApp } from "../../src/http/app.ts";
import { createReady } from "../../src/http/health.ts";
import { believe, type StoreHealth } from "../../src/http/store-health.ts";
import type { Sessions } from "../../src/session/sessions.ts";
import { silent } from "../session/scripted.ts";

const HEALTHY: StoreHealth = { store: "redis", reachable: true, latencyMs: 1, breaker: "closed" };

/** An app whose store and sessions are as they are told to be. */
function appWith({ isDraining = false, read = () => Promise.resolve(HEALTHY) } = {}) {
  const notHere = (_req: unknown, res: ServerResponse) => void res.end();
  return createApp({
    openStream: notHere,
    postMessage: notHere,
    streamable: notHere,
    relayMessage: notHere,
    guardOrigin: () => undefined,
    allowedOrigins: [],
    ready: createReady({ isDraining, count: 3 } as Sessions, believe(read)),
    storeHealth: notHere,
    metrics: undefined,
    requireKey: () => undefined,
    log: silent,
  });
}

describe("health", () => {
  const away = () => Promise.resolve({ ...HEALTHY, reachable: false });

  it("is live while the process is, whatever the store does", async () => {
    for (const path of ["/health", "/health/live"]) {
      const answer = await request(appWith({ read: away, isDraining: true })).get(path);
      expect([answer.status, answer.body]).toEqual([200, { status: "ok" }]);
      expect(answer.headers["cache-control"]).toBe("no-store");
    }
  });

  it("is ready when the store is and nothing drains, and says which is not, never why", async () => {
    const ready = await request(appWith()).get("/health/ready");
    expect([ready.status, ready.body]).toEqual([200, { status: "ok", store: "ok", sessions: 3 }]);
    const without = await request(appWith({ read: away })).get("/health/ready");
    expect([without.status, without.body]).toEqual([
      503,
      { status: "unavailable", store: "unavailable", sessions: 3 },
    ]);
    const draining = await request(appWith({ isDraining: true })).get("/health/ready");
    expect([draining.status, draining.body]).toMatchObject([503, { status: "draining" }]);
    expect(draining.headers["retry-after"]).toBe("2");
  });

  it("is ready and degraded while something stands in for the store", async () => {
    const fallback = { inUse: true, seconds: 3, pending: 7 };
    const answer = await request(appWith({ read: async () => ({ ...(await away()), fallback }) })).get(
      "/health/ready",
    );
    expect([answer.status, answer.body]).toEqual([
      200,
      { status: "degraded", store: "degraded", sessions: 3 },
    ]);
  });

  it("asks the store once for many probes, which need no key", async () => {
    let asked = 0;
    const app = appWith({ read: () => Promise.resolve(((asked += 1), HEALTHY)) });
    await Promise.all(Array.from({ length: 20 }, () => request(app).get("/health/ready")));
    expect(asked).toBeLessThan(5);
  });

  it("answers HEAD with no body, and to a host of any name", async () => {
    const answer = await request(appWith()).head("/health").set("Host", "healthcheck.railway.app");
    expect([answer.status, answer.text]).toEqual([200, undefined]);
    expect(answer.headers["content-length"]).toBe("15");
  });
});
