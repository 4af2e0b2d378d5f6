import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_KEY_LENGTH, readApiKeys } from "../src/api-keys.ts";
import { digestOf } from "../src/keys/api-key.ts";
import { mintKey } from "../src/keys/mint.ts";

const STRONG = "0123456789abcdef0123456789abcdef";
const hex = (key: string) => createHash("sha256").update(key).digest("hex");
const problemsOf = (single?: string, several?: string, isProduction = true) =>
  readApiKeys(single, several, isProduction).problems;

describe("readApiKeys", () => {
  it("SEC-04 draws a strong key when none is set, and another one each time", () => {
    const [one, two] = [readApiKeys(undefined, undefined, false), readApiKeys(undefined, undefined, false)];
    expect(one.drawn).toMatch(/^mgw_[0-9a-f]{48}$/);
    expect(one.drawn).not.toBe(two.drawn);
    expect(one.keys).toEqual([
      {
        id: expect.stringMatching(/^e_[0-9a-f]{8}$/) as string,
        caller: "default",
        digest: digestOf(one.drawn as string),
      },
    ]);
    expect(one.problems).toEqual([]);
  });

  it("SEC-04 refuses to start in production without a key", () => {
    const { keys, drawn, problems } = readApiKeys(undefined, undefined, true);
    expect({ keys, drawn }).toEqual({ keys: [], drawn: undefined });
    expect(problems).toEqual([expect.stringContaining("MCP_API_KEY is missing")]);
  });

  it("SEC-04 an empty value draws no key: somebody meant to set one", () => {
    for (const [single, several] of [
      ["", undefined],
      [undefined, ""],
      ["", ""],
    ] as const) {
      const read = readApiKeys(single, several, false);
      expect(read).toMatchObject({ keys: [], drawn: undefined });
    }
  });

  it("SEC-05 a key of 32 characters is strong, one less is not", () => {
    expect(problemsOf(STRONG)).toEqual([]);
    expect(problemsOf(STRONG.slice(1))).toEqual([expect.stringContaining("at least 32 characters")]);
    const development = readApiKeys(STRONG.slice(1), undefined, false);
    expect(development.keys).toHaveLength(1);
    expect(development.warnings).toEqual([expect.stringContaining("production refuses it")]);
    expect(problemsOf("x".repeat(MAX_KEY_LENGTH))).toEqual([]);
    expect(problemsOf("x".repeat(MAX_KEY_LENGTH + 1))).toHaveLength(1);
  });

  it("SEC-05 what documents show is no key, also in development", () => {
    const samples = [
      "replace-me",
      "REPLACEME",
      "change-me",
      "your-api-key",
      "my_secret_key_that_is_long_enough_for_all",
      "secret",
      "test",
      "<your key>",
      "${MCP_API_KEY}",
      "your-32-characters-or-more-secret-key-here",
    ];
    for (const sample of samples) expect(problemsOf(sample, undefined, false), sample).toHaveLength(1);
    expect(problemsOf(undefined, "alice=replace-me", false)).toHaveLength(1);
    expect(problemsOf(undefined, "alice=sha256:<64 hex digits>", false)).toHaveLength(1);
  });

  it("SEC-05 quotes, spaces, line ends and letters that look alike are refused", () => {
    for (const bad of [
      `"${STRONG}"`,
      `'${STRONG}'`,
      `${STRONG}\n`,
      ` ${STRONG}`,
      `${STRONG} x`,
      `${STRONG}\u0430`,
      `${STRONG}\0`,
    ])
      expect(problemsOf(bad), JSON.stringify(bad)).toEqual([
        expect.stringMatching(/^MCP_API_KEY: a key may hold no/),
      ]);
  });

  it("SEC-05 one key that stands twice is refused, in whichever form", () => {
    expect(problemsOf(STRONG, `a=${STRONG}`)).toEqual([expect.stringContaining("stands twice")]);
    expect(problemsOf(STRONG, `a=sha256:${hex(STRONG).toUpperCase()}`)).toHaveLength(1);
    expect(problemsOf(undefined, `a=${STRONG},a=${STRONG}`)).toHaveLength(1);
  });

  it("SEC-07 two keys may have one name", () => {
    const read = readApiKeys(undefined, `a=${STRONG}1, a=${STRONG}2 ,b=sha256:${hex("x")}`, true);
    expect(read.problems).toEqual([]);
    expect(read.keys.map(({ caller }) => caller)).toEqual(["a", "a", "b"]);
    expect(read.keys[2]?.digest.toString("hex")).toBe(hex("x"));
  });

  it("SEC-05 entries that cannot be read are named by their place, all of them", () => {
    const problems = problemsOf(undefined, `${STRONG},=x,a b=${STRONG},a=,,-a=${STRONG},${"n".repeat(33)}=x`);
    expect(problems).toHaveLength(7);
    problems.forEach((problem, index) => expect(problem).toContain(`entry ${index + 1}`));
    expect(problemsOf(undefined, "a=sha256:12")).toEqual([expect.stringContaining("64 hex digits")]);
  });

  it("draws none and asks for none when a file has the keys, and refuses what is wrong all the same", () => {
    for (const isProduction of [true, false]) {
      const nothing = { keys: [], drawn: undefined, problems: [], warnings: [] };
      expect(readApiKeys(undefined, undefined, isProduction, true)).toEqual(nothing);
      expect(readApiKeys("replace-me", undefined, isProduction, true).problems).toHaveLength(1);
    }
  });

  it("gives each key an id that follows from it alone, and that nothing can be read from", () => {
    const raw = readApiKeys(undefined, `b=${STRONG}1,a=${STRONG}2`, true).keys;
    const again = readApiKeys(`${STRONG}2`, `z=sha256:${hex(`${STRONG}1`)}`, true).keys;
    expect(new Set(raw.map(({ id }) => id))).toEqual(new Set(again.map(({ id }) => id)));
    for (const { id, digest } of raw) {
      expect(id).toMatch(/^e_[0-9a-f]{8}$/);
      expect(digest.toString("hex")).not.toContain(id.slice(2));
      // One hash of the digest would be guessed at a billion a second.
      expect(hex(digest.toString("hex"))).not.toContain(id.slice(2));
    }
  });

  it("tells of a minted key with a letter wrong, and says no letter of it", () => {
    const { key } = mintKey();
    expect(readApiKeys(key, undefined, true).warnings).toEqual([]);
    for (const wrong of [key.slice(0, -1), `${key}x`, key.replace(/.(?=_[^_]*$)/, "-")]) {
      const { warnings } = readApiKeys(wrong, undefined, true);
      expect(warnings).toEqual([expect.stringContaining("a letter wrong or missing")]);
      expect(warnings.join("")).not.toContain(wrong.slice(9, 20));
    }
  });

  it("SEC-05 no problem or warning ever says a value", () => {
    const text = fc.string({ minLength: 8, unit: "grapheme" });
    fc.assert(
      fc.property(text, text, fc.boolean(), (single, several, isProduction) => {
        const { problems, warnings } = readApiKeys(`${single}!"$%`, `a=${several}!"$%`, isProduction);
        const told = [...problems, ...warnings].join("\n");
        expect(told).not.toContain(`${single}!"$%`);
        expect(told).not.toContain(`${several}!"$%`);
      }),
    );
  });

  it("reads back every key that can be written, and never starts with none", () => {
    const key = fc.string({
      unit: fc.constantFrom(..."abcXYZ019-_.~+/=:#!".split("")),
      minLength: 40,
      maxLength: 60,
    });
    const name = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,31}$/);
    const usable = key.filter((text) => !text.startsWith("sha256:"));
    fc.assert(
      fc.property(
        // Ids are slow to make, on purpose.
        fc.uniqueArray(fc.tuple(name, usable), { minLength: 1, maxLength: 3, selector: ([, text]) => text }),
        (pairs) => {
          const read = readApiKeys(undefined, pairs.map((pair) => pair.join("=")).join(","), true);
          expect(read.problems).toEqual([]);
          expect(read.keys.map(({ caller, digest }) => ({ caller, digest }))).toEqual(
            pairs.map(([caller, text]) => ({ caller, digest: digestOf(text) })),
          );
        },
      ),
    );
    fc.assert(
      fc.property(
        fc.option(fc.string(), { nil: undefined }),
        fc.option(fc.string(), { nil: undefined }),
        (one, more) => {
          const { keys, problems } = readApiKeys(one, more, true);
          expect(keys.length > 0 || problems.length > 0 || one === "" || more === "").toBe(true);
        },
      ),
    );
  });
});
