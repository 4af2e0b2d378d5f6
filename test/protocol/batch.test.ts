import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isBatch, splitBatch } from "../../src/protocol/batch.ts";

const split = (text: string) => {
  const found = splitBatch(Buffer.from(text));
  return typeof found === "string" ? found : found.map(String);
};
const spaces = fc.string({ unit: fc.constantFrom(" ", "\n", "\t", "\r"), maxLength: 3 });

describe("a batch", () => {
  it("is an array, right or wrong", () => {
    expect(["[]", " \n[1", "[", "\t[{}]"].map((text) => isBatch(Buffer.from(text)))).toEqual(
      Array.from({ length: 4 }, () => true),
    );
    expect(["", "{}", '"[]"', " ", "x["].some((text) => isBatch(Buffer.from(text)))).toBe(false);
  });

  it("gives its elements as they stand, whatever they are and whatever space is between", () => {
    const elements = fc.array(fc.tuple(spaces, fc.jsonValue(), spaces), { minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(elements, spaces, spaces, (all, before, after) => {
        const texts = all.map(([, value]) => JSON.stringify(value));
        const inner = all.map(([left, , right], at) => left + texts[at] + right).join(",");
        expect(split(`${before}[${inner}]${after}`)).toEqual(texts);
      }),
    );
  });

  it("keeps numbers and names as they were written", () => {
    expect(split('[{"id":9007199254740993,"\\u0061":1.0e2},[ 1 ]]')).toEqual([
      '{"id":9007199254740993,"\\u0061":1.0e2}',
      "[ 1 ]",
    ]);
  });

  it("has 1 to 100 elements", () => {
    const of = (count: number) => `[${Array.from({ length: count }, () => "{}").join()}]`;
    expect(split(of(100))).toHaveLength(100);
    for (const text of [of(101), of(0), "[ \n]", " [] "]) expect(split(text)).toBe("batch_too_long");
    // What comes after too many is not looked at.
    expect(split(`${of(101).slice(0, -1)}oops`)).toBe("batch_too_long");
  });

  it.each(["[", "[]]", "[] x", "[,]", "[1,]", "[1 2]", "[1", "[1]]", "[1],", "[tru]", '["a]', "[1]\0"])(
    "%s is none",
    (text) => expect(split(text)).toBe("parse_error"),
  );

  it("is none when one of its elements is nested too deep, or has too many members", () => {
    expect(split(`[${"[".repeat(200)}${"]".repeat(200)}]`)).toBe("too_deep");
    expect(split(`[[${"1,".repeat(60_000)}1]]`)).toBe("too_many_elements");
  });

  it("is an array of JSON or none, as JSON.parse says", () => {
    const soup = fc.string({ unit: fc.constantFrom("[", "]", ",", "{", "}", "1", '"', " ", ":", "null") });
    fc.assert(
      fc.property(soup, (text) => {
        let parsed: unknown;
        try {
          parsed = JSON.parse(`[${text}`);
        } catch {
          parsed = undefined;
        }
        const isGood = Array.isArray(parsed) && parsed.length > 0;
        const found = split(`[${text}`);
        expect(Array.isArray(found)).toBe(isGood);
        if (isGood) expect((found as string[]).map((one) => JSON.parse(one) as unknown)).toEqual(parsed);
      }),
    );
  });
});
