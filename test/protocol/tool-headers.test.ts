import { describe, expect, it } from "vitest";
import { disagreement, speaksOfHeaders, toolHeadersIn } from "../../src/protocol/tool-headers.ts";

const list = (...tools: unknown[]) =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools } }));
const inputSchema = {
  type: "object",
  properties: {
    region: { type: "string", "x-mcp-header": "Region" },
    dry: { type: "boolean", "x-mcp-header": "Dry" },
    plain: { type: "string" },
    deep: { type: "object", properties: { count: { type: "integer", "x-mcp-header": "Count" } } },
  },
};
const headers = toolHeadersIn(list({ name: "deploy", inputSchema })).get("deploy") ?? [];
const call = (args: unknown) =>
  Buffer.from(JSON.stringify({ method: "tools/call", params: { name: "deploy", arguments: args } }));

describe("the headers that a tool wants", () => {
  it("are found at any depth of its schema, and tools without have none", () => {
    expect(headers).toEqual([
      { name: "mcp-param-region", path: ["region"], isNumber: false },
      { name: "mcp-param-dry", path: ["dry"], isNumber: false },
      { name: "mcp-param-count", path: ["deep", "count"], isNumber: true },
    ]);
    expect(toolHeadersIn(list({ name: "a" }, { name: "b", inputSchema: { type: "object" } }))).toEqual(
      new Map([
        ["a", []],
        ["b", []],
      ]),
    );
    expect([speaksOfHeaders(list({ inputSchema })), speaksOfHeaders(list({ name: "a" }))]).toEqual([
      true,
      false,
    ]);
  });

  it("are none in a list that is not one", () => {
    for (const tools of [[null, 7, { name: 7 }], "no", undefined]) {
      const response = Buffer.from(JSON.stringify({ result: { tools } }));
      expect(toolHeadersIn(response)).toEqual(new Map());
    }
    const odd = {
      name: "odd",
      inputSchema: { properties: { a: null, b: { "x-mcp-header": 7 }, c: "text" } },
    };
    expect(toolHeadersIn(list(odd)).get("odd")).toEqual([]);
  });
});

describe("a call", () => {
  it.each([
    [{ region: "eu" }, { "mcp-param-region": "eu" }],
    [{ region: "é" }, { "mcp-param-region": "=?base64?w6k=?=" }],
    [{ region: "SGVsbG8=" }, { "mcp-param-region": "SGVsbG8=" }],
    [
      { dry: true, deep: { count: 42 } },
      { "mcp-param-dry": "true", "mcp-param-count": "42.0" },
    ],
    [{ plain: "x" }, {}],
    [{ region: null }, { "mcp-param-region": "ignored" }],
    [{ deep: { count: 2 ** 60 } }, {}],
    [undefined, {}],
  ])("with %j agrees with %j", (args, said) => {
    expect(disagreement(headers, said, call(args))).toBeUndefined();
  });

  it.each([
    [{ region: "eu" }, {}, "mcp-param-region"],
    [{ region: "eu" }, { "mcp-param-region": "us" }, "mcp-param-region"],
    [{ region: "Hello" }, { "mcp-param-region": "=?base64?SGVsbG8?=" }, "mcp-param-region"],
    [{ dry: false }, { "mcp-param-dry": "true" }, "mcp-param-dry"],
    [{ deep: { count: 42 } }, { "mcp-param-count": "43" }, "mcp-param-count"],
  ])("with %j does not agree with %j", (args, said, header) => {
    expect(disagreement(headers, said, call(args))).toBe(header);
  });
});
