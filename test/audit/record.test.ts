import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nextLine, GENESIS, readLine } from "../../src/audit/chain.ts";
import { recordOf } from "../../src/audit/record.ts";
import { LINE_ROOM } from "../../src/audit/writer.ts";
import type { GatewayEvent } from "../../src/events.ts";
import { eventsOf } from "./day.ts";

const AT = new Date(0);
const lineOf = (event: GatewayEvent): string =>
  nextLine(GENESIS, recordOf(event, AT, "i-1") ?? "", true).line;

/** As the gateway draws keys, as `openssl rand -hex 32` does, and as headers and bodies hold them. */
const secret = fc.oneof(
  fc.stringMatching(/^mgw_[0-9a-f]{48}$/),
  fc.stringMatching(/^[0-9a-f]{64}$/),
  fc.stringMatching(/^Bearer [a-zA-Z0-9]{20,40}$/),
  fc.stringMatching(/^\{"password": "[a-zA-Z0-9]{8,40}"\}$/),
);

describe("a record", () => {
  it("never has a key, a token or a body, wherever in an event one stands", () => {
    fc.assert(
      fc.property(fc.nat(14), secret, (kind, canary) => {
        const event = eventsOf(1)[kind] as GatewayEvent & Record<string, unknown>;
        // The words of an operator are the operator's own; a URL among them is tested below.
        const places = Object.entries(event).filter(
          ([name, value]) => typeof value === "string" && !["type", "outcome", "target"].includes(name),
        );
        for (const [name] of places) {
          expect(lineOf({ ...event, [name]: canary })).not.toContain(canary);
        }
        const more: object = { token: canary, apiKey: canary, body: canary, headers: { canary } };
        const line = lineOf({ ...event, ...more });
        expect(line).not.toContain(canary);
      }),
    );
  });

  it("has of a URL in an operator's target only the scheme and the host", () => {
    const target =
      "redis://user:hunter2@10.0.0.9:6379/0?token=hunter3 to https://hunter4@host.example/hunter5#hunter6";
    const line = lineOf({ type: "operator_action", action: "migrate", target, outcome: "done" });
    expect(line).toContain('"target":"redis://10.0.0.9:6379 to https://host.example"');
    expect(line).not.toContain("hunter");
  });

  it("is one line of bounded length that no terminal obeys, whatever the strings are", () => {
    const text = fc.string({ unit: "binary", maxLength: 5000 });
    fc.assert(
      fc.property(fc.nat(14), text, (kind, wild) => {
        const event = eventsOf(1)[kind] as GatewayEvent & Record<string, unknown>;
        for (const [name, value] of Object.entries(event)) {
          if (typeof value !== "string" || name === "type") continue;
          const line = lineOf({ ...event, [name]: wild });
          // oxlint-disable-next-line no-control-regex
          expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/);
          expect(Buffer.byteLength(line)).toBeLessThan(LINE_ROOM);
          expect(readLine(Buffer.from(line))?.isTrue).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ["credential_refused", "failure"],
    ["session_foreign", "failure"],
    ["session_refused", "failure"],
    ["store_down", "failure"],
    ["session_opened", "success"],
    ["session_closed", "success"],
    ["key_removed", "success"],
  ])("of %s has the outcome %s", (type, outcome) => {
    const event = eventsOf(1).find((one) => one.type === type) as GatewayEvent;
    expect(JSON.parse(lineOf(event))).toMatchObject({ event: type, outcome });
  });

  it.each([
    "client_gone",
    "deleted",
    "idle",
    "expired",
    "key_revoked",
    "operator",
    "slow_reader",
    "upstream_exited",
  ])("of a closed session says that it ended for %s", (end) => {
    const closed = eventsOf(1).find(({ type }) => type === "session_closed") as GatewayEvent;
    expect(JSON.parse(lineOf({ ...closed, end } as GatewayEvent))).toMatchObject({
      reason: end,
      seconds: 1.5,
    });
  });

  it("says whether an operator's action was done", () => {
    const action = { type: "operator_action", action: "backup", target: "a.ndjson" } as const;
    expect(JSON.parse(lineOf({ ...action, outcome: "done" }))).toMatchObject({ outcome: "success" });
    expect(JSON.parse(lineOf({ ...action, outcome: "failed" }))).toMatchObject({ outcome: "failure" });
  });
});
