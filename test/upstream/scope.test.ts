import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseScope, type Scope } from "../../src/upstream/scope.ts";

function scope(text: string): Scope {
  const parsed = parseScope(text);
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

describe("a scope", () => {
  it.each<[text: string, server: string, tool: string, uses: boolean, whole: boolean, calls: boolean]>([
    ["fs", "fs", "read", true, true, true],
    ["fs", "fs-admin", "read", false, false, false],
    ["fs-admin", "fs", "read", false, false, false],
    ["fs", "FS", "read", false, false, false],
    ["fs/read", "fs", "read", true, false, true],
    ["fs/read", "fs", "read_all", true, false, false],
    ["fs/read", "fs", "Read", true, false, false],
    ["fs/read_*", "fs", "read_all", true, false, true],
    ["fs/read_*", "fs", "read_", true, false, true],
    ["fs/read_*", "fs", "read", true, false, false],
    ["fs/*", "fs", "anything", true, false, true],
    ["fs/*", "fs", "", true, false, true],
    ["fs/*_read", "fs", "all_read", true, false, true],
    ["fs/a*b*c", "fs", "axxbyyc", true, false, true],
    ["fs/a*b*c", "fs", "abc", true, false, true],
    ["fs/a*b*c", "fs", "acb", true, false, false],
    ["fs/ab*ba", "fs", "aba", true, false, false],
    ["fs/a*ba*a", "fs", "aba", true, false, false],
    ["fs/a/b", "fs", "a/b", true, false, true],
    ["fs/.*", "fs", "read", true, false, false],
    ["*", "whatever", "x", true, true, true],
    ["fs/read db", "db", "x", true, true, true],
    ["fs/read db", "fs", "x", true, false, false],
    ["fs/read fs", "fs", "x", true, true, true],
    ["!fs *", "fs", "x", false, false, false],
  ])("%s on %s/%s", (text, server, tool, uses, whole, calls) => {
    const parsed = parseScope(text);
    if (typeof parsed === "string") return expect([uses, whole, calls]).toEqual([false, false, false]);
    expect([parsed.mayUseServer(server), parsed.isWhole(server), parsed.mayCall(server, tool)]).toEqual([
      uses,
      whole,
      calls,
    ]);
  });

  it.each([
    ["", "names nothing"],
    ["  \t", "names nothing"],
    ["fs/", "names no tool"],
    ["/read", "server's name"],
    ["*/read", "server's name"],
    ["f*", "server's name"],
    ["-!", "server's name"],
    [`fs/${"x".repeat(300)}`, "256"],
    ["a ".repeat(1001), "1000"],
  ])("says what is wrong with %j", (text, problem) => {
    expect(parseScope(text)).toContain(problem);
  });

  const letters = (alphabet: string) =>
    fc.string({ unit: fc.constantFrom(...Array.from(alphabet)), maxLength: 8 });
  const server = fc.string({ unit: fc.constantFrom("a", "b", "-", "_"), minLength: 1, maxLength: 3 });
  const pattern = letters("ab_*").filter((text) => text !== "");
  const rule = fc.oneof(
    server.map((name) => ({ server: name, tool: undefined })),
    fc.record({ server, tool: pattern }),
  );
  const toText = (rules: { server: string; tool?: string | undefined }[]) =>
    rules.map(({ server: name, tool }) => (tool === undefined ? name : `${name}/${tool}`)).join(" ");

  /** Written to be plainly right, and slow. */
  function fits(glob: string, name: string): boolean {
    if (glob === "") return name === "";
    if (glob.startsWith("*")) return fits(glob.slice(1), name) || (name !== "" && fits(glob, name.slice(1)));
    return name !== "" && glob[0] === name[0] && fits(glob.slice(1), name.slice(1));
  }

  it("SEC-31 allows what one of its patterns names, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 4 }),
        server,
        letters("ab_*"),
        (rules, name, tool) => {
          const judged = scope(toText(rules));
          const mine = rules.filter((one) => one.server === name);
          const isWhole = mine.some((one) => one.tool === undefined);
          expect(judged.mayUseServer(name)).toBe(mine.length > 0);
          expect(judged.isWhole(name)).toBe(isWhole);
          expect(judged.mayCall(name, tool)).toBe(
            isWhole || mine.some((one) => one.tool !== undefined && fits(one.tool, tool)),
          );
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("SEC-31 matches wildcards as a plain reading of them does", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 6 });
    const glob = fc.array(text, { minLength: 2, maxLength: 4 }).map((pieces) => pieces.join("*"));
    fc.assert(
      fc.property(glob, text, (some, tool) => {
        expect(scope(`fs/${some}`).mayCall("fs", tool)).toBe(fits(some, tool));
      }),
      { numRuns: 5000 },
    );
  });

  it("SEC-31 never allows less for one pattern more, and never in another order", () => {
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 4 }),
        rule,
        server,
        letters("ab_"),
        (rules, more, name, tool) => {
          const before = scope(toText(rules)).mayCall(name, tool);
          const after = scope(toText([...rules, more])).mayCall(name, tool);
          expect(scope(toText([more, ...rules])).mayCall(name, tool)).toBe(after);
          if (before) expect(after).toBe(true);
        },
      ),
    );
  });

  it("SEC-31 judges any text that a caller may send", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (name, tool) => {
        const judged = scope("fs/read fs/list_* db");
        expect(judged.mayCall(name, tool)).toBe(
          name === "db" || (name === "fs" && (tool === "read" || tool.startsWith("list_"))),
        );
      }),
    );
  });
});
