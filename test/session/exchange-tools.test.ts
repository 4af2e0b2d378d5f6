import { describe, expect, it } from "vitest";
import { isOwnId } from "../../src/session/handshake.ts";
import type { Unanswered } from "../../src/session/requests.ts";
import { DURABLE, openSession } from "./open-session.ts";
import { offers, settled, type Message } from "./scripted.ts";

const called = (id: number, name: string): Unanswered => ({
  id: String(id),
  method: "tools/call",
  sentAt: 0,
  message: Buffer.from(JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name } })),
});
const TOOLS = [{ name: "reads", annotations: { readOnlyHint: true } }, { name: "adds" }];

/** The next owner of a session in which tools were being called, and whose tools this owner does not know. */
async function inherit(...left: Unanswered[]) {
  const opened = openSession({ limits: DURABLE, epoch: 2, told: { initialize: {} } });
  const { session, upstream, link, stream } = opened;
  upstream.reply = offers({ tools: { listChanged: true } });
  stream.close();
  session.inherit({ messages: [], unanswered: left });
  const back = opened.attach();
  await settled();
  const asked = () =>
    link().told.filter(({ id, method }) => method === "tools/list" && isOwnId(JSON.stringify(id)));
  const tell = (tools: unknown) => link().say({ jsonrpc: "2.0", id: asked()[0]?.id, result: { tools } });
  const outcomes = () =>
    back.messages.flatMap(({ id, error }: Message) => (id === undefined ? [] : [[id, error?.data.reason]]));
  const calls = () =>
    link()
      .told.filter(({ method }) => method === "tools/call")
      .map(({ id }) => id);
  return { ...opened, back, asked, tell, outcomes, calls };
}

describe("calls of tools that an earlier owner left, where the tools are not known", () => {
  it("wait for the server's own list, which is asked for once and is not for the client", async () => {
    const { session, asked, tell, outcomes, calls, answer } = await inherit(
      called(1, "reads"),
      called(2, "adds"),
      called(3, "unknown"),
    );
    expect([asked().length, outcomes(), calls(), session.inFlight]).toEqual([1, [], [], 3]);
    const dropped = session.dropped;
    tell(TOOLS);
    await settled();
    expect([outcomes(), calls()]).toEqual([
      [
        [2, "upstream_restarted"],
        [3, "upstream_restarted"],
      ],
      [1],
    ]);
    answer(1);
    expect([outcomes().at(-1), session.inFlight, session.dropped]).toEqual([[1, undefined], 0, dropped]);
  });

  it("are answered with an error when the list cannot be had", async () => {
    const { link, asked, outcomes } = await inherit(called(1, "reads"));
    link().say({ jsonrpc: "2.0", id: asked()[0]?.id, error: { code: -32601, message: "no" } });
    expect(outcomes()).toEqual([[1, "upstream_restarted"]]);
  });

  it("are answered with an error when the list does not come in ten seconds, and not again when it does", async () => {
    const { session, tell, outcomes, calls } = await inherit(called(1, "reads"));
    session.beat(9999);
    expect(outcomes()).toEqual([]);
    session.beat(10_000);
    expect(outcomes()).toEqual([[1, "upstream_restarted"]]);
    tell(TOOLS);
    await settled();
    expect([outcomes().length, calls()]).toEqual([1, []]);
  });

  it("are not sent when the client has cancelled them meanwhile", async () => {
    const { deliver, tell, outcomes, calls, session } = await inherit(called(1, "reads"), called(2, "reads"));
    await deliver({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } });
    expect(session.inFlight).toBe(1);
    tell(TOOLS);
    await settled();
    expect([calls(), outcomes()]).toEqual([[2], []]);
  });

  it("are answered when the session ends before, and are left to the next owner when it is handed over", async () => {
    const ended = await inherit(called(1, "reads"));
    ended.session.close("upstream_exited");
    expect(ended.outcomes()).toEqual([[1, "upstream_exited"]]);
    const left = await inherit(called(1, "reads"));
    expect(left.session.bequeath().unanswered.map(({ id }) => id)).toEqual(["1"]);
  });

  it("are gone when the client starts clean", async () => {
    const { back, call, asked, tell, outcomes, link } = await inherit(called(1, "reads"));
    const id = asked()[0]?.id;
    await call("init", "initialize", {});
    tell(TOOLS);
    link(1).say({ jsonrpc: "2.0", id, result: { tools: TOOLS } });
    await settled();
    expect(link(1).told.map(({ method }) => method)).toEqual(["initialize"]);
    expect([outcomes(), back.messages.length]).toEqual([[["init", undefined]], 2]);
  });

  it("are judged at once where the tools are known", async () => {
    const { repeatable, session, upstream, outcomes } = await inherit();
    repeatable.learn(Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools: TOOLS } })));
    session.inherit({ messages: [], unanswered: [called(2, "adds")] });
    await settled();
    expect([outcomes(), upstream.links]).toEqual([[[2, "upstream_restarted"]], []]);
  });
});

it("a list of tools that is none does no harm: it comes to the client as it is", async () => {
  const { call, link, stream } = openSession({ limits: DURABLE });
  await call(1, "tools/list");
  const result = { tools: [null, 7, { name: "a", annotations: { readOnlyHint: true } }] };
  expect(() => link().say({ jsonrpc: "2.0", id: 1, result })).not.toThrow();
  expect(stream.messages).toEqual([{ jsonrpc: "2.0", id: 1, result }]);
});
