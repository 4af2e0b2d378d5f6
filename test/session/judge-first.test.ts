import { describe, expect, it } from "vitest";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { ALICE, BOB, createCluster, NAMED, type Instance } from "./instances.ts";
import { ScriptedStream, settled, type Message } from "./scripted.ts";

const CALL = { jsonrpc: "2.0", id: 7, method: "tools/list" };

async function judge(instance: Instance, session: Parameters<Instance["post"]>[0], message: unknown = CALL) {
  const bytes = Buffer.from(JSON.stringify(message));
  const envelope = scanMessage(bytes) as Envelope;
  const right = await instance.reception.judgeFirst(session, bytes, envelope);
  await right.deliver(bytes, envelope);
  return right;
}

/** An instance with an orphan of Alice, and a fresh session with a stream. */
async function open(visitor = ALICE, orphanOf = ALICE) {
  const cluster = createCluster();
  const here = await cluster.start("i-1");
  const { session: orphan, stream: old } = await here.connect(orphanOf);
  old.close();
  const fresh = here.sessions.open(visitor);
  const stream = new ScriptedStream();
  fresh.attach(stream);
  return { ...cluster, here, orphan, fresh, stream };
}

describe("a fresh session whose first message comes from the middle of a conversation", () => {
  it("is the orphan that its client has: the stream is given to that, and both ids name it", async () => {
    const { here, orphan, fresh, stream, store } = await open();
    here.upstream.links[0]?.say({ jsonrpc: "2.0", method: "waited" });
    expect(await judge(here, fresh)).toBe(orphan);
    here.upstream.links[0]?.say({ jsonrpc: "2.0", id: 7, result: {} });
    expect(stream.messages.map(({ id, method }: Message) => method ?? id)).toEqual(["waited", 7]);
    expect([here.sessions.find(fresh.id), here.sessions.find(orphan.id)]).toEqual([orphan, orphan]);
    expect([fresh.isOpen, orphan.orphanedAt, here.sessions.count]).toEqual([false, undefined, 1]);
    expect(here.upstream.links).toHaveLength(1);
    await here.post(orphan, { jsonrpc: "2.0", method: "n" });
    orphan.close("idle");
    await here.sessions.beat();
    await settled();
    expect(here.sessions.find(fresh.id)).toBeUndefined();
    expect([await store.get(fresh.id), await store.get(orphan.id)]).toEqual([undefined, undefined]);
  });

  it("is not another's behind the same address: with a third of them nobody can tell, and all are left alone", async () => {
    const { here, orphan, fresh, stream } = await open();
    const { stream: third } = await here.connect(ALICE);
    expect(await judge(here, fresh)).toBe(fresh);
    expect([orphan.orphanedAt !== undefined, stream.end_, third.end_]).toEqual([true, "open", "open"]);
    expect(third.messages).toEqual([]);
  });

  it("leaves no second stream behind, whatever the old socket still tells", async () => {
    const { here, orphan, fresh, stream } = await open();
    await judge(here, fresh);
    stream.close();
    expect([orphan.orphanedAt !== undefined, orphan.isOpen, fresh.isOpen]).toEqual([true, true, false]);
    const back = new ScriptedStream();
    orphan.attach(back);
    here.upstream.links[0]?.say({ jsonrpc: "2.0", id: 7, result: {} });
    expect(back.messages).toEqual([{ jsonrpc: "2.0", id: 7, result: {} }]);
  });

  it("keeps the record of its own id as long as the session lives, for messages that land elsewhere", async () => {
    const { here, fresh, store, clock } = await open();
    await judge(here, fresh);
    for (let minute = 0; minute < 120; minute += 1) {
      clock.now += 60_000;
      await here.sessions.beat();
    }
    await settled();
    expect(await store.get(fresh.id)).toMatchObject({ owner: "i-1" });
  });

  it.each<[string, unknown]>([
    ["initialize", { jsonrpc: "2.0", id: 1, method: "initialize", params: {} }],
    ["a ping", { jsonrpc: "2.0", id: 1, method: "ping" }],
    ["server/discover", { jsonrpc: "2.0", id: 1, method: "server/discover" }],
    [
      "a request of the 2026-07-28 era",
      {
        jsonrpc: "2.0",
        id: 1,
        method: "tools/list",
        params: { _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } },
      },
    ],
  ])("stays itself when that is %s, which nobody sends from the middle", async (_what, message) => {
    const { here, orphan, fresh, stream } = await open();
    expect(await judge(here, fresh, message)).toBe(fresh);
    expect([orphan.orphanedAt !== undefined, stream.end_, here.upstream.links.length]).toEqual([
      true,
      "open",
      2,
    ]);
    expect(here.upstream.links[1]?.told).toEqual([message]);
  });

  it("has its server told how the client introduced itself last, when it has no orphan", async () => {
    const { here, orphan, fresh } = await open();
    orphan.close("idle");
    expect(await judge(here, fresh)).toBe(fresh);
    expect(here.upstream.links[1]?.told.map(({ method }) => method)).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/list",
    ]);
    expect(fresh.isDurable).toBe(true);
  });

  it("stays itself, with nothing told, when nobody knows its client", async () => {
    const { here, orphan, fresh } = await open(BOB);
    expect(await judge(here, fresh)).toBe(fresh);
    expect(here.upstream.links[1]?.told).toEqual([CALL]);
    expect(orphan.orphanedAt).toBeDefined();
  });

  it("is no orphan that has another name, or of which there are two", async () => {
    const named = await open(NAMED);
    expect(await judge(named.here, named.fresh)).toBe(named.fresh);
    const two = await open();
    const { stream } = await two.here.connect(ALICE);
    stream.close();
    expect(await judge(two.here, two.fresh)).toBe(two.fresh);
  });

  it("claims the session that its client had with a dead owner", async () => {
    const { start } = createCluster();
    const [here, dead] = [await start("i-1"), await start("i-2")];
    const { session } = await dead.connect();
    await settled();
    await dead.crash();
    const fresh = here.sessions.open(ALICE);
    const stream = new ScriptedStream();
    fresh.attach(stream);
    const right = await judge(here, fresh);
    expect([right.id, right.epoch, here.sessions.find(fresh.id)]).toEqual([session.id, 2, right]);
    here.upstream.links[0]?.say({ jsonrpc: "2.0", id: 7, result: {} });
    expect(stream.messages).toMatchObject([{ id: 7, result: {} }]);
  });

  it("is judged once: messages that come meanwhile follow the first", async () => {
    const { here, orphan, fresh, clock } = await open();
    expect(await judge(here, fresh)).toBe(orphan);
    clock.now += 1;
    const found = here.sessions.find(fresh.id);
    expect(found).toBe(orphan);
    expect(await judge(here, orphan, { ...CALL, id: 8 })).toBe(orphan);
    expect(here.upstream.links[0]?.told.slice(-2).map(({ id }) => id)).toEqual([7, 8]);
  });
});
