import { afterAll, beforeAll } from "vitest";
import { toBytes } from "../../src/relay/envelope.ts";
import { plugInto } from "../session-store/plug.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { describeRelay } from "./conformance.ts";
import { openRelay, PREFIX } from "./instances.ts";

let redis: RedisUnderTest;
let raw: RespConnection;

beforeAll(async () => {
  redis = await startRedis();
  raw = await openResp(redis.url);
});
afterAll(async () => {
  raw.close();
  await redis.stop();
});

describeRelay("redis", async () => ({
  where: { kind: "redis", url: redis.url },
  inject: async ({ instanceId }, envelope) =>
    void (await raw.send([["PUBLISH", `${PREFIX}relay:${instanceId}`, toBytes(envelope)]])),
  openLossy: async (one, two) => {
    const { hostname, port } = new URL(redis.url);
    const plug = await plugInto(Number(port), hostname);
    const sender = await openRelay({ kind: "redis", url: `redis://127.0.0.1:${plug.port}` }, one);
    const peer = await openRelay({ kind: "redis", url: redis.url }, two);
    const close = async () => void (await Promise.all([sender.close(), plug.pull()]));
    return { sender: { ...sender, close }, peer, swallow: plug.swallow, cut: plug.cut };
  },
}));
