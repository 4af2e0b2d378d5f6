import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accepts } from "../../src/http/accept.ts";

const SSE = "text/event-stream";

describe("an Accept header", () => {
  it.each([
    undefined,
    SSE,
    "*/*",
    "text/*",
    "TEXT/Event-Stream",
    `application/json,${SSE}`,
    `application/json , ${SSE} ; charset=utf-8`,
    `${SSE};q=0.001`,
    `${SSE}; q=1.0`,
    `${SSE};q=0, */*`,
  ])("%s leaves room for a stream", (accept) => {
    expect(accepts(accept, SSE)).toBe(true);
  });

  it.each([
    "",
    ",",
    "application/json",
    "text/html",
    "text",
    "*",
    "text/event",
    "text/event-stream-2",
    `${SSE};q=0`,
    `${SSE}; Q=0.000`,
    "*/*;q=0",
    "application/*",
  ])("%s does not", (accept) => {
    expect(accepts(accept, SSE)).toBe(false);
  });

  it("is read the same in whichever order its ranges stand, and never throws", () => {
    const range = fc.constantFrom(SSE, "*/*", "text/*", "application/json", `${SSE};q=0`, "x", "", ";;=,q");
    fc.assert(
      fc.property(fc.array(range), fc.string(), (ranges, noise) => {
        const is = accepts(ranges.join(","), SSE);
        expect(accepts([...ranges].reverse().join(" , "), SSE)).toBe(is);
        expect(accepts(noise, SSE)).toBe(accepts(noise.toUpperCase(), SSE));
      }),
    );
  });
});
