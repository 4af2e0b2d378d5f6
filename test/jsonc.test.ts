import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJsonc } from "../src/jsonc.ts";

function complaint(text: string): string {
  try {
    parseJsonc(text);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

describe("parseJsonc", () => {
  it("reads all that JSON is as JSON.parse does", () => {
    const safe = fc.json().filter((text) => !text.includes("__proto__"));
    fc.assert(
      fc.property(safe, (text) => {
        expect(parseJsonc(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it("passes over comments and commas at an end, and over neither inside a text", () => {
    const text = `\uFEFF// first
      { "a": [1, 2,], /* in
      between */ "url": "http://x/*y*/,]", // "b": 1
        "c": "\\"//", }
      /**/`;
    expect(parseJsonc(text)).toEqual({ a: [1, 2], url: "http://x/*y*/,]", c: '"//' });
  });

  it("names the line and column of what is wrong, and shows nothing of the text", () => {
    expect(complaint(`{\n  "a": canary\n}`)).toBe(
      "line 2, column 14: there must be text in double quotes, a number, true, false, null, { or [",
    );
    for (const text of [
      `{"a": 'canary'}`,
      `{canary: 1}`,
      `{"a" "canary"}`,
      `{"a": "canary" "b": 2}`,
      `["canary" 1]`,
      `{"a": "canary`,
      `{} canary`,
      `{"a": "can\\ary"}`,
      `{"a": 1canary}`,
      `/* canary`,
      `{,}`,
      ``,
    ]) {
      expect(complaint(text), text).toMatch(/^line 1, column \d+: /);
      expect(complaint(text), text).not.toContain("can");
    }
  });

  it("takes no member twice, and none that would change what an object is", () => {
    expect(complaint(`{\n"a": 1,\n"a": 2}`)).toMatch(/^line 3, .*"a" cannot stand here, or stands twice/);
    expect(complaint(`{"__proto__": {}}`)).toContain("cannot stand here");
    expect(complaint(`{"a": {"b": 1}, "c": {"b": 1}}`)).toBe("");
  });

  it("ends at nonsense of any depth and length", () => {
    expect(complaint("[".repeat(500_000))).toContain("nested too deep");
    expect(complaint(`${"/**/ ".repeat(100_000)}{`)).not.toBe("");
  });
});
