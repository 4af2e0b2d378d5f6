import {
  context,
  type ContextManager,
  propagation,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import {
  AlwaysOffSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type TracerConfig,
} from "@opentelemetry/sdk-trace-base";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import type { CallBegin } from "../../src/events.ts";
import { createTracing } from "../../src/telemetry/tracing.ts";
import { W3C } from "./w3c-propagator.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";
const OTHER = `00-${"c".repeat(32)}-${PARENT}-01`;
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;

const exporter = new InMemorySpanExporter();
const tracing = createTracing({ version: "1.2.3" });

function register(config: TracerConfig = {}): void {
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)], ...config }),
  );
}

afterEach(() => {
  trace.disable();
  propagation.disable();
  context.disable();
  exporter.reset();
});

const call = (message: string, rest: Partial<CallBegin> = {}): CallBegin => ({
  server: "files",
  method: (JSON.parse(message) as { method: string }).method,
  message: Buffer.from(message),
  id: "7",
  session: "s-1",
  transport: "streamable",
  ...rest,
});

const toolCall = (params: string) => `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":${params}}`;

/** What the server is given, and the two spans after the end. */
function run(
  begun: CallBegin,
  outcome = { failed: false } as Parameters<ReturnType<typeof watched>["end"]>[0],
) {
  const flight = watched(begun);
  flight.end(outcome);
  const spans = exporter.getFinishedSpans();
  const [client, server] = [SpanKind.CLIENT, SpanKind.SERVER].map((kind) =>
    spans.find((span) => span.kind === kind),
  ) as [ReadableSpan, ReadableSpan];
  expect(spans).toHaveLength(2);
  return { message: flight.message.toString(), client, server };
}

function watched(begun: CallBegin) {
  const flight = tracing.begin(begun);
  if (flight === undefined) throw new Error("not watched");
  return flight;
}

/** What the CLIENT span's context looks like in `_meta`. */
const injected = (client: ReadableSpan) =>
  `"traceparent":"00-${client.spanContext().traceId}-${client.spanContext().spanId}-01"`;

describe("without an SDK", () => {
  it("does nothing, so that the same bytes pass", () => {
    expect(tracing.begin(call(toolCall(`{"_meta":{"traceparent":"${TRACEPARENT}"}}`)))).toBeUndefined();
  });

  it("begins when one is registered, and ends when it is gone", () => {
    expect(tracing.begin(call(toolCall("{}")))).toBeUndefined();
    register();
    expect(tracing.begin(call(toolCall("{}")))).toBeDefined();
    trace.disable();
    expect(tracing.begin(call(toolCall("{}")))).toBeUndefined();
    register();
    expect(tracing.begin(call(toolCall("{}")))).toBeDefined();
  });

  it("hears of an SDK that brings its own copy of the API", () => {
    const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    trace.setGlobalTracerProvider(provider);
    const registry = (globalThis as unknown as Record<symbol, Record<string, unknown>>)[
      Symbol.for("opentelemetry.js.api.1")
    ] as Record<string, unknown>;
    registry["trace"] = { getTracer: provider.getTracer.bind(provider) };
    expect(run(call(toolCall("{}"))).server.name).toBe("tools/call");
  });
});

describe("the spans of a call", () => {
  it("are SERVER, of the client's context, and CLIENT below it", () => {
    register();
    const { client, server } = run(call(toolCall(`{"name":"add","_meta":{"traceparent":"${TRACEPARENT}"}}`)));
    expect(server.spanContext().traceId).toBe(TRACE);
    expect(server.parentSpanContext).toMatchObject({ spanId: PARENT, isRemote: true });
    expect(client.spanContext().traceId).toBe(TRACE);
    expect(client.parentSpanContext?.spanId).toBe(server.spanContext().spanId);
    expect(server.instrumentationScope).toMatchObject({ name: "mcp-sse-gateway", version: "1.2.3" });
  });

  it.each([
    ["tools/call", '{"name":"add"}', "tools/call add"],
    ["prompts/get", '{"name":"hello"}', "prompts/get hello"],
    ["resources/read", '{"uri":"file:///a"}', "resources/read"],
    ["completion/complete", '{"name":"a"}', "completion/complete"],
    ["tools/call", '{"name":5}', "tools/call"],
    ["tools/call", "[]", "tools/call"],
  ])("of %s %s are named %s", (method, params, name) => {
    register();
    const { client, server } = run(
      call(`{"jsonrpc":"2.0","id":7,"method":"${method}","params":${params}}`, { method }),
    );
    expect([server.name, client.name]).toEqual([name, name]);
  });

  it("have the attributes of the conventions, and none of what was said", () => {
    register();
    const version = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}';
    const { client, server } = run(
      call(toolCall(`{"name":"add","arguments":{"a":"secret"},${version}}`), { id: '"é\\""' }),
    );
    const both = {
      "mcp.method.name": "tools/call",
      "gen_ai.tool.name": "add",
      "gen_ai.operation.name": "execute_tool",
      "jsonrpc.request.id": 'é"',
      "mcp.protocol.version": "2026-07-28",
      "mcp.gateway.upstream": "files",
    };
    expect(client.attributes).toEqual(both);
    expect(server.attributes).toEqual({
      ...both,
      "mcp.session.id": "s-1",
      "network.transport": "tcp",
      "network.protocol.name": "http",
    });
  });

  it("name a prompt, and a resource without its query and user", () => {
    register();
    const prompt = '{"jsonrpc":"2.0","id":7,"method":"prompts/get","params":{"name":"hi"}}';
    expect(run(call(prompt)).server.attributes["gen_ai.prompt.name"]).toBe("hi");
    exporter.reset();
    const read =
      '{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"db://me:pw@host/a?key=1#x"}}';
    const { attributes } = run(call(read, { session: undefined })).server;
    expect(attributes["mcp.resource.uri"]).toBe("db://host/a");
    expect(attributes).not.toHaveProperty("mcp.session.id");
  });

  it("cuts names that have no measure", () => {
    register();
    const { server } = run(call(toolCall(`{"name":"${"x".repeat(5000)}"}`)));
    expect(server.name).toHaveLength("tools/call ".length + 256);
    expect(server.attributes["gen_ai.tool.name"]).toHaveLength(256);
  });

  it("have the ambient span as parent, or as link where the client named one", () => {
    register();
    const around: SpanContext = { traceId: "a".repeat(32), spanId: "b".repeat(16), traceFlags: 1 };
    context.setGlobalContextManager(always(trace.setSpanContext(ROOT_CONTEXT, around)));
    const alone = run(call(toolCall("{}"))).server;
    expect(alone.parentSpanContext?.spanId).toBe(around.spanId);
    expect(alone.links).toEqual([]);
    exporter.reset();
    const nothing = `00-${"0".repeat(32)}-${PARENT}-01`;
    const invalid = run(call(toolCall(`{"_meta":{"traceparent":"${nothing}"}}`))).server;
    expect(invalid.parentSpanContext?.spanId).toBe(around.spanId);
    exporter.reset();
    const { server, client } = run(call(toolCall(`{"_meta":{"traceparent":"${TRACEPARENT}"}}`)));
    expect(server.parentSpanContext?.spanId).toBe(PARENT);
    expect(server.links.map((link) => link.context)).toEqual([around]);
    expect(client.links).toEqual([]);
  });
});

describe("the outcome", () => {
  const ends = (outcome: Parameters<typeof run>[1], method = "tools/call") => {
    register();
    const { client, server } = run(call(`{"jsonrpc":"2.0","id":7,"method":"${method}"}`), outcome);
    expect(client.status).toEqual(server.status);
    expect(client.attributes["error.type"]).toEqual(server.attributes["error.type"]);
    return server;
  };
  const answer = (rest: string) => Buffer.from(`{"jsonrpc":"2.0","id":7,${rest}}`);

  it("of an answer is no error", () => {
    const { status, attributes } = ends({ failed: false, answer: answer('"result":{"isError":false}') });
    expect(status).toEqual({ code: SpanStatusCode.UNSET });
    expect(attributes).not.toHaveProperty("error.type");
  });

  it("of a JSON-RPC error is its code, and its message, cut", () => {
    const { status, attributes } = ends({
      failed: true,
      answer: answer(`"error":{"message":"no \\u00fc ${"x".repeat(1000)}","code":-32602}`),
    });
    expect(attributes).toMatchObject({ "error.type": "-32602", "rpc.response.status_code": "-32602" });
    expect(status.code).toBe(SpanStatusCode.ERROR);
    expect(status.message).toMatch(/^no ü x+$/);
    expect(status.message).toHaveLength(256);
  });

  it.each(['{"code":"x","message":7}', '{"code":1.5}', "{}"])("of a strange error %s is _OTHER", (error) => {
    const { status, attributes } = ends({ failed: true, answer: answer(`"error":${error}`) });
    expect(attributes["error.type"]).toBe("_OTHER");
    expect(attributes).not.toHaveProperty("rpc.response.status_code");
    expect(status).toEqual({ code: SpanStatusCode.ERROR });
  });

  it("of a tool's own error is tool_error", () => {
    const toolError = answer('"result":{"content":[],"isError": true}');
    expect(ends({ failed: false, answer: toolError })).toMatchObject({
      status: { code: SpanStatusCode.ERROR },
      attributes: { "error.type": "tool_error" },
    });
    exporter.reset();
    expect(ends({ failed: false, answer: toolError }, "tools/list").status.code).toBe(SpanStatusCode.UNSET);
  });

  it("does not take a tool's word for an error", () => {
    const word = answer('"result":{"content":[{"isError":true,"text":"\\"isError\\":true"}]}');
    expect(ends({ failed: false, answer: word }).status.code).toBe(SpanStatusCode.UNSET);
  });

  it("of the gateway's fault is its reason and words", () => {
    const { status, attributes } = ends({ failed: true, reason: "upstream_timeout" });
    expect(attributes["error.type"]).toBe("upstream_timeout");
    expect(status.message).toContain("did not answer in time");
  });

  it("of a cancelled call is cancelled, of one that nobody answered _OTHER", () => {
    const cancelled = ends({ failed: false, reason: "cancelled" });
    expect(cancelled.attributes["error.type"]).toBe("cancelled");
    expect(cancelled.status).toEqual({ code: SpanStatusCode.ERROR });
    exporter.reset();
    expect(ends({ failed: true }).attributes["error.type"]).toBe("_OTHER");
  });

  it("is told once", () => {
    let ends = 0;
    const span = Object.assign(trace.wrapSpanContext({ traceId: TRACE, spanId: PARENT, traceFlags: 1 }), {
      end: () => (ends += 1),
    });
    const startSpan = () => span;
    trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as unknown as Tracer });
    const flight = watched(call(toolCall("{}")));
    flight.end({ failed: false });
    flight.end({ failed: true, reason: "internal" });
    expect(ends).toBe(2);
  });
});

describe.each([
  ["no propagator", false],
  ["W3C's propagators", true],
])("what the server is given, with %s", (_, hasPropagator) => {
  const begin = () => {
    register();
    if (hasPropagator) propagation.setGlobalPropagator(W3C);
  };
  const HEAD = '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call"';

  it.each<[string, string, (context: string) => string]>([
    ["no params", `${HEAD}}`, (c) => `${HEAD},"params":{"_meta":{${c}}}}`],
    ["no params, with space", `${HEAD} } `, (c) => `${HEAD} ,"params":{"_meta":{${c}}}} `],
    ["empty params", `${HEAD},"params":{ }}`, (c) => `${HEAD},"params":{ "_meta":{${c}}}}`],
    [
      "params without _meta",
      `${HEAD},"params":{"name": "ü","arguments":{"n":12345678901234567890}},"x-vendor":1.50}`,
      (c) =>
        `${HEAD},"params":{"name": "ü","arguments":{"n":12345678901234567890},"_meta":{${c}}},"x-vendor":1.50}`,
    ],
    ["an empty _meta", `${HEAD},"params":{"_meta":{}}}`, (c) => `${HEAD},"params":{"_meta":{${c}}}}`],
    [
      "a _meta with members",
      `${HEAD},"params":{"_meta":{"progressToken":9007199254740993, "vendor/x": {"a":[1,2.0]}},"name":"a"}}`,
      (c) =>
        `${HEAD},"params":{"_meta":{"progressToken":9007199254740993,"vendor/x": {"a":[1,2.0]},${c}},"name":"a"}}`,
    ],
    [
      "a _meta with the client's context",
      `${HEAD},"params":{"_meta":{"a":1,"traceparent":"${TRACEPARENT}","b":2,"tracestate":"v=1"}}}`,
      (c) => `${HEAD},"params":{"_meta":{"a":1,"b":2,${c},"tracestate":"v=1"}}}`,
    ],
    [
      "a context that stands twice, once with escapes",
      `${HEAD},"params":{"_meta":{"traceparent":"x","trace\\u0070arent":"${TRACEPARENT}"}}}`,
      (c) => `${HEAD},"params":{"_meta":{${c}}}}`,
    ],
    [
      "a _meta that stands twice",
      `${HEAD},"params":{"_meta":{"traceparent":"${OTHER}"},"a":{},"_meta":{ "b" : [ ] }, "c":{"_meta":1}} }`,
      (c) =>
        `${HEAD},"params":{"_meta":{"traceparent":"${OTHER}"},"a":{},"_meta":{"b" : [ ],${c}}, "c":{"_meta":1}} }`,
    ],
    [
      "baggage",
      `${HEAD},"params":{"_meta":{"baggage":"k=v","traceparent":"${TRACEPARENT}"}}}`,
      (c) =>
        hasPropagator
          ? `${HEAD},"params":{"_meta":{${c},"baggage":"k=v"}}}`
          : `${HEAD},"params":{"_meta":{"baggage":"k=v",${c}}}}`,
    ],
  ])("has the CLIENT span's context: %s", (_name, message, expected) => {
    begin();
    const { client, server, message: given } = run(call(message));
    expect(given).toBe(expected(injected(client)));
    expect(server.parentSpanContext?.traceId).toBe(message.includes(TRACE) ? TRACE : undefined);
  });

  it.each(['"params":[1]', '"params":{"_meta":null}', '"params":{"_meta":"x","name":"a"}'])(
    "is the same bytes where there is no place for it: %s",
    (params) => {
      begin();
      const begun = call(`${HEAD},${params}}`);
      const flight = watched(begun);
      expect(flight.message).toBe(begun.message);
      flight.end({ failed: false });
      expect(exporter.getFinishedSpans()).toHaveLength(2);
    },
  );

  it.each([
    `"00-${TRACE.toUpperCase()}-${PARENT}-01"`,
    `"00-${"0".repeat(32)}-${PARENT}-01"`,
    `"00-${TRACE}-${"0".repeat(16)}-01"`,
    `"ff-${TRACE}-${PARENT}-01"`,
    `"${TRACEPARENT}-more"`,
    '""',
    "5",
    "null",
    `["${TRACEPARENT}"]`,
    '{"__proto__":1}',
    '"\\ud800\\u0000"',
  ])("begins a trace of its own where the client's is not valid: %s", (traceparent) => {
    begin();
    const meta = `"a":1,"traceparent":${traceparent},"tracestate":"old=1"`;
    const { client, server, message } = run(call(`${HEAD},"params":{"_meta":{${meta}}}}`));
    expect(server.parentSpanContext).toBeUndefined();
    expect(server.spanContext().traceId).not.toBe(TRACE);
    expect(message).toBe(`${HEAD},"params":{"_meta":{"a":1,${injected(client)}}}}`);
  });

  it("reads no value of immoderate length", () => {
    begin();
    const meta = `"traceparent":"01-${TRACE}-${PARENT}-01-${"x".repeat(9000)}"`;
    expect(run(call(`${HEAD},"params":{"_meta":{${meta}}}}`)).server.parentSpanContext).toBeUndefined();
  });

  it("takes a context of a later version of W3C's", () => {
    begin();
    const { server } = run(call(toolCall(`{"_meta":{"traceparent":"01-${TRACE}-${PARENT}-01-more"}}`)));
    expect(server.parentSpanContext?.spanId).toBe(PARENT);
  });

  it("says that the trace is not recorded, where the SDK records none", () => {
    register({ sampler: new AlwaysOffSampler() });
    if (hasPropagator) propagation.setGlobalPropagator(W3C);
    const flight = watched(call(toolCall(`{"_meta":{"traceparent":"${TRACEPARENT}"}}`)));
    expect(flight.message.toString()).toMatch(
      new RegExp(`"traceparent":"00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-00"`),
    );
    flight.end({ failed: false });
    expect(exporter.getFinishedSpans()).toEqual([]);
  });
});

describe("any request", () => {
  it("means the same to its server, but for the context", () => {
    register();
    const member = fc.oneof(
      fc.constantFrom("_meta", "name", "uri", "traceparent", "tracestate"),
      fc.string(),
    );
    const object = (value: fc.Arbitrary<unknown>) => fc.dictionary(member, value, { maxKeys: 5 });
    const params = fc.oneof(
      object(fc.oneof(fc.jsonValue(), object(fc.jsonValue()))),
      fc.record({ _meta: object(fc.jsonValue()), name: fc.jsonValue() }),
    );
    fc.assert(
      fc.property(params, fc.constantFrom(undefined, 1, "\t"), (generated, indent) => {
        exporter.reset();
        const request = { jsonrpc: "2.0", id: 7, method: "tools/call", params: generated };
        const { message, client } = run(call(JSON.stringify(request, null, indent)));
        const { _meta: before = {}, ...rest } = generated as { _meta?: unknown };
        const given = JSON.parse(message) as typeof request;
        if (typeof before !== "object" || before === null || Array.isArray(before)) {
          expect(given).toEqual(JSON.parse(JSON.stringify(request)));
          return;
        }
        const { traceparent: _, tracestate: __, ...kept } = before as Record<string, unknown>;
        const { traceId, spanId } = client.spanContext();
        const _meta = { ...kept, traceparent: `00-${traceId}-${spanId}-01` };
        expect(given).toEqual(JSON.parse(JSON.stringify({ ...request, params: { ...rest, _meta } })));
      }),
      { numRuns: 300 },
    );
  });
});

describe("others' propagators and SDKs", () => {
  it.each([
    ["alone", []],
    ["beside W3C's", W3C.fields()],
  ])("write nothing of another format into a request, %s", (_, fields) => {
    register();
    propagation.setGlobalPropagator({
      inject(from, carrier, setter) {
        if (fields.length > 0) W3C.inject(from, carrier, setter);
        setter.set(carrier, "x-b3", "1");
      },
      extract: (from, carrier, getter) => (fields.length > 0 ? W3C.extract(from, carrier, getter) : from),
      fields: () => ["x-b3", ...fields],
    });
    const { client, message } = run(call(toolCall(`{"_meta":{"traceparent":"${TRACEPARENT}"}}`)));
    expect(client.spanContext().traceId).toBe(TRACE);
    expect(message).toBe(toolCall(`{"_meta":{${injected(client)}}}`));
  });

  it("never become a client's error", () => {
    trace.setGlobalTracerProvider({
      getTracer: () => {
        throw new Error("broken");
      },
    });
    expect(tracing.begin(call(toolCall("{}")))).toBeUndefined();
    trace.disable();
    register({
      spanProcessors: [
        {
          onStart: () => undefined,
          onEnd: () => {
            throw new Error("broken");
          },
          forceFlush: async () => undefined,
          shutdown: async () => undefined,
        },
      ],
    });
    watched(call(toolCall("{}"))).end({ failed: true, reason: "internal" });
  });
});

/** A context that never changes. */
const always = (only: ReturnType<ContextManager["active"]>): ContextManager => ({
  active: () => only,
  with: (_context, fn, thisArg, ...args) => fn.call(thisArg as never, ...args),
  bind: (_context, target) => target,
  enable() {
    return this;
  },
  disable() {
    return this;
  },
});
