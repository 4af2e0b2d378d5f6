import { describe, expect, it } from "vitest";
import { createCallMetrics } from "../../src/telemetry/call-metrics.ts";
import { play, requestOf, resultOf } from "./played.ts";
import { Scraped } from "./scraped.ts";

const NAME = "mcp_server_operation_duration_seconds";
const error = (code: unknown) =>
  Buffer.from(JSON.stringify({ jsonrpc: "2.0", id: 1, error: { code, message: "no" } }));

function stage(maxNames = 300) {
  const metrics = createCallMetrics(maxNames);
  const scraped = () => new Scraped(metrics.text());
  return {
    knownTools: metrics.knownTools,
    scraped,
    text: metrics.text,
    play: (
      ...[message, outcome, server]: Parameters<typeof play> extends [unknown, ...infer Rest] ? Rest : never
    ) => play({ calls: metrics }, message, outcome, server),
    count: (labels: Record<string, string>) => scraped().value(`${NAME}_count`, labels),
  };
}

const tool = (name: unknown, args: unknown = {}) => requestOf("tools/call", { name, arguments: args });

describe("what a call is told by", () => {
  it("is its method, its server, and the tool when the server has it", () => {
    const { play, knownTools, count } = stage();
    knownTools("files", ["read"]);
    play(tool("read"));
    play(tool("read"), undefined, "mail");
    play(requestOf("ping"));
    const ok = { error_type: "" };
    expect(count({ mcp_method_name: "tools/call", gen_ai_tool_name: "read", upstream: "files", ...ok })).toBe(
      1,
    );
    expect(count({ mcp_method_name: "tools/call", gen_ai_tool_name: "other", upstream: "mail", ...ok })).toBe(
      1,
    );
    expect(count({ mcp_method_name: "ping", gen_ai_tool_name: "", upstream: "files", ...ok })).toBe(1);
  });

  it("is learned from the lists of tools and prompts that pass by, page by page", () => {
    const { play, count } = stage();
    play(tool("read"));
    play(requestOf("tools/list"), { answer: resultOf({ tools: [{ name: "read" }], nextCursor: "2" }) });
    play(requestOf("tools/list"), {
      answer: resultOf({ tools: [{ name: "wri\u00adte ✓" }, null, { name: 7 }] }),
    });
    play(requestOf("prompts/list"), { answer: resultOf({ prompts: [{ name: "greet" }] }) });
    for (const name of ["read", "wri\u00adte ✓", "greet", 7, null]) play(tool(name));
    for (const name of ["greet", "read"]) play(requestOf("prompts/get", { name }));
    expect(count({ gen_ai_tool_name: "read" })).toBe(1);
    expect(count({ gen_ai_tool_name: "wri\u00adte ✓" })).toBe(1);
    expect(count({ gen_ai_tool_name: "other" })).toBe(4);
    expect(count({ gen_ai_prompt_name: "greet" })).toBe(1);
    expect(count({ gen_ai_prompt_name: "other" })).toBe(1);
  });

  it("is the name in params, wherever it stands, and no other member of that name", () => {
    const { play, knownTools, count } = stage();
    knownTools("files", ["read", "decoy"]);
    const decoy = { name: "decoy", params: { name: "decoy" } };
    play(tool("read", decoy));
    play(requestOf("tools/call", { _meta: decoy, arguments: decoy, name: "read" }));
    play(
      Buffer.from(
        `{"vendor":${JSON.stringify({ params: decoy })},"method":"tools/call", "params" : { "arguments" : "\\"name\\":\\"decoy\\"", "name" : "r\\u0065ad" },"jsonrpc":"2.0","id":1}`,
      ),
    );
    expect(count({ gen_ai_tool_name: "read" })).toBe(3);
    expect(count({ gen_ai_tool_name: "decoy" })).toBeUndefined();
  });

  it("is `other` for a method that the protocol does not have", () => {
    const { play, count } = stage();
    for (const method of ["vendor/a", "vendor/b", "constructor", "__proto__"]) play(requestOf(method));
    expect(count({ mcp_method_name: "other" })).toBe(4);
  });
});

describe("how a call failed", () => {
  it.each([
    ["nothing", { answer: resultOf({ content: [] }) }, ""],
    ["nothing, said in so many words", { answer: resultOf({ content: [], isError: false }) }, ""],
    [
      "an error of the tool",
      { answer: resultOf({ content: [{ type: "text", text: "x" }], isError: true }) },
      "tool_error",
    ],
    [
      "an error of the tool, with spaces",
      { answer: Buffer.from('{"result": {"isError" : true}, "id":1, "jsonrpc":"2.0"}') },
      "tool_error",
    ],
    [
      "one that is only spoken of",
      { answer: resultOf({ content: [{ type: "text", text: '"isError":true' }] }) },
      "",
    ],
    ["one that lies deeper", { answer: resultOf({ structuredContent: { isError: true } }) }, ""],
    [
      "one after many that lie deeper",
      { answer: resultOf({ structuredContent: { all: Array(50).fill({ isError: false }) }, isError: true }) },
      "tool_error",
    ],
    ["the server's error", { answer: error(-32602), failed: true }, "-32602"],
    ["a code that is none", { answer: error('a"b'), failed: true }, "other"],
    ["a code without end", { answer: error(1e300), failed: true }, "other"],
    ["the gateway's reason", { failed: true, reason: "upstream_timeout" }, "upstream_timeout"],
    ["taken back", { reason: "cancelled" }, "cancelled"],
    ["unknown", { failed: true }, "other"],
  ])("is told: %s", (_, outcome, error_type) => {
    const { play, count } = stage();
    play(tool("read"), outcome);
    expect(count({ error_type })).toBe(1);
  });

  it("is asked of calls of tools alone", () => {
    const { play, count } = stage();
    play(requestOf("resources/read"), { answer: resultOf({ isError: true }) });
    expect(count({ mcp_method_name: "resources/read", error_type: "" })).toBe(1);
  });
});

describe("the number of series", () => {
  it("is bounded when clients call 10,000 tools that nobody has", () => {
    const { play, knownTools, scraped, count } = stage();
    knownTools("files", ["read"]);
    for (let at = 0; at < 10_000; at += 1) play(tool(`random-${at}-${Math.random()}`));
    expect(scraped().count(`${NAME}_count`)).toBe(1);
    expect(count({ gen_ai_tool_name: "other" })).toBe(10_000);
  });

  it("is bounded when a server has 10,000 tools, fails them all, and in 10,000 ways", () => {
    const { play, text } = stage();
    const names = Array.from({ length: 10_000 }, (_, at) => `tool-${at}`);
    play(requestOf("tools/list"), { answer: resultOf({ tools: names.map((name) => ({ name })) }) });
    for (const [at, name] of names.entries()) play(tool(name), { answer: error(at), failed: true });
    for (const name of names.slice(0, 1000))
      for (const code of [0, 1, 2, 3, 4, 5, 6, 7]) play(tool(name), { answer: error(code), failed: true });
    // As text: the parser takes a second for so many.
    const told = [...text().matchAll(/^\w+_count\{(.*) (\d+)$/gm)];
    expect(told.length).toBeLessThanOrEqual(2002);
    const tools = told.map(([, labels = ""]) => /gen_ai_tool_name="[^"]*"/.exec(labels)?.[0]);
    expect(new Set(tools).size).toBe(302);
    expect(told.reduce((sum, [, , count]) => sum + Number(count), 0)).toBe(18_001);
  });

  it("has no room for long names, or for a list that is not one", () => {
    const { play, text } = stage();
    play(requestOf("tools/list"), {
      answer: resultOf({ tools: [{ name: "x".repeat(1000) }, { name: "" }] }),
    });
    play(requestOf("tools/list"), { answer: resultOf({ tools: "read" }) });
    play(requestOf("tools/list"), { answer: resultOf(null) });
    for (const name of ["x".repeat(1000), "x".repeat(1_000_000), "", "read"]) play(tool(name));
    expect(text()).not.toContain("xxx");
    expect(text()).not.toContain('gen_ai_tool_name="read"');
  });

  it("reads no more of lists in a second than a client may not slow the others down with", () => {
    const { play, count } = stage(100_000);
    const list = (at: number) =>
      resultOf({ tools: [{ name: `tool-${at}`, description: "x".repeat(200 * 1024) }] });
    for (let at = 0; at < 5; at += 1) play(requestOf("tools/list"), { answer: list(at) });
    for (let at = 0; at < 5; at += 1) play(tool(`tool-${at}`));
    expect([0, 1, 2, 3, 4].map((at) => count({ gen_ai_tool_name: `tool-${at}` }))).toEqual([
      1,
      1,
      undefined,
      undefined,
      undefined,
    ]);
  });
});

it("escapes what a label may not hold as it is", () => {
  const { play, knownTools, count } = stage();
  const name = 'a"b\\c\nd';
  knownTools("files", [name]);
  play(tool(name));
  expect(count({ gen_ai_tool_name: name })).toBe(1);
});

it("gives the server the very bytes, and counts each call into every bound it stayed under", () => {
  const metrics = createCallMetrics(300);
  const message = requestOf("ping");
  const call = metrics.begin({
    server: "a",
    method: "ping",
    message,
    id: "1",
    session: "s",
    transport: "sse",
  });
  expect(call?.message).toBe(message);
  call?.end({ answer: resultOf({}), failed: false });
  const scraped = new Scraped(metrics.text());
  const buckets = scraped.series(`${NAME}_bucket`);
  expect(buckets.map(({ labels }) => labels?.["le"])).toEqual(
    "0.01 0.02 0.05 0.1 0.2 0.5 1 2 5 10 30 60 120 300 +Inf".split(" "),
  );
  expect(buckets.at(-1)?.value).toBe("1");
  const counts = buckets.map(({ value }) => Number(value));
  expect(counts).toEqual([...counts].sort((one, other) => one - other));
  expect(scraped.value(`${NAME}_sum`)).toBeGreaterThan(0);
});
