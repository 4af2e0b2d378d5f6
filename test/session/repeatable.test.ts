import { describe, expect, it } from "vitest";
import { Repeatable } from "../../src/session/repeatable.ts";

const asked = (method: string, params?: unknown) => ({
  id: "1",
  method,
  sentAt: 0,
  message: Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })),
});
const call = (name?: unknown) => asked("tools/call", { name });
const listed = (...tools: unknown[]) =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools } }));

describe("a request may be sent again", () => {
  it.each([
    "ping",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
  ])("when it is %s", (method) => {
    expect(new Repeatable().allows(asked(method))).toBe(true);
  });

  it.each(["initialize", "tools/call", "tasks/cancel", "vendor/do", "Ping", "tools/list ", ""])(
    "not when it is %j, which nobody says is safe",
    (method) => {
      expect(new Repeatable().allows(asked(method))).toBe(false);
    },
  );

  it("not when its bytes were not kept", () => {
    expect(new Repeatable().allows({ ...asked("ping"), message: undefined })).toBe(false);
  });

  it("when it calls a tool that its server has marked read-only or idempotent, and no other", () => {
    const repeatable = new Repeatable();
    repeatable.learn(
      listed(
        { name: "reads", annotations: { readOnlyHint: true } },
        { name: "sets", annotations: { idempotentHint: true, readOnlyHint: false } },
        { name: "adds", annotations: { readOnlyHint: false, idempotentHint: false } },
        { name: "claims", annotations: { readOnlyHint: "true", idempotentHint: 1 } },
        { name: "bare" },
        { annotations: { readOnlyHint: true } },
      ),
    );
    const verdicts = ["reads", "sets", "adds", "claims", "bare", "unknown", undefined, 7].map((name) =>
      repeatable.allows(call(name)),
    );
    expect(verdicts).toEqual([true, true, false, false, false, false, false, false]);
    expect(repeatable.allows(asked("tools/call"))).toBe(false);
  });

  it("not any more when its tool is no longer marked so", () => {
    const repeatable = new Repeatable();
    repeatable.learn(listed({ name: "a", annotations: { readOnlyHint: true } }));
    repeatable.learn(listed({ name: "a", annotations: { readOnlyHint: false } }));
    expect(repeatable.allows(call("a"))).toBe(false);
    repeatable.learn(listed({ name: "a", annotations: { readOnlyHint: true } }));
    repeatable.learn(listed({ name: "a" }));
    expect(repeatable.allows(call("a"))).toBe(false);
  });

  it("as before when a list is none", () => {
    const repeatable = new Repeatable();
    for (const answer of [
      { result: { note: "readOnlyHint", tools: { readOnlyHint: 1 } } },
      { result: { readOnlyHint: true } },
      { error: { data: { idempotentHint: true } } },
      { result: { tools: [null, 7, "readOnlyHint", { readOnlyHint: true }] } },
    ]) {
      expect(() => repeatable.learn(Buffer.from(JSON.stringify(answer)))).not.toThrow();
    }
    expect(repeatable.allows(call("a"))).toBe(false);
  });
});
