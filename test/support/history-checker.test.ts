import { beforeEach, describe, expect, test } from "vitest";
import { judge, type Promises } from "./history-checker.ts";
import { History, type CallRecord, type LedgerLine } from "./history.ts";

describe("history checker", () => {
  let history: History;
  let ledger: LedgerLine[];
  let call: CallRecord;

  /** Two clients with three calls each, as they should go. */
  beforeEach(() => {
    history = new History();
    ledger = [];
    for (const [name, pid] of [
      ["ann", 11],
      ["bob", 22],
    ] as const) {
      const client = history.client(name);
      client.streams.push({ at: Date.now(), status: 200 });
      ledger.push({ kind: "initialize", pid, time: Date.now(), client: name });
      for (const number of [1, 2, 3]) {
        const nonce = `${name}-${number}`;
        const one = history.start(name, nonce, "notify");
        ledger.push({ kind: "call", pid, time: Date.now(), client: name, nonce, tool: "notify" });
        client.notifications.push({ pid, number });
        client.lastSent.set(pid, number);
        client.wireAnswers.set(number, 1);
        client.asked.push(`ask-${pid}-${number}`);
        history.end(one, { kind: "result", nonce, pid });
      }
    }
    call = history.client("ann").calls[1] as CallRecord;
  });
  const strict: Promises = { sameChild: true, initializes: 1, allNotifications: true };
  const found = (promises: Promises = strict) => judge(history, ledger, promises).violations().join("\n");
  const ann = () => history.client("ann");
  const executed = (nonce: string, more: Partial<LedgerLine> = {}) =>
    ledger.push({ kind: "call", pid: 11, time: Date.now(), client: "ann", nonce, tool: "add", ...more });

  test("finds nothing in a history where all went well, and counts it", () => {
    expect(found()).toBe("");
    const { summary, table } = judge(history, ledger, strict);
    expect(summary).toMatchObject({ clients: 2, calls: 6, results: 6, executions: 6, lost: 0, children: 2 });
    expect(table()).toContain("violations");
  });

  test.each<[string, () => unknown, string]>([
    ["a call that never ended", () => (call.outcomes = []), "never ended"],
    ["a call whose time ran out", () => (call.outcomes = [{ kind: "timeout" }]), "time ran out"],
    ["two outcomes of one call", () => call.outcomes.push({ kind: "timeout" }), "2 outcomes"],
    [
      "another client's nonce",
      () => (call.outcomes = [{ kind: "result", nonce: "bob-1", pid: 22 }]),
      "a nonce of bob",
    ],
    [
      "a nonce of nobody",
      () => (call.outcomes = [{ kind: "result", nonce: "eve-1", pid: 22 }]),
      "a nonce of nobody",
    ],
    [
      "the answer of another call",
      () => (call.outcomes = [{ kind: "result", nonce: "ann-1", pid: 11 }]),
      "with the nonce ann-1",
    ],
    ["a call that was carried out twice", () => executed("ann-2"), "carried out 2 times"],
    ["a call that nobody sent", () => executed("eve-1"), "nobody sent"],
    [
      "a call in another's session",
      () => (ledger.find(({ nonce }) => nonce === "ann-2")!.client = "bob"),
      "in the session of bob",
    ],
    [
      "an answer without an execution",
      () => (ledger = ledger.filter(({ nonce }) => nonce !== "ann-2")),
      "never carried out",
    ],
    [
      "an error without a cause",
      () => (call.outcomes = [{ kind: "error", code: -32603, reason: "upstream_restarted" }]),
      "failed",
    ],
    [
      "a refused call that was carried out all the same",
      () => (call.outcomes = [{ kind: "refused", status: 503, reason: "session_elsewhere" }]),
      "was refused with 503 and carried out",
    ],
    [
      "a call that was carried out after its client had been told",
      () => {
        call.outcomes = [{ kind: "refused", status: 504, reason: undefined }];
        ledger.find(({ nonce }) => nonce === "ann-2")!.time += 5000;
      },
      "after its client had been told",
    ],
    ["an answer that came twice on the wire", () => ann().wireAnswers.set(2, 2), "came 2 times"],
    ["a question that came twice", () => ann().asked.push("ask-11-1"), "same thing twice"],
    ["a notification that came twice", () => ann().notifications.push({ pid: 11, number: 3 }), "came again"],
    ["notifications out of order", () => ann().notifications.reverse(), "came again, after"],
    ["a notification that is missing", () => ann().notifications.splice(1, 1), "2 to 2 of 11 are missing"],
    ["a last notification that is missing", () => ann().notifications.pop(), "2 of 3"],
    ["a changed process", () => executed("ann-3", { pid: 33 }), "talked to 2 processes"],
    [
      "a second initialize",
      () => ledger.push({ kind: "initialize", pid: 11, time: 0, client: "ann" }),
      "initialized 2 times",
    ],
    [
      "a message that the server must not get",
      () => ledger.push({ kind: "breach", pid: 11, time: 0, client: "ann", what: "tools/call" }),
      "saw tools/call",
    ],
  ])("finds %s", (_what, sabotage, words) => {
    sabotage();
    expect(found()).toContain(words);
  });

  describe("when an instance was killed", () => {
    const error = { kind: "error", code: -32603, reason: "upstream_restarted" } as const;
    beforeEach(() => (call.outcomes = [error]));
    const crashOf = (client: string, shiftMs = 0) =>
      found({ crashes: [{ at: call.startedAt + shiftMs, clients: new Set([client]) }] });

    test("lets a call that was in flight there end with one retryable error", () => {
      expect(crashOf("ann")).toBe("");
    });

    test.each<[string, () => unknown, () => string]>([
      ["of a client elsewhere", () => undefined, () => crashOf("bob")],
      ["long before the crash", () => undefined, () => crashOf("ann", 60_000)],
      ["long after the crash", () => undefined, () => crashOf("ann", -60_000)],
      [
        "with another reason",
        () => (call.outcomes = [{ ...error, reason: "internal" }]),
        () => crashOf("ann"),
      ],
      ["twice", () => call.outcomes.push(error), () => crashOf("ann")],
    ])("finds an error %s", (_when, sabotage, look) => {
      sabotage();
      expect(look()).not.toBe("");
    });
  });

  test("counts the notifications that are missing, inside and at the end", () => {
    ann().notifications.splice(1, 1);
    history.client("bob").notifications.pop();
    expect(judge(history, ledger).summary.missingNotifications).toBe(2);
  });

  test("lets fail what a story expects to fail, and a read be carried out twice", () => {
    call.outcomes = [{ kind: "timeout" }];
    expect(found({ mayTimeOut: ({ nonce }) => nonce === "ann-2" })).toBe("");
    call.outcomes = [{ kind: "refused", status: 504, reason: "store_unavailable" }];
    expect(found({ mayFail: (_call, outcome) => outcome.kind === "refused" })).toBe("");
    ann().wireAnswers.set(2, 2);
    expect(found({ ...strict, mayRepeatAnswers: true, mayFail: () => true })).toBe("");
    const peek = history.start("ann", "ann-peek", "peek");
    history.end(peek, { kind: "result", nonce: "ann-peek", pid: 11 });
    executed("ann-peek", { tool: "peek" });
    executed("ann-peek", { tool: "peek" });
    expect(found({})).not.toContain("ann-peek");
  });
});
