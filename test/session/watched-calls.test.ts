import { describe, expect, it } from "vitest";
import type { CallBegin, CallEnd } from "../../src/events.ts";
import { openSession } from "./open-session.ts";
import { offers } from "./scripted.ts";

/** Who watches every call, and gives the server another message than the client's. */
function watcher(change: (message: Buffer) => Buffer) {
  const begun: CallBegin[] = [];
  const ended: CallEnd[] = [];
  const begin = (call: CallBegin) => {
    begun.push(call);
    return { message: change(call.message), end: (outcome: CallEnd) => void ended.push(outcome) };
  };
  return { calls: { begin }, begun, ended };
}

/** As a trace context is put in front of all else in the parameters. */
const traced = (message: Buffer): Buffer =>
  Buffer.from(message.toString().replace('"params":{', '"params":{"_meta":{"traceparent":"00-1-2-01"},'));

describe("a call that is watched", () => {
  it("goes to the server as the watcher has it, and is understood as the client sent it", async () => {
    const { calls, ended } = watcher(traced);
    const { call, link, session, upstream } = openSession({ calls });
    upstream.reply = offers({});
    const params = {
      clientInfo: { name: "c", version: "1" },
      capabilities: {},
      protocolVersion: "2025-11-25",
    };
    await call(1, "initialize", params);
    expect(link().told[0]?.params).toEqual({ _meta: { traceparent: "00-1-2-01" }, ...params });
    expect(session.told.initialize, "what a fresh link is told later").toEqual(params);
    expect(ended).toHaveLength(1);
    await call(2, "logging/setLevel", { level: "debug" });
    expect(session.told.logLevel).toEqual({ level: "debug" });
  });

  it("has one outcome: its answer, a fault, or that it was taken back", async () => {
    const { calls, begun, ended } = watcher((message) => message);
    const { call, deliver, link, session } = openSession({ calls });
    await call(1, "tools/call", { name: "a" });
    await call(2, "tools/call", { name: "b" });
    await call(3, "tools/call", { name: "c" });
    link().say({ jsonrpc: "2.0", id: 1, result: {} });
    await deliver({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } });
    link().say({ jsonrpc: "2.0", id: 2, result: {} });
    session.close("idle");
    session.close("idle");
    expect(begun.map(({ method, id }) => [method, id])).toEqual([
      ["tools/call", "1"],
      ["tools/call", "2"],
      ["tools/call", "3"],
    ]);
    expect(ended.map(({ failed, reason }) => [failed, reason])).toEqual([
      [false, undefined],
      [true, "cancelled"],
      [true, "session_over"],
    ]);
  });
});
