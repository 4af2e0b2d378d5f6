import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  errorResponse,
  MAX_ID_BYTES,
  MAX_METHOD_BYTES,
  onOneLine,
  scanMessage,
  type Envelope,
} from "../../src/protocol/json-rpc.ts";
import { MAX_DEPTH, MAX_ELEMENTS } from "../../src/protocol/json.ts";

const scan = (text: string) => scanMessage(Buffer.from(text));
const request = (members: string) => scan(`{"jsonrpc":"2.0","id":1,"method":"m"${members}}`);
const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

describe("scanMessage", () => {
  it("tells requests, notifications and responses apart", () => {
    const kinds = [
      '{"jsonrpc":"2.0","id":1,"method":"a"}',
      '{"method":"a","jsonrpc":"2.0"}',
      '{"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}',
    ].map((text) => scan(text) as Envelope);
    expect(kinds.map(({ kind }) => kind)).toEqual(["request", "notification", "response", "response"]);
    expect(kinds.map(({ failed }) => failed)).toEqual([false, false, false, true]);
  });

  it("finds id, method and params wherever they stand and however they are spaced", () => {
    const text = ' {\r\n "params" : {"a":[1,{"id":9}]} ,\t"id":"x", "jsonrpc":"2.0","method":"tools/call" } ';
    const envelope = scan(text) as Envelope;
    expect(envelope).toMatchObject({ kind: "request", id: '"x"', method: "tools/call" });
    expect(text.slice(envelope.paramsStart, envelope.paramsEnd)).toBe('{"a":[1,{"id":9}]}');
  });

  it("gives equal ids one spelling and keeps every digit of long ones", () => {
    const id = (text: string) => (scan(`{"jsonrpc":"2.0","method":"m","id":${text}}`) as Envelope).id;
    expect(id('"\\u0061b"')).toBe(id('"ab"'));
    expect(id("9007199254740993")).toBe("9007199254740993");
    expect([id("-5"), id("1e2"), id("1.0"), id("-0")]).toEqual(["-5", "100", "1", "0"]);
    expect(id('""')).toBe('""');
  });

  it("BAD-35 refuses ids that are not integers or strings", () => {
    for (const id of ["null", "{}", "[]", "true", "1.5", "1e400", '{"a":1}']) {
      expect(scan(`{"jsonrpc":"2.0","method":"m","id":${id}}`), id).toBe("invalid_id");
    }
    const idOf = (bytes: number) => scan(`{"jsonrpc":"2.0","method":"m","id":"${"x".repeat(bytes - 2)}"}`);
    expect(idOf(MAX_ID_BYTES)).toMatchObject({ kind: "request" });
    expect(idOf(MAX_ID_BYTES + 1)).toBe("invalid_id");
  });

  it("BAD-36 refuses a member that stands twice or only looks like a known one, and lets unknown ones pass", () => {
    for (const more of [
      ',"id":2',
      ',"method":"n"',
      ',"Method":"n"',
      ',"\\u006dethod":"n"',
      ',"ID":2',
      ',"__proto__":{}',
    ]) {
      expect(request(more), more).toBe("ambiguous_member");
    }
    expect(request(',"param\u017f":{}'), "long s").toBe("ambiguous_member");
    expect(request(',"x":1,"x":2')).toBe("ambiguous_member");
    expect(request(',"x-vendor":{"id":2,"method":"n"},"meta":1')).toMatchObject({ kind: "request", id: "1" });
  });

  it("BAD-34 refuses envelopes that are none", () => {
    const broken = [
      '{"id":1,"method":"m"}',
      '{"jsonrpc":"1.0","id":1,"method":"m"}',
      '{"jsonrpc":2,"id":1,"method":"m"}',
      '{"jsonrpc":"2.0","id":1}',
      '{"jsonrpc":"2.0","id":1,"method":""}',
      '{"jsonrpc":"2.0","id":1,"method":7}',
      '{"jsonrpc":"2.0","id":1,"method":"rpc.x"}',
      '{"jsonrpc":"2.0","id":1,"method":"m","params":7}',
      '{"jsonrpc":"2.0","id":1,"method":"m","result":{}}',
      '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
      '{"jsonrpc":"2.0","id":1,"error":"no"}',
      "{}",
    ];
    for (const text of broken) expect(scan(text), text).toBe("invalid_message");
    const method = (bytes: number) => scan(`{"jsonrpc":"2.0","method":"${"m".repeat(bytes)}"}`);
    expect(method(MAX_METHOD_BYTES)).toMatchObject({ kind: "notification" });
    expect(method(MAX_METHOD_BYTES + 1)).toBe("invalid_message");
  });

  it("BAD-31 refuses scalars and batches", () => {
    for (const text of ["1", "null", '"x"', "true"]) expect(scan(text), text).toBe("invalid_message");
    for (const text of ["[]", "[1]", '[{"jsonrpc":"2.0","method":"m"}]'])
      expect(scan(text), text).toBe("batch_not_allowed");
  });

  it("BAD-32 counts depth and elements up to their limits and not beyond", () => {
    expect(request(`,"params":${nested(MAX_DEPTH - 1)}`)).toMatchObject({ kind: "request" });
    expect(request(`,"params":${nested(MAX_DEPTH)}`)).toBe("too_deep");
    expect(request(`,"params":${nested(100_000)}`)).toBe("too_deep");
    const list = (length: number) => `,"params":[${"1,".repeat(length - 1)}1]`;
    expect(request(list(MAX_ELEMENTS))).toMatchObject({ kind: "request" });
    expect(request(list(MAX_ELEMENTS + 1))).toBe("too_many_elements");
  });

  it("BAD-30 refuses bytes that are not UTF-8", () => {
    const text = Buffer.from('{"jsonrpc":"2.0","method":"m","params":{"a":"x"}}');
    text[text.indexOf("x")] = 0xff;
    expect(scanMessage(text)).toBe("parse_error");
    expect(scanMessage(Buffer.from('{"jsonrpc":"2.0","method":"m"}', "utf16le"))).toBe("parse_error");
  });

  it("accepts as params exactly what JSON.parse accepts", () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 5 }),
        fc.nat(),
        fc.constantFrom("", ",", "}", '"', "\\", "0", "e", "\u0001", "tru"),
        (json, at, noise) => {
          const cut = at % (json.length + 1);
          const text = `{"jsonrpc":"2.0","id":1,"result":${json.slice(0, cut)}${noise}${json.slice(cut)}}`;
          let parsed: unknown;
          try {
            parsed = JSON.parse(text);
          } catch {
            parsed = undefined;
          }
          expect(scan(text) === "parse_error").toBe(parsed === undefined);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("reads a long string as JSON.parse does, whatever stands where and wherever it lies in memory", () => {
    const special = [
      '"',
      "\\",
      "\\n",
      "\\u00e9",
      "\\x",
      "\n",
      "\u0000",
      "\u001f",
      " ",
      "é",
      "😀",
      "\u007f",
      "!",
      "#",
      "[",
      "]",
    ];
    const accepts = (text: string): boolean => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    // Around the length from which a string is a long one, and around the ends of the windows that it is looked at in.
    const lengths = [130, 387, 1410, 5507].flatMap((middle) =>
      Array.from({ length: 40 }, (_, step) => middle - 20 + step),
    );
    for (const one of special) {
      for (const before of lengths) {
        const message = `{"jsonrpc":"2.0","id":1,"result":"${"x".repeat(before)}${one}${"y".repeat(before % 9)}"}`;
        for (let offset = 0; offset < 4; offset += 1) {
          const bytes = Buffer.from(" ".repeat(offset) + message).subarray(offset);
          expect(typeof scanMessage(bytes) !== "string", JSON.stringify({ one, before, offset })).toBe(
            accepts(message),
          );
        }
      }
    }
  });

  it("finds the end of a long string that is cut off", () => {
    for (let length = 120; length < 140; length += 1)
      expect(scan(`{"jsonrpc":"2.0","id":1,"result":"${"x".repeat(length)}`)).toBe("parse_error");
  });

  it("accepts every value that JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: "medium" }), (value) => {
        expect(scan(JSON.stringify({ jsonrpc: "2.0", id: 7, result: value }))).toMatchObject({
          kind: "response",
          id: "7",
        });
      }),
    );
  });

  it("never throws, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void scanMessage(Buffer.from(bytes))),
    );
  });
});

describe("onOneLine", () => {
  it("hands out the same bytes when they are on one line", () => {
    const message = Buffer.from('{"jsonrpc":"2.0","method":"m\\n"}');
    expect(onOneLine(message)).toBe(message);
  });

  it("replaces line breaks between tokens and keeps the meaning", () => {
    const message = Buffer.from('{\r\n  "jsonrpc": "2.0",\n  "method": "m\\n\u2028"\r}');
    const line = onOneLine(message);
    expect(line.toString()).not.toMatch(/[\r\n]/);
    expect(JSON.parse(line.toString())).toEqual(JSON.parse(message.toString()));
  });
});

describe("errorResponse", () => {
  it("is a response to the id that it was given, as JSON text", () => {
    const envelope = scanMessage(errorResponse('"a\\u0000"', -32603, 'say "no"', "upstream_exited"));
    expect(envelope).toMatchObject({ kind: "response", id: '"a\\u0000"', failed: true });
  });
});
