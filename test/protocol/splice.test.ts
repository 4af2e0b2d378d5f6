import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { locate, splice, textAt } from "../../src/protocol/splice.ts";

const at = (text: string, ...path: string[]) => {
  const message = Buffer.from(text);
  const span = locate(message, path);
  return span && textAt(message, span);
};

describe("a place in a message", () => {
  it("is found by its path, whatever stands around it", () => {
    const text =
      '{ "x":{"id":1}, "id" : 12345678901234567890 ,"params":{"_meta":{"progressToken":"a\\"b"},"y":[{}]}}';
    expect(at(text, "id")).toBe("12345678901234567890");
    expect(at(text, "params", "_meta", "progressToken")).toBe('"a\\"b"');
    expect(at(text, "params", "y")).toBe("[{}]");
  });

  it("is not there when a part of the path is missing or no object", () => {
    expect(at('{"id":1}', "params", "name")).toBeUndefined();
    expect(at('{"params":[1]}', "params", "name")).toBeUndefined();
    expect(at("{}", "id")).toBeUndefined();
  });

  it("is the last of a name that stands twice, and of one that is spelled with escapes", () => {
    expect(at('{"params":{"name":"a","n\\u0061me":"b"}}', "params", "name")).toBe('"b"');
  });

  it("is where JSON.parse would find it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, name) => {
        const message = { before: value, [name]: value, params: { [name]: value } };
        const text = at(JSON.stringify(message), "params", name);
        expect(JSON.parse(text as string)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe("a splice", () => {
  it("changes these places and not a byte else", () => {
    const message = Buffer.from('{"id":1, "é":"\\u00e9","params":{"name":"x"}}');
    const id = locate(message, ["id"]);
    const name = locate(message, ["params", "name"]);
    const changed = splice(message, [
      { ...id!, text: '"a-1"' },
      { ...name!, text: Buffer.from('"y"') },
    ]);
    expect(changed.toString()).toBe('{"id":"a-1", "é":"\\u00e9","params":{"name":"y"}}');
  });
});
