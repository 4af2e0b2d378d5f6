import { describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { DURABLE, openIntroduced, openSession, reasonOf } from "./open-session.ts";
import { offers, settled } from "./scripted.ts";

const NOTE = { jsonrpc: "2.0", method: "notifications/message", params: {} };

describe("a client that comes back and sends initialize", () => {
  it("starts clean: a new link, the old one closed, and nothing of the old conversation", async () => {
    const { session, stream, call, answer, attach, upstream, link, told } = await openIntroduced();
    await call(1, "resources/subscribe", { uri: "a:b" });
    answer(1);
    await call(2);
    link().say({ jsonrpc: "2.0", id: "q", method: "roots/list" });
    stream.close();
    link().say(NOTE);
    const back = attach();
    back.written.length = 0;
    upstream.reply = undefined;
    await call("init", "initialize", { clientInfo: { name: "again" } });
    await settled();
    expect([upstream.links.length, link(0).closes, session.inFlight]).toEqual([2, 1, 1]);
    expect(link(1).told.map(({ method }) => method)).toEqual(["initialize"]);
    expect(told.at(-1)).toEqual({ initialize: { clientInfo: { name: "again" } } });
    answer(2, 0);
    link(0).say(NOTE);
    link(0).die();
    answer(2, 1);
    expect(back.written).toEqual([]);
    answer("init", 1);
    expect(back.messages.map(({ id }) => id)).toEqual(["init"]);
    // The old id may be used again, and the old question waits for nothing.
    expect(await reasonOf(call(2))).toBe("given");
    back.close();
    const third = attach(0);
    expect(third.messages.map(({ id }) => id)).toEqual(["init"]);
  });

  it("may do so on a second stream that took over a live one", async () => {
    const { call, attach, upstream } = await openIntroduced();
    attach();
    expect(await reasonOf(call("again", "initialize", {}))).toBe("given");
    expect(upstream.links).toHaveLength(2);
  });

  it("is refused once it has gone on with the old conversation", async () => {
    const { call, attach, stream, upstream } = await openIntroduced();
    stream.close();
    attach();
    await call(1);
    expect(await reasonOf(call("again", "initialize", {}))).toBe("already_initialized");
    expect(upstream.links).toHaveLength(1);
  });

  it("is answered although a request of the old conversation with the same id is refused only then", async () => {
    let refuse = (_error: Error) => undefined as void;
    const { link, stream, attach, call, answer, upstream, session } = await openIntroduced();
    link().answer = new Promise<void>((_resolve, reject) => (refuse = reject));
    const old = reasonOf(call(0));
    stream.close();
    const back = attach();
    upstream.reply = undefined;
    const initialized = call(0, "initialize", {});
    refuse(new GatewayError("upstream_exited"));
    expect(await old).toBe("upstream_exited");
    await initialized;
    expect(session.inFlight).toBe(1);
    answer(0);
    expect([back.messages.map(({ id }) => id), session.dropped]).toEqual([[0], 0]);
    // It may go on, and is not asked to introduce itself a second time.
    expect(session.isDurable).toBe(true);
    expect(await reasonOf(call(1, "initialize", {}))).toBe("already_initialized");
  });

  it("leaves nothing of the old conversation in the journal", async () => {
    const entries = new Set<string>();
    const { call, stream, attach, link, upstream } = await openIntroduced({
      journal: {
        accepted: async (id) => void entries.add(`r:${id}`),
        settled: (id) => void entries.delete(`r:${id}`),
        kept: (sequence) => void entries.add(`m:${sequence}`),
        dropped: (sequence) => void entries.delete(`m:${sequence}`),
        end: () => undefined,
      },
    });
    await call("old");
    stream.close();
    link().say(NOTE);
    expect([...entries]).toEqual(['r:"old"', "m:2"]);
    attach();
    upstream.reply = undefined;
    await call("new", "initialize", {});
    // What is here when the instance dies would be brought to life by the next one.
    expect([...entries]).toEqual(['r:"new"']);
  });

  it("may do so on a fresh session whose server was told of it before it spoke", async () => {
    const { call, upstream, link } = openSession({
      limits: DURABLE,
      told: { initialize: { clientInfo: { name: "known" } } },
    });
    upstream.reply = offers({});
    expect(await reasonOf(call("init", "initialize", { clientInfo: { name: "fresh" } }))).toBe("given");
    expect(link().told[0]?.params).toEqual({ clientInfo: { name: "fresh" } });
  });
});
