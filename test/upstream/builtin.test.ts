import { afterEach, describe, expect, it, vi } from "vitest";
import { createBuiltinUpstream, type ConnectableServer } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { describeUpstream } from "./conformance.ts";
import { call, captureLog, encode, never, Recorder } from "./recorder.ts";

const { log, text: logged } = captureLog();

describeUpstream("built in", {
  create: () => createBuiltinUpstream({ name: "demo", createServer: createDemoServer, log }),
  talk: (id, steps) => call(id, "slow", { seconds: 0, steps }),
});

type Transport = Parameters<ConnectableServer["connect"]>[0];

describe("built in", () => {
  let upstream: Upstream | undefined;
  afterEach(() => upstream?.close());

  async function open(createServer: () => ConnectableServer = createDemoServer) {
    upstream = createBuiltinUpstream({ name: "demo", createServer, log });
    const seen = new Recorder();
    return { link: await upstream.open(seen, never()), seen };
  }

  /** A server that does only what its test says. */
  function bareServer(server: Partial<ConnectableServer> = {}) {
    let transport: Transport | undefined;
    const bare: ConnectableServer = {
      connect: async (given) => {
        transport = given;
      },
      close: async () => transport?.close(),
      ...server,
    };
    return { createServer: () => bare, transport: () => transport as Transport };
  }

  it.each([
    ["null", "null"],
    ["an array", "[]"],
    ["a number", "1"],
    ["not JSON", "{"],
    ["a wrong version", '{"jsonrpc":"1.0","method":"x"}'],
    ["an unknown response", '{"jsonrpc":"2.0","id":99,"result":{}}'],
    ["a result that is no object", '{"jsonrpc":"2.0","id":0,"result":1}'],
    ["result and error", '{"jsonrpc":"2.0","id":0,"result":{},"error":{"code":1,"message":"x"}}'],
    [
      "a notification with wrong parameters",
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}',
    ],
    ["nothing but braces", "{}"],
  ])("FLT-36 lives on after %s", async (_, message) => {
    const { link, seen } = await open();
    await link.send(Buffer.from(message));
    await link.send(call(0, "echo", { text: "alive" }));
    await seen.answer(0);
    expect(seen.texts()).toEqual(["alive"]);
  });

  it("answers a request whose parameters the SDK refuses", async () => {
    const { link, seen } = await open();
    await link.send(Buffer.from('{"jsonrpc":"2.0","id":0,"method":"ping","params":[1]}'));
    expect(await seen.answer(0)).toMatchObject({ error: { code: -32602 } });
  });

  it("answers a request that carries a vendor's own member", async () => {
    const { link, seen } = await open();
    await link.send(Buffer.from('{"jsonrpc":"2.0","id":0,"method":"ping","x-vendor":{"a":1}}'));
    expect(await seen.answer(0)).toMatchObject({ result: {} });
  });

  it("slows a server that awaits its messages while paused, and sends them in order", async () => {
    const server = bareServer();
    const { link, seen } = await open(server.createServer);
    link.pause();
    const order: string[] = [];
    const sending = [1, 2, 3].map(async (n) => {
      await server.transport().send({ jsonrpc: "2.0", method: `m${n}` });
      order.push(`sent ${n}`);
    });
    await Promise.resolve();
    expect([order, seen.messages]).toEqual([[], []]);
    link.resume();
    await Promise.all(sending);
    expect(seen.messages.map(({ method }) => method)).toEqual(["m1", "m2", "m3"]);
    expect(order).toEqual(["sent 1", "sent 2", "sent 3"]);
  });

  it("stops again in the middle when a message it resumes with makes it pause", async () => {
    const server = bareServer();
    const { link, seen } = await open(server.createServer);
    link.pause();
    for (const n of [1, 2, 3]) void server.transport().send({ jsonrpc: "2.0", method: `m${n}` });
    seen.onEach = () => link.pause();
    link.resume();
    expect(seen.messages).toHaveLength(1);
    seen.onEach = undefined;
    link.resume();
    expect(seen.messages.map(({ method }) => method)).toEqual(["m1", "m2", "m3"]);
  });

  it("holds no more than 4 MiB while paused", async () => {
    const server = bareServer();
    const { link, seen } = await open(server.createServer);
    link.pause();
    const params = { text: "x".repeat(1024 * 1024) };
    for (const n of [1, 2, 3, 4, 5])
      void server.transport().send({ jsonrpc: "2.0", method: `m${n}`, params });
    expect(seen.messages.map(({ method }) => method)).toEqual(["m1", "m2"]);
    link.resume();
    expect(seen.messages.map(({ method }) => method)).toEqual(["m1", "m2", "m3", "m4", "m5"]);
  });

  it("does not answer within send, even where its server answers at once", async () => {
    const server = bareServer();
    const { link, seen } = await open(server.createServer);
    server.transport().onmessage = () => void server.transport().send({ jsonrpc: "2.0", id: 0, result: {} });
    const sent = link.send(encode({ id: 0, method: "ping" }));
    expect(seen.messages).toEqual([]);
    await sent;
    await seen.answer(0);
  });

  it("lets a tool that waits in a pause go when it is closed, before the server waits for the tool", async () => {
    let sending: Promise<void> | undefined;
    const server = bareServer({ close: async () => sending });
    const { link, seen } = await open(server.createServer);
    link.pause();
    sending = server.transport().send({ jsonrpc: "2.0", method: "m" });
    await link.close();
    await sending;
    await server.transport().send({ jsonrpc: "2.0", method: "late" });
    expect([seen.messages, seen.ends]).toEqual([[], ["closed"]]);
  });

  it("FLT-30 tells a server that ends by itself", async () => {
    const server = bareServer();
    const { link, seen } = await open(server.createServer);
    const onclose = vi.fn<() => void>();
    server.transport().onclose = onclose;
    await server.transport().close();
    await server.transport().close();
    await link.close();
    expect(seen.ends).toEqual(["upstream_exited"]);
    expect(onclose).toHaveBeenCalledOnce();
  });

  it("FLT-31 tells a server that cannot be made or connected, and keeps the cause for the log", async () => {
    const fails = () => {
      throw new Error("no configuration");
    };
    await expect(open(fails)).rejects.toMatchObject({ reason: "upstream_start_failed" });
    const server = bareServer({ connect: () => Promise.reject(new Error("no connection")) });
    await expect(open(server.createServer)).rejects.toMatchObject({ reason: "upstream_start_failed" });
    expect(logged()).toContain("no configuration");
    expect(logged()).toContain("no connection");
  });

  it("survives a server that throws at a message and at its end", async () => {
    const server = bareServer({ close: () => Promise.reject(new Error("will not close")) });
    const { link, seen } = await open(server.createServer);
    server.transport().onmessage = () => {
      throw new Error("bad server");
    };
    await link.send(encode({ method: "x" }));
    await link.close();
    expect(seen.ends).toEqual(["closed"]);
    expect(logged()).toContain("bad server");
  });

  it("answers with an error where a result cannot be written as JSON", async () => {
    const server = bareServer();
    const { seen } = await open(server.createServer);
    await server.transport().send({ jsonrpc: "2.0", id: 5, result: { n: 1n } });
    expect(await seen.answer(5)).toMatchObject({ error: { code: -32603 } });
  });
});
