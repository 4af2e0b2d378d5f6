import { Client, type JSONRPCMessage, type Transport } from "@modelcontextprotocol/client";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ownedBy } from "../../src/upstream/owned.ts";
import { createStatelessUpstream } from "../../src/upstream/stateless.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Link, Upstream } from "../../src/upstream/upstream.ts";
import { expectNoFixtures, fixture } from "./processes.ts";
import { createPuppet, type Puppet, type PuppetLink } from "./puppet.ts";
import { captureLog, encode, type Message, never, Recorder } from "./recorder.ts";
import { eventually } from "../support/eventually.ts";

const { log } = captureLog();
const KEY = "io.modelcontextprotocol/";
const CLAIM = {
  [`${KEY}protocolVersion`]: "2026-07-28",
  [`${KEY}clientInfo`]: { name: "test", version: "1" },
  [`${KEY}clientCapabilities`]: { elicitation: { form: {} } },
};

const request = (id: number | string, method: string, params: object = {}, meta: object = {}): Buffer =>
  encode({ id, method, params: { ...params, _meta: { ...CLAIM, ...meta } } });
const tool = (id: number | string, name: string, args: object = {}, meta: object = {}): Buffer =>
  request(id, "tools/call", { name, arguments: args }, meta);
const textOf = ({ result }: Message): string | undefined => result?.content?.[0]?.text;

interface Opened {
  link: Link;
  seen: Recorder;
}

async function openOn(upstream: Upstream): Promise<Opened> {
  const seen = new Recorder();
  return { link: await upstream.open(seen, never()), seen };
}

describe("the era without sessions, on one real server of both", () => {
  let upstream: Upstream;
  beforeEach(() => {
    const server = { name: "dual", ...fixture("dual-era-server"), maxLineBytes: 4 << 20, graceMs: 100, log };
    upstream = createStatelessUpstream(createStdioUpstream(server), { idleMs: 0, log });
  });
  afterEach(async () => {
    await upstream.close();
    await expectNoFixtures();
  });

  const open = (): Promise<Opened> => openOn(upstream);
  /** As a request of its own is served: a link, its answer, and the end of the link. */
  async function ask(message: Buffer): Promise<{ answer: Message; seen: Recorder }> {
    const { link, seen } = await open();
    const { id } = JSON.parse(message.toString()) as Message;
    await link.send(message);
    const answer = await seen.answer(id as number);
    await link.close();
    return { answer, seen };
  }

  it("ISO-04 answers 200 requests of one id, each its own, with its own progress", async () => {
    const asked = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const text = `nonce ${n}`;
        const [echo, progress] = await Promise.all([
          ask(tool(0, "echo", { text })),
          ask(tool(0, "progress", { steps: 2 }, { progressToken: 0 })),
        ]);
        expect([textOf(echo.answer), echo.seen.messages.length]).toEqual([text, 1]);
        return progress.seen.messages;
      }),
    );
    for (const messages of asked) {
      expect(messages).toMatchObject([
        { params: { progressToken: 0, progress: 1 } },
        { params: { progressToken: 0, progress: 2 } },
        { id: 0, result: { resultType: "complete" } },
      ]);
    }
  });

  it("cancels a request at the server when its link is closed before the answer", async () => {
    const { link } = await open();
    await link.send(tool("slow", "slow", { ms: 60_000 }));
    await ask(request(1, "tools/list"));
    await link.close();
    await expect.poll(async () => textOf((await ask(tool(0, "cancelled"))).answer)).toBe("1");
  });

  it("carries rounds of input", async () => {
    const { answer } = await ask(tool(0, "ask", { question: "Who?" }));
    expect(answer.result).toMatchObject({ resultType: "input_required", inputRequests: { answer: {} } });
    const inputResponses = { answer: { action: "accept", content: { answer: "me" } } };
    const again = { name: "ask", arguments: { question: "Who?" }, inputResponses };
    expect(textOf((await ask(request(0, "tools/call", again))).answer)).toBe("answered me");
  });

  it("gives each subscription what it asked for, under its own id, until its link is closed", async () => {
    const listen = (notifications: object) => request(7, "subscriptions/listen", { notifications });
    const lists = await open();
    await lists.link.send(listen({ toolsListChanged: true }));
    const count = await open();
    await count.link.send(listen({ resourceSubscriptions: ["dual://count"] }));
    for (const { seen } of [lists, count])
      await seen.notification("notifications/subscriptions/acknowledged");
    await ask(tool(7, "change"));
    await ask(tool(7, "count"));
    await count.link.close();
    await ask(tool(7, "count"));
    await ask(tool(7, "change"));
    expect(lists.seen.messages.slice(1)).toMatchObject(
      [1, 2].map(() => ({
        method: "notifications/tools/list_changed",
        params: { _meta: { [`${KEY}subscriptionId`]: 7 } },
      })),
    );
    expect(count.seen.messages.slice(1)).toMatchObject([
      {
        method: "notifications/resources/updated",
        params: { uri: "dual://count", _meta: { [`${KEY}subscriptionId`]: 7 } },
      },
    ]);
    expect([lists.seen.messages.length, count.seen.messages.length]).toEqual([3, 2]);
  });

  it("gives a log line to the one request that asked for them, and to nobody where two did", async () => {
    const wants = { [`${KEY}logLevel`]: "info" };
    const quiet = await open();
    await quiet.link.send(tool(0, "slow", { ms: 60_000 }));
    const one = await ask(tool(0, "log", { text: "mine" }, wants));
    expect(one.seen.messages).toMatchObject([{ params: { data: "mine" } }, { id: 0 }]);
    const two = await Promise.all(
      [1, 2].map((id) => ask(tool(id, "log", { text: "whose?", ms: 100 }, wants))),
    );
    // The second speaks while the first may already be answered.
    const lines = two.map(({ seen }) => seen.messages.length - 1);
    expect(lines[0]).toBe(0);
    expect(quiet.seen.messages).toEqual([]);
  });

  it("gives a log line to nobody for a minute after another client's, and to the same client's next request", async () => {
    const wants = { [`${KEY}logLevel`]: "info" };
    vi.useFakeTimers({ toFake: ["performance"] });
    const of = (owner: string) => ownedBy(upstream, owner);
    const lines = async (client: Upstream): Promise<number> => {
      const { link, seen } = await openOn(client);
      await link.send(tool(0, "log", { text: "mine" }, wants));
      await seen.answer(0);
      await link.close();
      return seen.messages.length - 1;
    };
    expect([await lines(of("a")), await lines(of("a"))]).toEqual([1, 1]);
    expect([await lines(of("b")), await lines(upstream), await lines(of("a"))]).toEqual([0, 0, 0]);
    vi.advanceTimersByTime(60_000);
    expect([await lines(of("b")), await lines(of("b"))]).toEqual([1, 1]);
    vi.useRealTimers();
  });

  it("never lets a message of the older era turn the server to it", async () => {
    const early = await open();
    await early.link.send(encode({ id: 0, method: "initialize", params: { protocolVersion: "2025-06-18" } }));
    expect(await early.seen.answer(0)).toMatchObject({ error: { code: -32602 } });
    await early.link.send(encode({ method: "notifications/initialized" }));
    await early.link.send(request(1, "tools/call", { name: 5 }, { [`${KEY}clientInfo`]: 5 }));
    await early.link.send(encode({ method: "notifications/cancelled", params: { requestId: 1 } }));
    await early.link.close();
    const { answer } = await ask(request(0, "server/discover"));
    expect(answer.result).toMatchObject({ supportedVersions: ["2026-07-28"] });
  });

  it("FLT-30 a server that ended is started again for the next request, and not asked again", async () => {
    const first = textOf((await ask(tool(0, "pid"))).answer);
    const waiting = await open();
    await waiting.link.send(tool(0, "slow", { ms: 60_000 }));
    process.kill(Number(first), "SIGKILL");
    expect(await waiting.seen.end()).toBe("upstream_exited");
    expect(textOf((await ask(tool(0, "pid"))).answer)).not.toBe(first);
  });
});

describe("the era without sessions, of a server that", () => {
  let puppet: Puppet;
  let upstream: Upstream;
  beforeEach(() => {
    puppet = createPuppet();
    upstream = createStatelessUpstream(puppet, { idleMs: 0, probeMs: 1000, log });
  });
  afterEach(async () => {
    vi.useRealTimers();
    await upstream.close();
  });

  /** What comes of an open whose server is asked for its era. */
  async function openWhen(act: (server: PuppetLink) => void): Promise<string> {
    const opening = openOn(upstream).then(
      () => "opened",
      ({ reason }: { reason: string }) => reason,
    );
    const before = puppet.links.length;
    await eventually(() => expect(puppet.links.length).toBe(before + 1));
    await Promise.resolve();
    act(puppet.links.at(-1) as PuppetLink);
    return opening;
  }

  it("speaks it is asked once, in the gateway's name", async () => {
    const result = { supportedVersions: ["2027-01-01", "2026-07-28"] };
    expect(await openWhen((server) => server.say({ id: server.last.id, result }))).toBe("opened");
    await openOn(upstream);
    expect(puppet.links[0]?.messages).toMatchObject([
      {
        method: "server/discover",
        params: {
          _meta: {
            [`${KEY}protocolVersion`]: "2026-07-28",
            [`${KEY}clientInfo`]: { name: "mcp-sse-gateway" },
            [`${KEY}clientCapabilities`]: {},
          },
        },
      },
    ]);
  });

  it.each([
    ["does not know the question", { error: { code: -32601, message: "Method not found" } }],
    ["speaks other versions", { result: { supportedVersions: ["2025-11-25"] } }],
    ["answers something else", { result: {} }],
  ])("%s is left alone for good", async (_, answer) => {
    expect(await openWhen((server) => server.say({ id: server.last.id, ...answer }))).toBe("upstream_era");
    expect(puppet.links[0]?.isClosed).toBe(true);
    await expect(openOn(upstream)).rejects.toMatchObject({ reason: "upstream_era" });
    expect(puppet.links.length).toBe(1);
  });

  it("ends when it is asked is left alone for minutes: some do that when the first message is another's", async () => {
    expect(await openWhen((server) => server.end("upstream_exited"))).toBe("upstream_era");
    await expect(openOn(upstream)).rejects.toMatchObject({ reason: "upstream_era" });
    expect(puppet.links).toHaveLength(1);
  });

  it("says nothing is left alone for minutes", async () => {
    vi.useFakeTimers();
    const opening = expect(openOn(upstream)).rejects.toMatchObject({ reason: "upstream_era" });
    await vi.advanceTimersByTimeAsync(1000);
    await opening;
    await expect(openOn(upstream)).rejects.toMatchObject({ reason: "upstream_era" });
    expect(puppet.links.map(({ isClosed }) => isClosed)).toEqual([true]);
    await vi.advanceTimersByTimeAsync(300_000);
    openOn(upstream).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(0);
    expect(puppet.links.length).toBe(2);
  });

  it("asks a client something is told that nobody is there", async () => {
    const result = { supportedVersions: ["2026-07-28"] };
    await openWhen((server) => server.say({ id: server.last.id, result }));
    puppet.links[0]?.say({ id: 1, method: "roots/list" });
    puppet.links[0]?.say({ method: "notifications/tools/list_changed" });
    expect(puppet.links[0]?.last).toMatchObject({ id: 1, error: { code: -32601 } });
  });
});

it("a real server of the older era is found out and closed", async () => {
  const server = {
    name: "legacy",
    ...fixture("dual-era-server", "legacy"),
    maxLineBytes: 4 << 20,
    graceMs: 100,
    log,
  };
  const stdio = createStdioUpstream(server);
  const upstream = createStatelessUpstream(stdio, { idleMs: 0, log });
  await expect(openOn(upstream)).rejects.toMatchObject({ reason: "upstream_era" });
  expect(stdio.stats().children).toBe(0);
  await upstream.close();
  await expectNoFixtures();
});

it("real clients of the era share one server without knowing", async () => {
  const server = { name: "dual", ...fixture("dual-era-server"), maxLineBytes: 4 << 20, graceMs: 100, log };
  const stdio = createStdioUpstream(server);
  const upstream = createStatelessUpstream(stdio, { idleMs: 0, log });
  const answers = await Promise.all(
    Array.from({ length: 5 }, async (_, n) => {
      const client = new Client(
        { name: `client ${n}`, version: "1" },
        { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode: { pin: "2026-07-28" } } },
      );
      client.setRequestHandler("elicitation/create", () => ({
        action: "accept",
        content: { answer: `${n}` },
      }));
      await client.connect(transportOn(upstream));
      const { content } = await client.callTool({ name: "ask", arguments: { question: "Who?" } });
      await client.close();
      return content;
    }),
  );
  expect(answers).toEqual([0, 1, 2, 3, 4].map((n) => [{ type: "text", text: `answered ${n}` }]));
  expect(stdio.stats().children).toBe(1);
  await upstream.close();
  await expectNoFixtures();
});

/** A client's transport on a link. */
function transportOn(upstream: Upstream): Transport {
  let link: Link | undefined;
  const transport: Transport = {
    async start() {
      const events = {
        onMessage: (message: Buffer) =>
          transport.onmessage?.(JSON.parse(message.toString()) as JSONRPCMessage),
        onEnd: () => transport.onclose?.(),
      };
      link = await upstream.open(events, never());
    },
    async send(message) {
      await link?.send(Buffer.from(JSON.stringify(message)));
    },
    async close() {
      await link?.close();
    },
  };
  return transport;
}
