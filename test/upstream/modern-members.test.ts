import { describe, expect, it } from "vitest";
import { idOf, membersAt, withMembers, withoutMembers } from "../../src/upstream/modern-members.ts";

const put = (text: string, path: string[], members: Record<string, string>) =>
  withMembers(Buffer.from(text), path, members).toString();
const drop = (text: string, path: string[], names: string[]) =>
  withoutMembers(Buffer.from(text), path, names).toString();

describe("members of a message", () => {
  it.each([
    ['{"id":1}', '{"id":1,"params":{"_meta":{"a":1}}}'],
    ['{"params":{}}', '{"params":{"_meta":{"a":1}}}'],
    ['{"params":{"x":9007199254740993} }', '{"params":{"x":9007199254740993,"_meta":{"a":1}} }'],
    ['{"params":{"_meta":{ }}}', '{"params":{"_meta":{ "a":1}}}'],
    ['{"params":{"_meta":{"b":"}"}}}', '{"params":{"_meta":{"b":"}","a":1}}}'],
    ['{"params":{"_meta":{"a":2,"b":3}}}', '{"params":{"_meta":{"a":1,"b":3}}}'],
    ['{"params":{"_meta":{"\\u0061":2}}}', '{"params":{"_meta":{"\\u0061":1}}}'],
    ['{"params":{"_meta":null}}', '{"params":{"_meta":{"a":1}}}'],
  ])("are put into %s", (before, after) => {
    expect(put(before, ["params", "_meta"], { a: "1" })).toBe(after);
  });

  it("are put in place and at the end at once", () => {
    expect(put('{"id":1,"x":{"y":2}} ', [], { new: "[]", x: "0", id: '"a"' })).toBe(
      '{"id":"a","x":0,"new":[]} ',
    );
  });

  it.each([
    ['{"m":{"a":1,"b":9007199254740993,"c":"}"}}', '{"m":{"b":9007199254740993,"c":"}"}}'],
    ['{"m":{ "a" : 1 }}', '{"m":{}}'],
    ['{"m":{"\\u0061":1}}', '{"m":{}}'],
    ['{"m":{"b":1}}', '{"m":{"b":1}}'],
    ['{"m":null}', '{"m":null}'],
    ["{}", "{}"],
  ])("are taken out of %s", (before, after) => {
    expect(drop(before, ["m"], ["a"])).toBe(after);
  });

  it("are told with the text of their values", () => {
    const members = membersAt(Buffer.from('{"m":{"__proto__": 1.0 ,"é":[ 2 ]}}'), ["m"]);
    expect(members.map(({ name, value }) => [name, value])).toEqual([
      ["__proto__", "1.0"],
      ["é", "[ 2 ]"],
    ]);
  });

  it("have ids in one spelling", () => {
    expect(idOf(Buffer.from('{"a":"\\u0061"}'), ["a"])).toBe('"a"');
    expect(idOf(Buffer.from('{"a":12345678901234567890}'), ["a"])).toBe("12345678901234567890");
  });
});
