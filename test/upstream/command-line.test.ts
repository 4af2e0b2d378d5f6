import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { splitCommand } from "../../src/upstream/command-line.ts";

describe("splitCommand", () => {
  it.each<[string, string[]]>([
    ["", []],
    ["  \t\n ", []],
    ["npx -y @scope/server", ["npx", "-y", "@scope/server"]],
    ["  node   server.js  ", ["node", "server.js"]],
    [`server 'two words' "three more words"`, ["server", "two words", "three more words"]],
    [`a'b'"c"d`, ["abcd"]],
    [`server ""  ''`, ["server", "", ""]],
    [String.raw`a\ b \"c\" \\ \'`, ["a b", '"c"', "\\", "'"]],
    [String.raw`"a\"b" "c\\d" "e\f" "\$x" '\n'`, ['a"b', "c\\d", "e\\f", "$x", "\\n"]],
    [`"it's" 'say "hi"'`, ["it's", 'say "hi"']],
    ['a\\\nb "c\\\nd"', ["ab", "cd"]],
    [String.raw`"\\` + '\n"', ["\\\n"]],
    ["server # no comment", ["server", "#", "no", "comment"]],
    ["naïve 😀 'é €'", ["naïve", "😀", "é €"]],
  ])("splits %j", (text, words) => {
    expect(splitCommand(text)).toEqual(words);
  });

  it("SEC-45 expands nothing", () => {
    const text = 'server $HOME ${X} $(id) `id` ; rm -rf / | cat && x > y < z * ~ {a,b} "$(id)`id`"';
    expect(splitCommand(text)).toEqual([...text.split(" ").slice(0, -1), "$(id)`id`"]);
  });

  it("gives back any words that were quoted for it", () => {
    const quote = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`;
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" })), (words) => {
        expect(splitCommand(words.map(quote).join(" "))).toEqual(words);
      }),
    );
  });

  it.each([
    ["server 'open", "The command has a single quote that is never closed."],
    ['server "open', "The command has a double quote that is never closed."],
    [String.raw`server "open\"`, "The command has a double quote that is never closed."],
    ["server \\", "The command ends in a backslash that escapes nothing."],
  ])("refuses %j in plain words", (text, words) => {
    expect(() => splitCommand(text)).toThrow(words);
  });

  it("takes a time that grows with the text, not with its square", () => {
    expect(splitCommand("a".repeat(1_000_000))).toHaveLength(1);
    expect(splitCommand("\\a".repeat(500_000))).toHaveLength(1);
    expect(() => splitCommand(`"${"\\a".repeat(500_000)}`)).toThrow("double quote");
  });
});
