import { afterAll, beforeAll } from "vitest";
import { toText } from "../../src/relay/envelope.ts";
import { plugInto } from "../session-store/plug.ts";
import { startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { startUpstash, type UpstashUnderTest } from "../support/upstash-server.ts";
import { describeRelay } from "./conformance.ts";
import { openRelay, PREFIX, type Where } from "./instances.ts";

let redis: RedisUnderTest;
let raw: RespConnection;
let upstash: UpstashUnderTest;

beforeAll(async () => {
  redis = await startRedis();
  raw = await openResp(redis.url);
  upstash = await startUpstash({ redisUrl: redis.url });
});
afterAll(async () => {
  await upstash.close();
  raw.close();
  await redis.stop();
});

const whereAt = (url: string): Where => ({ kind: "upstash", url, token: upstash.token });

describeRelay("upstash", async () => ({
  where: whereAt(upstash.url),
  inject: async ({ instanceId }, envelope) =>
    void (await raw.send([["PUBLISH", `${PREFIX}relay:${instanceId}`, toText(envelope)]])),
  openLossy: async (one, two) => {
    const plug = await plugInto(Number(new URL(upstash.url).port));
    const sender = await openRelay(whereAt(`http://127.0.0.1:${plug.port}`), one);
    const peer = await openRelay(whereAt(upstash.url), two);
    const close = async () => void (await Promise.all([sender.close(), plug.pull()]));
    return { sender: { ...sender, close }, peer, swallow: plug.swallow, cut: plug.cut };
  },
}));
