import { expect, it } from "vitest";
import { readApiKeys } from "../../src/api-keys.ts";
import { digestOf } from "../../src/keys/api-key.ts";
import { claimsToBeMinted, looksLikeKey, mintKey } from "../../src/keys/mint.ts";

const minted = Array.from({ length: 200 }, mintKey);

it("makes keys of 256 bits in one form, each another, with an id that says nothing of it", () => {
  for (const { key, id, hash } of minted) {
    expect(key).toMatch(/^mgw_live_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/);
    expect(id).toMatch(/^k_[0-9a-f]{12}$/);
    expect(hash).toBe(`sha256:${digestOf(key).toString("hex")}`);
    expect(hash).not.toContain(id.slice(2));
  }
  for (const field of ["key", "id", "hash"] as const) {
    expect(new Set(minted.map((one) => one[field])).size).toBe(minted.length);
  }
  // Every letter but the first, of which the numbers up to 2^256 leave some out, may be any of 62.
  const letters = new Set(minted.flatMap(({ key }) => key.slice(10, 52).split("")));
  expect(letters.size).toBe(62);
});

it("knows them by their last letters, and finds each wrong, missing or exchanged one", () => {
  for (const { key } of minted.slice(0, 20)) {
    expect([looksLikeKey(key), claimsToBeMinted(key)]).toEqual([true, true]);
    for (let place = 9; place < key.length; place += 1) {
      const letter = key[place] as string;
      expect(looksLikeKey(key.slice(0, place) + (letter === "A" ? "B" : "A") + key.slice(place + 1))).toBe(
        false,
      );
      expect(looksLikeKey(key.slice(0, place) + key.slice(place + 1))).toBe(false);
    }
    expect(looksLikeKey(`${key}x`)).toBe(false);
    expect(looksLikeKey(`${key}\n`)).toBe(false);
  }
  for (const text of ["", "mgw_live_", "x".repeat(59), "\u0000"]) expect(looksLikeKey(text)).toBe(false);
});

it("makes keys that the environment takes without a word", () => {
  const { key } = mintKey();
  expect(readApiKeys(key, undefined, true)).toMatchObject({ problems: [], warnings: [] });
});
