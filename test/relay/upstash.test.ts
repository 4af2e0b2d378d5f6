import { PassThrough } from "node:stream";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { createLog } from "../../src/log.ts";
import { toText } from "../../src/relay/envelope.ts";
import type { Peer, Relay, RelayOutcome } from "../../src/relay/relay.ts";
import { plugInto } from "../session-store/plug.ts";
import { eventually } from "../support/eventually.ts";
import { freePort, startRedis, type RedisUnderTest } from "../support/redis-server.ts";
import { openResp, type RespConnection } from "../support/upstash-resp.ts";
import {
  startUpstash,
  type Fault,
  type SeenRequest,
  type UpstashUnderTest,
} from "../support/upstash-server.ts";
import { aMessage, describeRelay, recorder } from "./conformance.ts";
import { openRelay, PREFIX, type Where, type Who } from "./instances.ts";

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

async function open(who: Who = recorder(), at = whereAt(upstash.url)): Promise<Relay & Peer> {
  const relay = await openRelay(at, who);
  onTestFinished(() => relay.close());
  return { ...relay, instanceId: who.instanceId };
}

const isPublish = ({ commands }: SeenRequest): boolean =>
  String(commands[0]?.[0]).toUpperCase() === "PUBLISH";

test("is billed one command for listening, and two for a message", async () => {
  upstash.resetBilled();
  const [sender, peer] = [await open(), await open()];
  expect(upstash.billedByCommand()).toEqual({ SUBSCRIBE: 2 });
  expect(await sender.send(peer, aMessage(), 5000)).toMatchObject({ kind: "answered" });
  expect(upstash.billedByCommand()).toEqual({ SUBSCRIBE: 2, PUBLISH: 2 });
});

test("FLT-06 FLT-16 listens again after its stream was cut, once and never twice", async () => {
  const [sender, peer] = [await open(), await open()];
  for (let time = 0; time < 3; time += 1) {
    upstash.cutStreams();
    // The sender listens for answers, so it was deaf too.
    expect(await sender.send(peer, aMessage(), 5000)).toEqual({ kind: "answered", answer: { ok: true } });
    const [reply] = await raw.send([["PUBSUB", "NUMSUB", `${PREFIX}relay:${peer.instanceId}`]]);
    expect(reply).toMatchObject({ items: [{}, { kind: "integer", digits: "1" }] });
  }
});

test("finds a stream that is open and brings nothing, and tells of the lapse", async () => {
  const plug = await plugInto(Number(new URL(upstash.url).port));
  onTestFinished(plug.pull);
  let heard: () => void = () => undefined;
  const lapse = new Promise<void>((resolve) => (heard = resolve));
  const who = recorder();
  const relay = await open(
    { ...who, events: { ...who.events, onLapse: heard }, selfTest: { silenceMs: 50, echoMs: 1000 } },
    whereAt(`http://127.0.0.1:${plug.port}`),
  );
  const before = upstash.requests().length;
  plug.swallow();
  // A word to itself, and then a new stream.
  await eventually(() =>
    upstash
      .requests()
      .slice(before)
      .some(({ path }) => path.startsWith("/subscribe/")),
  );
  plug.cut();
  await lapse;
  expect(await relay.send(relay, aMessage(), 5000)).toMatchObject({ kind: "answered" });
});

test.each<[string, Fault, RelayOutcome["kind"]]>([
  ["the answer to the command is lost", { kind: "drop", executed: true }, "answered"],
  ["the answer to the command never comes", { kind: "hang", executed: true }, "answered"],
  ["a proxy fails after it was carried out", html(502, true), "answered"],
  ["the answer is cut", { kind: "truncate" }, "answered"],
  ["the command is lost, and is sent again", { kind: "drop", executed: false }, "answered"],
  ["the command hangs, and is sent again", { kind: "hang", executed: false }, "answered"],
  ["there are too many requests", error(429, "ERR too many requests"), "unreachable"],
  ["the quota is used up", error(400, "ERR max requests limit exceeded"), "unreachable"],
  ["the message is too large", error(400, "ERR max request size exceeded"), "unreachable"],
  ["the token is refused", error(401, "WRONGPASS invalid or missing auth token"), "unreachable"],
])("tells the truth when %s", async (_, fault, outcome) => {
  const two = recorder();
  const [sender, peer] = [await open(), await open(two)];
  const faults: Fault[] = [fault];
  upstash.fail((request) => (isPublish(request) ? faults.shift() : undefined));
  onTestFinished(() => upstash.heal());
  expect((await sender.send(peer, aMessage(), 1000)).kind).toBe(outcome);
  expect(two.done).toHaveLength(outcome === "answered" ? 1 : 0);
});

test("says unknown when every try is lost, for that is all it can know", async () => {
  const [sender, peer] = [await open(), await open()];
  upstash.fail((request) => (isPublish(request) ? { kind: "drop", executed: false } : undefined));
  onTestFinished(() => upstash.heal());
  expect(await sender.send(peer, aMessage(), 300)).toEqual({ kind: "unknown" });
});

test("opens while Upstash is away or refuses the token, says unreachable, and keeps the token to itself", async () => {
  const out = new PassThrough();
  const log = createLog("debug", out);
  const away = await open({ ...recorder(), log }, whereAt(`http://127.0.0.1:${await freePort()}`));
  expect(await away.send(away, aMessage(), 5000)).toEqual({ kind: "unreachable" });
  const refused = await open({ ...recorder(), log }, { kind: "upstash", url: upstash.url, token: "canary" });
  expect(await refused.send(refused, aMessage(), 5000)).toEqual({ kind: "unreachable" });
  const words = String(out.read());
  expect(words).toContain("ECONNREFUSED");
  expect(words).toContain("HTTP_401");
  expect(words).not.toMatch(/canary|127\.0\.0\.1/);
  expect(words).not.toContain(upstash.token);
});

test("works with a prefix of commas and slashes, and below a path", async () => {
  const relay = await open({ ...recorder(), prefix: "a,b/c?d#%41:" }, whereAt(`${upstash.url}/`));
  expect(await relay.send(relay, aMessage(), 5000)).toMatchObject({ kind: "answered" });
});

test("refuses what is no URL of Upstash", async () => {
  for (const url of ["", "canary", "redis://canary"]) {
    const opening = openRelay({ kind: "upstash", url, token: "x" }, recorder());
    await expect(opening).rejects.toThrow(/^UPSTASH_REDIS_REST_URL(?!.*canary)/);
  }
});

function html(status: number, executed: boolean): Fault {
  return { kind: "answer", status, body: "<html>", contentType: "text/html", executed };
}

function error(status: number, text: string): Fault {
  return { kind: "answer", status, body: JSON.stringify({ error: text }) };
}
