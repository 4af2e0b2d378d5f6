import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { expect, onTestFinished, test } from "vitest";
import { RELAY_PATH as DOOR_PATH } from "../../src/http/relay-message.ts";
import { createLog } from "../../src/log.ts";
import { sealAsk, toBytes } from "../../src/relay/envelope.ts";
import { openHttpRelay, RELAY_PATH } from "../../src/relay/http.ts";
import { wasNeverSent, wasRefused } from "../../src/relay/http-failure.ts";
import { createInbox } from "../../src/relay/inbox.ts";
import type { RelayMessage } from "../../src/relay/relay.ts";
import { plugInto, type Plug } from "../session-store/plug.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/redis-server.ts";
import { aMessage, describeRelay, recorder } from "./conformance.ts";
import { forge, headerOf } from "./forge.ts";
import { openHttpInstance, parts, type Who } from "./instances.ts";

describeRelay("http", async () => ({
  where: { kind: "http" },
  inject: async ({ address }, { seal, payload }) => {
    const headers = { "x-mcp-relay": seal };
    await (
      await fetch(`${address}/internal/relay`, { method: "POST", headers, body: payload })
    ).arrayBuffer();
  },
  openLossy: async (one, two) => {
    const plugs: Plug[] = [];
    const peer = await openHttpInstance(two, async (port) => {
      plugs.push(await plugInto(port));
      return `http://127.0.0.1:${plugs[0]?.port}`;
    });
    const sender = await openHttpInstance(one);
    const close = async () => void (await Promise.all([peer.close(), plugs[0]?.pull()]));
    return {
      sender,
      peer: { ...peer, close },
      swallow: () => plugs[0]?.swallow(),
      cut: () => plugs[0]?.cut(),
    };
  },
}));

async function open(who: Who = recorder(), addressOf?: (port: number) => string) {
  const relay = await openHttpInstance(who, addressOf);
  onTestFinished(() => relay.close());
  return { ...relay, instanceId: who.instanceId };
}

/** A server at an address that another instance once had. */
async function stranger(answer: RequestListener) {
  const requests: { headers: IncomingMessage["headers"]; url: string | undefined }[] = [];
  const server = createServer((req, res) => {
    requests.push({ headers: req.headers, url: req.url });
    req.resume().once("end", () => answer(req, res));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => (server.closeAllConnections(), void server.close()));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { instanceId: "gone", address, requests };
}

test("says dead when nobody listens there, and when the address went to another of us", async () => {
  const [sender, other] = [await open(), await open()];
  const gone = { instanceId: "gone", address: `http://127.0.0.1:${await freePort()}` };
  expect(await sender.send(gone, aMessage(), 1000)).toEqual({ kind: "dead" });
  expect(await sender.send({ ...other, instanceId: "gone" }, aMessage(), 1000)).toEqual({ kind: "dead" });
});

test("says unreachable of a host that does not exist or does not take our proof, and warns once of the latter", async () => {
  const out = new PassThrough();
  const sender = await open({ ...recorder(), log: createLog("info", out) });
  const other = await open({ ...recorder(), secret: "another secret" });
  for (let time = 0; time < 3; time += 1) {
    expect(await sender.send(other, aMessage(), 1000)).toEqual({ kind: "unreachable" });
  }
  expect(String(out.read()).match(/does not take our proof/g)).toHaveLength(1);
  const named = openHttpRelay({ ...parts(recorder()), address: "", allow: ["canary.invalid"] });
  onTestFinished(() => named.close());
  const nowhere = { instanceId: "x", address: "http://canary.invalid:3000" };
  expect(await named.send(nowhere, aMessage(), 5000)).toEqual({ kind: "unreachable" });
});

test.each<[string, RequestListener]>([
  ["200", (_req, res) => void res.end("ok")],
  ["421 without proof", (_req, res) => void res.writeHead(421).end()],
  ["500", (_req, res) => void res.writeHead(500).end()],
  ["a reset", (req) => void req.socket.resetAndDestroy()],
  ["an answer without end", (_req, res) => void res.write("x".repeat(2 * 1024 * 1024))],
])("says unknown when it is answered with %s, after two tries under one id", async (_, answer) => {
  const [sender, peer] = [await open(), await stranger(answer)];
  expect(await sender.send(peer, aMessage(), 2000)).toEqual({ kind: "unknown" });
  const seals = peer.requests.map(({ headers }) => headers["x-mcp-relay"]);
  expect([seals.length, new Set(seals).size]).toEqual([2, 1]);
});

test("says unknown, not dead, when the first try may have arrived and the second is refused", async () => {
  const sender = await open();
  const server = createServer((req) => server.close(() => undefined) && req.socket.resetAndDestroy());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  expect(await sender.send({ instanceId: "x", address }, aMessage(), 2000)).toEqual({ kind: "unknown" });
  expect(await sender.send({ instanceId: "x", address }, aMessage(), 2000)).toEqual({ kind: "dead" });
});

test("does not go where a redirect leads, and shows nothing but its proof", async () => {
  const [sender, secret] = [await open(), await stranger((_req, res) => void res.end())];
  const peer = await stranger((_req, res) => void res.writeHead(307, { location: secret.address }).end());
  expect(await sender.send(peer, aMessage(), 2000)).toEqual({ kind: "unknown" });
  expect(secret.requests).toEqual([]);
  expect(peer.requests[0]?.url).toBe(RELAY_PATH);
  expect(Object.keys(peer.requests[0]?.headers ?? {}).toSorted()).toEqual(
    ["connection", "content-length", "content-type", "host", "x-mcp-relay"].toSorted(),
  );
});

test("joins nothing for an instance of an earlier version, which does not say that it takes it", async () => {
  const [sender, two] = [await open(), recorder()];
  const inbox = createInbox({ ...parts(two) });
  const { key } = parts(two);
  const earlier = await stranger((req, res) => void answerAsBefore(req, res));
  async function answerAsBefore(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const admission = inbox.admit(String(req.headers["x-mcp-relay"]));
    const reply = admission.kind === "admitted" && (await admission.carryOut(payloadOf(aMessage())));
    if (typeof reply !== "object") return void res.writeHead(404).end();
    const { joins, ...header } = headerOf(reply);
    expect(joins).toBe(true);
    res.end(toBytes(forge(key, header, reply.payload, "answer")));
  }
  const at = { instanceId: two.instanceId, address: earlier.address };
  for (let turn = 0; turn < 2; turn += 1) {
    const outcomes = await Promise.all([1, 2, 3].map(() => sender.send(at, aMessage(), 2000)));
    expect(outcomes.map(({ kind }) => kind)).toEqual(["answered", "answered", "answered"]);
  }
  expect([earlier.requests.length, two.done.length]).toEqual([6, 6]);
});

test("lets go of the connection of a message whose deadline is past", async () => {
  let closed = 0;
  const peer = await stranger((req) => void req.socket.once("close", () => (closed += 1)));
  expect(await (await open()).send(peer, aMessage(), 200)).toEqual({ kind: "unknown" });
  await eventually(async () => expect([peer.requests.length, closed]).toEqual([2, 2]));
});

test("does not take an answer that belongs to another message", async () => {
  const two = recorder(() => ({ mine: true }));
  const [sender, peer] = [await open(), await open(two)];
  const kept: Buffer[] = [];
  const replayer = await stranger((req, res) => {
    void peer
      .receive(String(req.headers["x-mcp-relay"]), async () => sealedPayload)
      .then((reply) => {
        if (typeof reply === "object") kept.push(reply.body);
        res.end(kept[0]);
      });
  });
  let sealedPayload = payloadOf(aMessage({ kind: "a" }));
  const through = { instanceId: peer.instanceId, address: replayer.address };
  expect(await sender.send(through, aMessage({ kind: "a" }), 1000)).toMatchObject({ kind: "answered" });
  sealedPayload = payloadOf(aMessage({ kind: "b" }));
  expect(await sender.send(through, aMessage({ kind: "b" }), 1000)).toEqual({ kind: "unknown" });
});

test("sends again on a fresh connection when a kept one is dead", async () => {
  const plugs: Plug[] = [];
  const two = recorder();
  const peer = await openHttpInstance(two, async (port) => {
    plugs.push(await plugInto(port));
    return `http://127.0.0.1:${plugs[0]?.port}`;
  });
  const sender = await open();
  const at = { instanceId: two.instanceId, address: peer.address };
  onTestFinished(async () => (await peer.close(), plugs[0]?.pull()));
  for (let time = 0; time < 20; time += 1) {
    const sent = sender.send(at, aMessage({ kind: `${time}` }), 5000);
    plugs[0]?.cut();
    expect(await sent).toEqual({ kind: "answered", answer: { ok: true } });
  }
  expect(two.kinds()).toEqual(Array.from({ length: 20 }, (_, time) => `${time}`));
});

test("proves that its address leads to itself, and to nobody else", async () => {
  const [relay, other] = [await open(), await open()];
  expect(await relay.prove()).toBe(true);
  expect(await (await open(recorder(), () => other.address)).prove()).toBe(false);
  expect(await (await open(recorder(), () => "http://127.0.0.1:1")).prove()).toBe(false);
  expect(await (await open(recorder(), (port) => `http://localhost:${port}`)).prove()).toBe(false);
});

test("reads no body before its header is proven", async () => {
  const who = recorder();
  const relay = openHttpRelay({ ...parts(who), address: "http://127.0.0.1:1", allow: [] });
  onTestFinished(() => relay.close());
  const { seal, payload } = sealAsk(
    parts(who).key,
    { from: "x", to: who.instanceId, deadlineMs: 1000 },
    aMessage(),
  );
  expect(await relay.receive(seal, async () => payload)).toMatchObject({ status: 200 });
  expect(await relay.receive("anything", () => expect.unreachable())).toBe("unproven");
});

test("calls the path that the door has", () => {
  expect(RELAY_PATH).toBe(DOOR_PATH);
});

test.each([
  [{ code: "ECONNREFUSED", syscall: "connect" }, true, true],
  [{ code: "EHOSTUNREACH", syscall: "connect" }, true, false],
  [{ code: "ENETUNREACH", syscall: "connect" }, true, false],
  [{ code: "ETIMEDOUT", syscall: "connect" }, true, false],
  [{ code: "UND_ERR_CONNECT_TIMEOUT" }, true, false],
  [{ code: "ENOTFOUND", syscall: "getaddrinfo" }, true, false],
  [{ code: "EHOSTUNREACH", syscall: "read" }, false, false],
  [{ code: "ETIMEDOUT", syscall: "read" }, false, false],
  [{ code: "ECONNRESET", syscall: "read" }, false, false],
  [{ code: "EPIPE", syscall: "write" }, false, false],
  [{ code: "UND_ERR_SOCKET" }, false, false],
  [{ code: "UND_ERR_ABORTED" }, false, false],
  [{}, false, false],
])(
  "reads out of %j whether nothing was sent: %s, and whether nobody is there: %s",
  (error, unsent, refused) => {
    expect([wasNeverSent(error), wasRefused(error)]).toEqual([unsent, refused]);
    const refusal = { code: "ECONNREFUSED", syscall: "connect" };
    const both = new AggregateError([refusal, error]);
    expect([wasNeverSent(both), wasRefused(both)]).toEqual([unsent, refused]);
  },
);

function payloadOf(message: RelayMessage): Buffer {
  return sealAsk(parts(recorder()).key, { from: "", to: "", deadlineMs: 1 }, message).payload;
}
