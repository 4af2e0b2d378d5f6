import { describe, expect, it } from "vitest";
import { digestOf } from "../../src/keys/api-key.ts";
import { KeyRing } from "../../src/keys/key-ring.ts";
import { PostTokens, sameText } from "../../src/session/post-token.ts";

const key = (id: string, caller = "a", expiresAt?: number) => ({
  ...{ id, caller, digest: digestOf(id) },
  ...(expiresAt !== undefined && { expiresAt }),
});
const [one, two, third] = [key("k_1"), key("k_2"), key("k_3", "b")];

describe("PostTokens", () => {
  it("SEC-24 opens its own session and no other", () => {
    const tokens = new PostTokens(new KeyRing([one, two]));
    const token = tokens.for("a", "k_1");
    expect(tokens.opens("a", token)).toMatchObject({ id: "k_1", caller: "a" });
    expect(tokens.opens("b", token)).toBeUndefined();
    const proof = token.slice(4);
    const wrong = [
      "",
      "-",
      "k_1",
      "k_1-",
      proof,
      `-${proof}`,
      `k_2-${proof}`,
      `k_9-${proof}`,
      `k_1--${proof}`,
    ];
    const near = [
      token.slice(1),
      `${token}x`,
      token.toUpperCase(),
      "\u00e4".repeat(43),
      `__proto__-${proof}`,
    ];
    for (const text of [...wrong, ...near]) expect(tokens.opens("a", text), text).toBeUndefined();
  });

  it("gives the same token wherever the key is, whatever other keys are there", () => {
    const token = new PostTokens(new KeyRing([one, two])).for("a", "k_1");
    expect(new PostTokens(new KeyRing([third, one])).for("a", "k_1")).toBe(token);
    expect(new PostTokens(new KeyRing([one, two])).for("a", "k_2")).not.toBe(token);
  });

  it("tells whose key the token was made under, because that caller could have made it", () => {
    const tokens = new PostTokens(new KeyRing([one, third]));
    expect(tokens.opens("a", tokens.for("a", "k_3"))?.caller).toBe("b");
  });

  it("keeps its tokens while keys come and go, and ends them with their own key", () => {
    const ring = new KeyRing([one]);
    const tokens = new PostTokens(ring);
    const token = tokens.for("a", "k_1");
    ring.replace([two, { ...one }]);
    expect(tokens.opens("a", token)?.id).toBe("k_1");
    ring.replace([two]);
    expect(tokens.opens("a", token)).toBeUndefined();
    expect(() => tokens.for("a", "k_1")).toThrow(
      expect.objectContaining({ reason: "api_key_invalid" }) as Error,
    );
    // The id alone is not what was proven.
    ring.replace([{ ...two, id: "k_1" }]);
    expect(tokens.opens("a", token)).toBeUndefined();
  });

  it("ends a token with the time of its key", () => {
    let now = 0;
    const tokens = new PostTokens(new KeyRing([key("k_1", "a", 10)], { now: () => now }));
    const token = tokens.for("a", "k_1");
    now = 9;
    expect(tokens.opens("a", token)?.id).toBe("k_1");
    now = 10;
    expect(tokens.opens("a", token)).toBeUndefined();
  });

  it("needs no escaping in a URL", () => {
    expect(new PostTokens(new KeyRing([one])).for("a", "k_1")).toMatch(/^k_1-[\w-]{43}$/);
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
