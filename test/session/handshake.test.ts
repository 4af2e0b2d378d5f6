import { describe, expect, it } from "vitest";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { answersReplay, Handshake, isOwnId } from "../../src/session/handshake.ts";
import { parse, type Message } from "./scripted.ts";

/** Notes a request with these parameters. */
function note(handshake: Handshake, method: string, params?: unknown): boolean {
  const message = Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }));
  return handshake.note(scanMessage(message) as Envelope, message);
}

/** What a fresh server is told, and what the client gets, when the server answers with this. */
async function replay(handshake: Handshake, answer: unknown) {
  const told: Message[] = [];
  const send = async (message: Buffer) => void told.push(parse(message.toString()));
  const announced = await handshake.replay(send, Promise.resolve(Buffer.from(JSON.stringify(answer))));
  return { told, announced: announced.map((message) => parse(message.toString()).method) };
}

describe("what a client has told its server", () => {
  it("is its initialize, its log level, and what it is subscribed to, and nothing else", () => {
    const handshake = new Handshake();
    expect(handshake.isKnown).toBe(false);
    expect(note(handshake, "initialize", { a: 1 })).toBe(true);
    expect(note(handshake, "logging/setLevel", { level: "info" })).toBe(true);
    expect(note(handshake, "logging/setLevel", { level: "debug" })).toBe(true);
    for (const uri of ["a:1", "a:2", "a:3"])
      expect(note(handshake, "resources/subscribe", { uri })).toBe(true);
    expect(note(handshake, "resources/unsubscribe", { uri: "a:2" })).toBe(true);
    for (const method of ["tools/list", "tools/call", "resources/read", "ping"]) {
      expect(note(handshake, method, { uri: "a:9", level: "x" })).toBe(false);
    }
    expect(handshake.told).toEqual({
      initialize: { a: 1 },
      logLevel: { level: "debug" },
      subscriptions: ["a:1", "a:3"],
    });
    expect(handshake.isKnown).toBe(true);
  });

  it("is not news when it changes nothing or is nothing", () => {
    const handshake = new Handshake({ initialize: {} });
    note(handshake, "resources/subscribe", { uri: "a:1" });
    const { told } = handshake;
    expect(note(handshake, "resources/subscribe", { uri: "a:1" })).toBe(false);
    expect(note(handshake, "resources/unsubscribe", { uri: "a:2" })).toBe(false);
    expect(note(handshake, "resources/subscribe", { uri: 7 })).toBe(false);
    for (const method of ["initialize", "logging/setLevel", "resources/subscribe"]) {
      expect(note(handshake, method)).toBe(false);
    }
    expect(handshake.told).toBe(told);
  });

  it("is bounded: records are small", () => {
    const handshake = new Handshake();
    expect(note(handshake, "initialize", { x: "y".repeat(8192) })).toBe(false);
    expect(note(handshake, "logging/setLevel", { x: "y".repeat(1024) })).toBe(false);
    expect(note(handshake, "resources/subscribe", { uri: "y".repeat(2049) })).toBe(false);
    for (let at = 0; at < 100; at += 1)
      expect(note(handshake, "resources/subscribe", { uri: `a:${at}` })).toBe(true);
    expect(note(handshake, "resources/subscribe", { uri: "a:100" })).toBe(false);
    expect(handshake.told.subscriptions).toHaveLength(100);
  });

  it("begins anew with another initialize", () => {
    const handshake = new Handshake({ initialize: {}, logLevel: { level: "debug" }, subscriptions: ["a:1"] });
    note(handshake, "initialize", { b: 2 });
    expect(handshake.told).toEqual({ initialize: { b: 2 } });
  });
});

describe("the replay", () => {
  it("sends initialize, and the rest only when that is answered", async () => {
    const handshake = new Handshake({
      initialize: { a: 1 },
      logLevel: { level: "x" },
      subscriptions: ["a:1"],
    });
    const told: string[] = [];
    let answer = (_message: Buffer): void => undefined;
    const done = handshake.replay(
      (message) => void told.push(parse(message.toString()).method ?? ""),
      new Promise((resolve) => (answer = resolve)),
    );
    await new Promise(setImmediate);
    expect(told).toEqual(["initialize"]);
    answer(Buffer.from('{"result":{}}'));
    await done;
    expect(told).toEqual([
      "initialize",
      "notifications/initialized",
      "logging/setLevel",
      "resources/subscribe",
    ]);
  });

  it("tells the client of each list that changes, and of no other", async () => {
    const handshake = new Handshake({ initialize: {} });
    const yes = { listChanged: true };
    const all = await replay(handshake, {
      result: { capabilities: { tools: yes, prompts: yes, resources: yes } },
    });
    expect(all.announced).toEqual([
      "notifications/tools/list_changed",
      "notifications/prompts/list_changed",
      "notifications/resources/list_changed",
    ]);
    for (const capabilities of [
      undefined,
      {},
      { tools: {} },
      { tools: { listChanged: false } },
      { roots: yes },
    ]) {
      expect((await replay(handshake, { result: { capabilities } })).announced).toEqual([]);
    }
  });

  it("fails when the server refuses or cannot be told", async () => {
    const handshake = new Handshake({ initialize: {} });
    await expect(replay(handshake, { error: { code: 1, message: "no" } })).rejects.toThrow("refused");
    const away = () => Promise.reject(new Error("gone"));
    await expect(handshake.replay(away, new Promise(() => undefined))).rejects.toThrow("gone");
  });

  it("uses ids of its own, which no answer of the server's to the client is taken for", async () => {
    const { told } = await replay(new Handshake({ initialize: {}, subscriptions: ["a", "b"] }), {
      result: {},
    });
    const ids = told.flatMap(({ id }) => id ?? []);
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(isOwnId(JSON.stringify(id))).toBe(true);
    for (const id of ["1", '"1"', '"mcp"', undefined]) expect(isOwnId(id)).toBe(false);
    const answer = (id: unknown, more: object) =>
      Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, ...more }));
    expect(answersReplay(answer(ids[0], { result: {} }))).toBe(true);
    expect(answersReplay(answer(ids[0], { error: {} }))).toBe(true);
    expect(answersReplay(answer(ids[1], { result: {} }))).toBe(false);
    expect(answersReplay(answer(ids[0], { method: "initialize" }))).toBe(false);
    expect(answersReplay(answer(0, { result: {} }))).toBe(false);
    expect(answersReplay(Buffer.from("a banner"))).toBe(false);
  });
});
