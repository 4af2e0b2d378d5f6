import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { createLog } from "../../src/log.ts";
import { toBytes } from "../../src/relay/envelope.ts";
import { openRedisRelay } from "../../src/relay/redis.ts";
import type { Peer, Relay } from "../../src/relay/relay.ts";
import { plugInto } from "../session-store/plug.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import { aMessage, describeRelay, recorder } from "./conformance.ts";
import { openRelay, parts, PREFIX, type Where, type Who } from "./instances.ts";

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

const where = (url = redis.url): Where => ({ kind: "redis", url });

async function open(who: Who, at = where()): Promise<Relay & Peer> {
  const relay = await openRelay(at, who);
  onTestFinished(() => relay.close());
  return { ...relay, instanceId: who.instanceId };
}

async function listeners(instanceId: string): Promise<unknown> {
  const [reply] = await raw.send([["PUBSUB", "NUMSUB", `${PREFIX}relay:${instanceId}`]]);
  return reply?.kind === "array" ? reply.items[1] : undefined;
}
const one = { kind: "integer", digits: "1" };

test("FLT-06 FLT-16 listens again after its subscription was killed, once and never twice", async () => {
  const [sender, peer] = [await open(recorder()), await open(recorder())];
  expect(await listeners(peer.instanceId)).toEqual(one);
  for (let time = 0; time < 3; time += 1) {
    await raw.send([["CLIENT", "KILL", "TYPE", "pubsub"]]);
    // The sender listens for answers, so it was deaf too.
    expect(await sender.send(peer, aMessage(), 5000)).toEqual({ kind: "answered", answer: { ok: true } });
    expect(await listeners(peer.instanceId)).toEqual(one);
  }
});

test("opens while Redis is away, says unreachable, tells of it once, and works when it is there", async () => {
  const port = await freePort();
  const out = new PassThrough();
  const who = { ...recorder(), log: createLog("debug", out) };
  const relay = await open(who, where(`redis://127.0.0.1:${port}`));
  expect(await relay.send(relay, aMessage(), 5000)).toEqual({ kind: "unreachable" });
  const late = await plugFrom(port, Number(new URL(redis.url).port));
  onTestFinished(late);
  await eventually(async () => expect((await relay.send(relay, aMessage(), 500)).kind).toBe("answered"));
  const words = String(out.read());
  // One for each of its two connections.
  expect(words.match(/connection lost/g)).toHaveLength(2);
  expect(words.match(/connection is back/g)).toHaveLength(2);
});

test("finds a connection that is up and brings nothing, and tells of the lapse", async () => {
  const plug = await plugInto(Number(new URL(redis.url).port));
  onTestFinished(plug.pull);
  const log = createLog("debug", new PassThrough());
  const [deafened, lapsed] = [signal(), signal()];
  vi.spyOn(log, "warn").mockImplementation((_told: unknown, words?: string) => {
    if (`${words ?? String(_told)}`.includes("hears nothing")) deafened.give();
  });
  const who = recorder();
  const events = { ...who.events, onLapse: lapsed.give };
  const relay = await open(
    { ...who, events, log, selfTest: { silenceMs: 50, echoMs: 1000 } },
    where(`redis://127.0.0.1:${plug.port}`),
  );
  plug.swallow();
  await deafened.given;
  plug.cut();
  await lapsed.given;
  // It publishes on another connection.
  await eventually(async () => expect((await relay.send(relay, aMessage(), 500)).kind).toBe("answered"));
});

test("takes a channel without listeners for no proof in a cluster, where each node counts its own", async () => {
  const address = { host: "127.0.0.1", port: Number(new URL(redis.url).port) };
  const relay = await openRedisRelay({
    ...parts(recorder()),
    prefix: PREFIX,
    nodes: [address, address],
    connection: {},
  });
  onTestFinished(() => relay.close());
  const nobody = { instanceId: "nobody", address: "redis" };
  expect(await relay.send(nobody, aMessage(), 300)).toEqual({ kind: "unknown" });
});

test("finds another node of a cluster when one is away", async () => {
  const [port, away] = [Number(new URL(redis.url).port), await freePort()];
  const nodes = [away, port].map((one) => ({ host: "127.0.0.1", port: one }));
  const who = recorder();
  const relay = await openRedisRelay({ ...parts(who), prefix: PREFIX, nodes, connection: {} });
  onTestFinished(() => relay.close());
  const self = { instanceId: who.instanceId, address: "redis" };
  await eventually(async () => expect((await relay.send(self, aMessage(), 500)).kind).toBe("answered"));
});

test("keeps the names of channels under the prefix, whatever is in it", async () => {
  const who = { ...recorder(), prefix: "a,b c:{x}:" };
  const relay = await open(who);
  expect(await relay.send(relay, aMessage(), 5000)).toMatchObject({ kind: "answered" });
});

test("says unreachable when Redis refuses to publish", async ({ skip }) => {
  const own = await startRedis(["--requirepass", "right"]);
  onTestFinished(() => own.stop());
  if (own.kind !== "redis-server") return skip("the server knows no flags");
  const { hostname: host, port } = new URL(own.url);
  const root = await openResp(own.url.replace("redis://", "redis://default:right@"));
  onTestFinished(() => root.close());
  await root.send([["ACL", "SETUSER", "quiet", "on", ">x", "+@all", "-publish", "allchannels"]]);
  const relay = await openRedisRelay({
    ...parts(recorder()),
    prefix: PREFIX,
    nodes: [{ host, port: Number(port) }],
    connection: { username: "quiet", password: "x" },
  });
  onTestFinished(() => relay.close());
  const peer = { instanceId: "x", address: "redis" };
  expect(await relay.send(peer, aMessage(), 5000)).toEqual({ kind: "unreachable" });
});

function signal(): { give: () => void; given: Promise<void> } {
  let give: () => void = () => undefined;
  const given = new Promise<void>((resolve) => (give = resolve));
  return { give, given };
}

/** Leads one port to another from now on; ends when called. */
async function plugFrom(from: number, to: number): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(to, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket.on("error", () => socket.destroy()));
      socket.once("close", () => (near.destroy(), far.destroy()));
    }
    near.pipe(far).pipe(near);
  }).listen(from, "127.0.0.1");
  await once(server, "listening");
  return async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
}
