import { createMcpHandler, fromJsonSchema, isLegacyRequest, McpServer } from "@modelcontextprotocol/server";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { scanMessage, type Envelope } from "../../src/protocol/json-rpc.ts";
import { checkModern, isModern, namesModern, type Headers } from "../../src/protocol/modern.ts";

const VERSION = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";
const meta = { [VERSION]: "2026-07-28", [CAPABILITIES]: {} };
const right = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "echo" };
const call = (name: unknown = "echo", _meta: unknown = meta) => ({
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: { name, arguments: {}, _meta },
});

function read(body: unknown): { message: Buffer; envelope: Envelope } {
  const message = Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  return { message, envelope: scanMessage(message) as Envelope };
}
const isModernHere = (headers: Headers, body: unknown) => {
  const { message, envelope } = read(body);
  return isModern(headers, message, envelope);
};
const problemOf = (headers: Headers, body: unknown) => {
  const { message, envelope } = read(body);
  return checkModern(headers, message, envelope);
};
const headerOf = (headers: Headers, body: unknown) => {
  const problem = problemOf(headers, body);
  return problem?.reason === "header_mismatch" ? problem.data.header : problem?.reason;
};

describe("the era of a message", () => {
  it("is the modern one when its _meta or its header says so", () => {
    expect(isModernHere({}, call())).toBe(true);
    expect(isModernHere({ "mcp-protocol-version": "2026-07-28" }, call("echo", undefined))).toBe(true);
    expect(isModernHere({ "mcp-protocol-version": "2027-01-01" }, call("echo", undefined))).toBe(true);
    expect(
      isModernHere({ "mcp-protocol-version": "2026-07-28" }, { jsonrpc: "2.0", method: "notifications/x" }),
    ).toBe(true);
  });

  it("is the one of sessions without either, whatever else is said", () => {
    const session = { "mcp-session-id": "1", "mcp-protocol-version": "2025-11-25", "mcp-method": "x" };
    expect(isModernHere(session, call("echo", { progressToken: 1 }))).toBe(false);
    expect(isModernHere({}, { jsonrpc: "2.0", id: 1, method: "server/discover" })).toBe(false);
    expect(isModernHere({}, { jsonrpc: "2.0", id: 1, method: "x", params: [] })).toBe(false);
    expect(isModernHere({}, { jsonrpc: "2.0", id: 1, method: "x", params: { _meta: null } })).toBe(false);
  });

  it("is the one of sessions for a response, and for an initialize that is not whole", () => {
    expect(isModernHere(right, { jsonrpc: "2.0", id: 1, result: { _meta: meta } })).toBe(false);
    const initialize = (_meta: unknown) => ({
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { _meta },
    });
    expect(isModernHere({}, initialize({ [VERSION]: "2026-07-28" }))).toBe(false);
    expect(isModernHere({}, initialize({ ...meta, [VERSION]: "2025-11-25" }))).toBe(false);
    expect(isModernHere({}, initialize(meta))).toBe(true);
  });

  it("is told by the key however it is spelled, and by nothing that only looks like it", () => {
    expect(
      isModernHere(
        {},
        '{"jsonrpc":"2.0","id":1,"method":"x","params":{"_m\\u0065ta":{"io.modelcontextprotocol\\/protocolVersion":1}}}',
      ),
    ).toBe(true);
    expect(isModernHere({}, call("echo", { x: meta }))).toBe(false);
  });

  it("is named by versions from 2026-07-28 on", () => {
    expect(namesModern({ "mcp-protocol-version": "2026-07-28" })).toBe(true);
    expect(namesModern({ "mcp-protocol-version": "2025-11-25" })).toBe(false);
    expect(namesModern({})).toBe(false);
  });
});

describe("what is wrong with a modern message", () => {
  it("is nothing when the headers repeat the body", () => {
    expect(problemOf(right, call())).toBeUndefined();
    const list = { jsonrpc: "2.0", id: 1, method: "tools/list", params: { _meta: meta } };
    expect(problemOf({ ...right, "mcp-method": "tools/list", "mcp-name": undefined }, list)).toBeUndefined();
  });

  it("is a header that is missing, the first of several", () => {
    expect(headerOf({}, call())).toBe("MCP-Protocol-Version");
    expect(headerOf({ "mcp-protocol-version": "2026-07-28" }, call())).toBe("Mcp-Method");
    expect(headerOf({ ...right, "mcp-name": undefined }, call())).toBe("Mcp-Name");
  });

  it("is a header that says something else, in other letters even", () => {
    expect(headerOf({ ...right, "mcp-protocol-version": "2025-11-25" }, call())).toBe("MCP-Protocol-Version");
    expect(headerOf({ ...right, "mcp-method": "TOOLS/CALL" }, call())).toBe("Mcp-Method");
    expect(headerOf({ ...right, "mcp-name": "other" }, call())).toBe("Mcp-Name");
  });

  it.each([
    ["tools/call", "name"],
    ["prompts/get", "name"],
    ["resources/read", "uri"],
    ["tasks/get", "taskId"],
    ["tasks/update", "taskId"],
    ["tasks/cancel", "taskId"],
  ])("is a name of %s that stands in %s and not in the header", (method, member) => {
    const body = { jsonrpc: "2.0", id: 1, method, params: { [member]: "a\n", _meta: meta } };
    const headers = { ...right, "mcp-method": method };
    expect(headerOf({ ...headers, "mcp-name": "a" }, body)).toBe("Mcp-Name");
    expect(problemOf({ ...headers, "mcp-name": "=?base64?YQo=?=" }, body)).toBeUndefined();
  });

  it("is not a name in another script, which a header carries as base64", () => {
    const name = "天気 ☂ \u{1f327}";
    const encoded = `=?base64?${Buffer.from(name).toString("base64")}?=`;
    expect(problemOf({ ...right, "mcp-name": encoded }, call(name))).toBeUndefined();
    expect(headerOf({ ...right, "mcp-name": encoded }, call("天気"))).toBe("Mcp-Name");
  });

  it.each(["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?/w==?=", "=?base64?SGVsbG9=?= ?="])(
    "is %s, which cannot be decoded, in the name and in a tool's own header",
    (broken) => {
      expect(headerOf({ ...right, "mcp-name": broken }, call("Hello"))).toBe("Mcp-Name");
      expect(headerOf({ ...right, "mcp-param-city": broken }, call())).toBe("Mcp-Param");
    },
  );

  it("is not a value that only begins or ends like base64", () => {
    for (const plain of ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?="]) {
      expect(
        problemOf({ ...right, "mcp-param-city": plain, "mcp-name": plain }, call(plain)),
      ).toBeUndefined();
    }
  });

  it("is a version that is not served, told with those that are", () => {
    const asked = (version: string) =>
      problemOf({ ...right, "mcp-protocol-version": version }, call("echo", { ...meta, [VERSION]: version }));
    expect(asked("v999.0.0")).toEqual({
      reason: "version_not_served",
      data: { supported: ["2026-07-28"], requested: "v999.0.0" },
    });
    expect(asked("2025-11-25")?.reason).toBe("version_not_served");
    expect(asked("3".repeat(5000))?.data).toMatchObject({ requested: "3".repeat(64) });
  });

  it("is a _meta that is missing, or not whole", () => {
    const problem = (_meta: unknown) => problemOf(right, call("echo", _meta));
    const envelope = (key: string, problemText: string) => ({
      reason: "meta_required",
      data: { envelope: { key, problem: problemText } },
    });
    expect(problem(null)).toEqual(envelope("_meta", "missing"));
    expect(problem({ [CAPABILITIES]: {} })).toEqual(envelope(VERSION, "missing"));
    expect(problem({ [VERSION]: 7, [CAPABILITIES]: {} })).toEqual(envelope(VERSION, "not a string"));
    expect(problem({ [VERSION]: "2026-07-28" })).toEqual(envelope(CAPABILITIES, "missing"));
    expect(problem({ ...meta, [CAPABILITIES]: [] })).toEqual(envelope(CAPABILITIES, "not an object"));
  });

  it("is little with notifications: nothing but what they say themselves", () => {
    const notification = (params?: object) => ({ jsonrpc: "2.0", method: "notifications/x", params });
    const version = { "mcp-protocol-version": "2026-07-28" };
    expect(problemOf(version, notification())).toBeUndefined();
    expect(problemOf({}, notification({ _meta: { [VERSION]: "2026-07-28" } }))).toBeUndefined();
    expect(headerOf({ ...version, "mcp-method": "notifications/y" }, notification())).toBe("Mcp-Method");
    expect(headerOf(version, notification({ _meta: { [VERSION]: "2027-01-01" } }))).toBe(
      "MCP-Protocol-Version",
    );
    expect(headerOf({ "mcp-protocol-version": "2027-01-01" }, notification())).toBe("version_not_served");
  });
});

describe("beside the SDK's server", () => {
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: "judge", version: "1" });
    server.registerTool("echo", { inputSchema: fromJsonSchema({ type: "object" }) }, () => ({ content: [] }));
    return server;
  });

  const some = fc.constantFrom;
  const version = some("2026-07-28", "2027-01-01", "2025-11-25", "v999", 7);
  const metaSaid = fc.oneof(
    fc.constant(undefined),
    fc.record(
      { [VERSION]: version, [CAPABILITIES]: some<unknown>({}, { sampling: {} }, [], "x") },
      { requiredKeys: [] },
    ),
    fc.constant(meta),
  );
  const methods = some(
    "tools/call",
    "initialize",
    "tools/list",
    "resources/read",
    "tasks/get",
    "no/such",
    "constructor",
  );
  const names = some<unknown>("echo", "é ☂", "=?base64?ZWNobw==?=", 7, undefined);
  const said = fc.record(
    {
      "mcp-protocol-version": some("2026-07-28", "2027-01-01", "2025-11-25", "v999"),
      "mcp-method": methods,
      "mcp-name": some("echo", "other", "=?base64?ZWNobw==?=", "=?base64?w6kg4piC?=", "=?base64?w6k?="),
    },
    { requiredKeys: [] },
  );

  it("takes, refuses and leaves to sessions the same messages, with the same codes", async () => {
    const seen = new Set<unknown>();
    await fc.assert(
      fc.asyncProperty(
        methods,
        names,
        metaSaid,
        said,
        fc.boolean(),
        async (method, name, _meta, more, isRight) => {
          const headers: Record<string, string> = isRight
            ? { ...right, "mcp-method": method, ...more }
            : more;
          const params = { name, uri: name, taskId: name, _meta };
          const text = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
          const request = () =>
            new Request("http://judge/mcp", {
              method: "POST",
              headers: {
                ...headers,
                "content-type": "application/json",
                accept: "application/json, text/event-stream",
              },
              body: text,
            });
          const modern = isModernHere(headers, text);
          expect(modern).toBe(!(await isLegacyRequest(request())));
          if (!modern) return;
          const response = await handler.fetch(request());
          const body = (await response.json()) as { error?: { code: number } };
          const code = response.status === 400 ? body.error?.code : undefined;
          const problem = problemOf(headers, text);
          const ours = { header_mismatch: -32020, version_not_served: -32022, meta_required: -32602 };
          expect(problem && ours[problem.reason]).toBe(code);
          seen.add(code);
        },
      ),
      // So many, that each of the four outcomes is among them.
      { numRuns: 2000 },
    );
    expect(seen).toEqual(new Set([undefined, -32020, -32022, -32602]));
  });
});
