import { beforeEach, describe, expect, it, vi } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { Handshake, type Told } from "../../src/session/handshake.ts";
import { SessionLink } from "../../src/session/session-link.ts";
import { reasonOf } from "./open-session.ts";
import { offers, scriptedUpstream, settled, silent, type ScriptedLink } from "./scripted.ts";

/** Waits between starts, in ms, which last no time here unless they are held. */
const waits = { asked: [] as number[], isHeld: false };
vi.mock("node:timers/promises", () => ({
  setTimeout: (ms: number, _value: undefined, { signal }: { signal: AbortSignal }) => {
    waits.asked.push(ms);
    return new Promise<void>((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
      if (!waits.isHeld) resolve();
    });
  },
}));
beforeEach(() => Object.assign(waits, { asked: [], isHeld: false }));

const TOLD: Told = {
  initialize: { protocolVersion: "2025-06-18", clientInfo: { name: "c" } },
  logLevel: { level: "debug" },
  subscriptions: ["a:1", "a:2"],
};
const REPLAYED = [
  "initialize",
  "notifications/initialized",
  "logging/setLevel",
  "resources/subscribe",
  "resources/subscribe",
];

function openLink({
  told,
  restarts = 3,
  isReady = true,
}: { told?: Told; restarts?: number; isReady?: boolean } = {}) {
  const upstream = scriptedUpstream();
  upstream.reply = offers({ tools: { listChanged: true } });
  const clock = { now: 0 };
  const events: string[] = [];
  const handshake = new Handshake(told);
  const link = new SessionLink({
    caller: "alice",
    upstream,
    handshake,
    startMs: 60_000,
    restarts,
    log: silent,
    now: () => clock.now,
    makeRoom: () => events.push("makeRoom"),
    mayRestart: () => isReady,
    onMessage: (message) => events.push(message.toString()),
    onRest: (id) => events.push(`rest ${id}`),
    onAnnouncement: (message) => events.push(`announced ${message.toString()}`),
    onLost: () => events.push("lost"),
    onEnd: (end) => events.push(`end ${end}`),
  });
  const send = (text: string) => Promise.resolve(link.send(Buffer.from(text)));
  const server = (at = upstream.links.length - 1) => upstream.links[at] as ScriptedLink;
  /** The client introduces itself, and the server dies. */
  const introduce = async () => {
    const message = Buffer.from(
      JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: TOLD.initialize }),
    );
    await link.send(message);
    handshake.note(scanMessage(message) as Envelope, message);
    await settled();
    events.length = 0;
  };
  return { link, upstream, clock, events, handshake, send, server, introduce };
}

describe("a link of a client that another link knew", () => {
  it("is opened by the first message, told everything first, and then given what waited in its order", async () => {
    const { upstream, send, server } = openLink({ told: TOLD });
    await settled();
    expect(upstream.links).toHaveLength(0);
    const early = [send('{"n":1}'), send('{"n":2}')];
    await early[0];
    await Promise.all([...early, send('{"n":3}')]);
    expect(server().told.map(({ method }) => method)).toEqual([...REPLAYED, undefined, undefined, undefined]);
    expect(server().sent.slice(5)).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
    const [initialize, , logLevel, first, second] = server().told;
    expect([initialize?.params, logLevel?.params]).toEqual([TOLD.initialize, TOLD.logLevel]);
    expect([first?.params, second?.params]).toEqual([{ uri: "a:1" }, { uri: "a:2" }]);
    const ids = server().told.flatMap(({ id }) => id ?? []);
    expect(new Set(ids).size).toBe(4);
  });

  it("ends when the server refuses what it is told, and gives it nothing", async () => {
    const { upstream, events, send, server } = openLink({ told: TOLD });
    upstream.reply = ({ id }) => ({ jsonrpc: "2.0", id, error: { code: 1, message: "no" } });
    expect(await reasonOf(send("{}"))).toBe("upstream_start_failed");
    expect([events, server().closes, server().sent.length]).toEqual([["end upstream_start_failed"], 1, 1]);
  });

  it("tells who waits when the server ends before it has answered, and tries anew with the next message", async () => {
    const { upstream, events, send, server } = openLink({ told: TOLD });
    upstream.reply = undefined;
    const sent = reasonOf(send("{}"));
    await settled();
    server().die();
    expect(await sent).toBe("upstream_exited");
    upstream.reply = offers({});
    expect(await reasonOf(send("{}"))).toBe("given");
    expect([events, upstream.links.length, server(0).closes]).toEqual([[], 2, 1]);
  });
});

describe("a server that ended by itself", () => {
  it("is started again and told everything, and what comes meanwhile waits in its order", async () => {
    const { upstream, events, handshake, send, server, introduce } = openLink();
    await introduce();
    const level = Buffer.from(
      '{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"debug"}}',
    );
    handshake.note(scanMessage(level) as Envelope, level);
    upstream.reply = undefined;
    server().die();
    expect(events).toEqual(["lost"]);
    const meanwhile = [1, 2, 3].map((n) => send(`{"n":${n}}`));
    await settled();
    expect(server(1).sent).toHaveLength(1);
    server(1).say({ jsonrpc: "2.0", id: server(1).told[0]?.id, result: {} });
    await Promise.all(meanwhile);
    await send('{"n":4}');
    expect(server(1).told[0]).toMatchObject({ method: "initialize", params: TOLD.initialize });
    expect(server(1).sent.slice(1)).toEqual([
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      expect.stringContaining('"method":"logging/setLevel","params":{"level":"debug"}'),
      '{"n":1}',
      '{"n":2}',
      '{"n":3}',
      '{"n":4}',
    ]);
    expect(events).toEqual(["lost"]);
  });

  it("passes on what the fresh one says of itself while it is told, but not its answer", async () => {
    const { upstream, events, server, introduce } = openLink();
    await introduce();
    upstream.reply = undefined;
    server().die();
    await settled();
    server().say("a banner");
    server().say({ jsonrpc: "2.0", id: server().told[0]?.id, result: { capabilities: {} } });
    await settled();
    server().say({ jsonrpc: "2.0", method: "n" });
    expect(events).toEqual(["lost", "a banner", '{"jsonrpc":"2.0","method":"n"}']);
  });

  it("is announced only for the lists that the fresh one changes", async () => {
    const { upstream, events, server, introduce } = openLink();
    await introduce();
    upstream.reply = offers({
      tools: { listChanged: true },
      prompts: { listChanged: false },
      resources: { subscribe: true },
      logging: { listChanged: true },
    });
    server().die();
    await settled();
    expect(events).toEqual([
      "lost",
      'announced {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
    ]);
  });

  it("stays paused while the client lags", async () => {
    const { link, server, introduce } = openLink();
    await introduce();
    link.pause();
    server().die();
    await settled();
    expect(server(1).isPaused).toBe(true);
    link.resume();
    expect(server(1).isPaused).toBe(false);
  });

  it("is started as often as the budget of a minute allows, at longer and longer intervals, and then given up", async () => {
    const { upstream, clock, events, server, introduce } = openLink({ restarts: 3 });
    await introduce();
    for (let restart = 1; restart <= 3; restart += 1) {
      server().die();
      await settled();
      expect(upstream.links).toHaveLength(restart + 1);
    }
    events.length = 0;
    clock.now = 59_999;
    server().die();
    await settled();
    expect([events, upstream.links.length]).toEqual([["end upstream_exited"], 4]);
    expect(waits.asked).toEqual([0, 1000, 2000]);
  });

  it("may fail again a minute later", async () => {
    const { upstream, clock, events, server, introduce } = openLink({ restarts: 1 });
    await introduce();
    server().die();
    await settled();
    clock.now = 60_000;
    events.length = 0;
    server().die();
    await settled();
    expect([events[0], upstream.links.length, waits.asked]).toEqual(["lost", 3, [0, 0]]);
  });

  it("is tried again when its replacement cannot be started, ends or refuses, all of one budget", async () => {
    const { upstream, events, send, server, introduce } = openLink({ restarts: 4 });
    await introduce();
    upstream.failures.push(
      new GatewayError("upstream_start_failed"),
      new GatewayError("upstream_queue_full"),
    );
    let starts = 0;
    upstream.reply = ({ id }) => {
      starts += 1;
      if (starts === 1) return { jsonrpc: "2.0", id, error: { code: 1, message: "not yet" } };
      return server().die();
    };
    server().die();
    const waiting = reasonOf(send("{}"));
    await settled(20);
    expect([starts, events, await waiting]).toEqual([2, ["lost", "end upstream_exited"], "upstream_exited"]);
    expect(waits.asked).toEqual([0, 1000, 2000, 4000]);
  });

  it.each([
    ["its client was not initialized", { isReady: false }, "upstream_exited"],
    ["that is switched off", { restarts: 0 }, "upstream_exited"],
    ["it was ended for what it did", {}, "upstream_output_too_large"],
  ] as const)("is not started again when %s", async (_why, more, end) => {
    const { upstream, events, server, introduce } = openLink(more);
    await introduce();
    server().events.onEnd(end as "upstream_exited");
    await settled();
    expect([events, upstream.links.length]).toEqual([[`end ${end}`], 1]);
  });

  it("is not started again when its end was asked for", async () => {
    const { link, upstream, events, server, introduce } = openLink();
    await introduce();
    await link.close();
    server().events.onEnd("closed");
    server().die();
    await settled();
    expect([events, upstream.links.length, server().closes]).toEqual([[], 1, 1]);
  });

  it("is given up with its session: who waits is told that there is none, and nothing is started", async () => {
    const { link, upstream, send, server, introduce } = openLink();
    await introduce();
    waits.isHeld = true;
    server().die();
    const waiting = reasonOf(send("{}"));
    await link.close();
    expect(await waiting).toBe("session_not_found");
    await settled();
    expect(upstream.links).toHaveLength(1);
  });

  it("leaves no fresh one behind when the session ends while that is told", async () => {
    const { link, upstream, server, introduce } = openLink();
    await introduce();
    upstream.reply = undefined;
    server().die();
    await settled();
    const closing = link.close();
    await settled();
    expect(server(1).closes).toBe(1);
    await closing;
  });
});
