import { describe, expect, it } from "vitest";
import { digestOf } from "../../src/api-keys.ts";
import { PostTokens, sameText } from "../../src/session/post-token.ts";

const one = digestOf("one");
const two = digestOf("two");

describe("PostTokens", () => {
  it("SEC-24 opens its own session and no other", () => {
    const tokens = new PostTokens([one]);
    const token = tokens.for("a");
    expect(tokens.opens("a", token)).toBe(true);
    expect(tokens.opens("b", token)).toBe(false);
    for (const wrong of ["", token.slice(1), `${token}x`, token.toUpperCase(), "ä".repeat(43)]) {
      expect(tokens.opens("a", wrong)).toBe(false);
    }
  });

  it("gives the same token on every instance with the same keys, in whatever order, and another with others", () => {
    const token = new PostTokens([one, two]).for("a");
    expect(new PostTokens([two, one]).for("a")).toBe(token);
    expect(new PostTokens([one]).for("a")).not.toBe(token);
  });

  it("needs no escaping in a URL", () => {
    expect(new PostTokens([one]).for("a")).toMatch(/^[\w-]{43}$/);
  });

  it("compares texts of any length", () => {
    expect([sameText("a", "a"), sameText("a", "b"), sameText("a", "aa"), sameText("", "")]).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });
});
