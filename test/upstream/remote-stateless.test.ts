import { createServer } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { encode, never, outcomeOf, Recorder } from "./recorder.ts";
import {
  event,
  idOf,
  progress,
  remote,
  result,
  say,
  startModern,
  startScripted,
  startStreamable,
  stream,
} from "./remote-servers.ts";

const VERSION = "2026-07-28";
const META = {
  "io.modelcontextprotocol/protocolVersion": VERSION,
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const modern = (id: number, method: string, params: object = {}): Buffer =>
  encode({ id, method, params: { ...params, _meta: { ...META, progressToken: id } } });

type Script = Parameters<typeof startScripted>[0];

const DISCOVER: Script = {
  "server/discover": (_, response, seen) =>
    say(response, 200, result(idOf(seen), { supportedVersions: [VERSION] })),
};

describe("remote, stateless", () => {
  const opened: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });
  const use = <T extends { close(): Promise<void> }>(one: T): T => {
    opened.push(one);
    return one;
  };
  const upstreamOf = (url: string, options: Parameters<typeof remote>[1] = {}) =>
    use(remote(url, options)).stateless;

  async function open(script: Script, options: Parameters<typeof remote>[1] = {}) {
    const server = use(await startScripted({ ...DISCOVER, ...script }));
    const upstream = upstreamOf(server.url, options);
    const seen = new Recorder();
    return { server, upstream, seen, link: await upstream.open(seen, never()) };
  }

  const REGION = {
    name: "in-region",
    inputSchema: {
      type: "object",
      properties: {
        region: { type: "string", "x-mcp-header": "Region" },
        place: { type: "object", properties: { zone: { type: "integer", "x-mcp-header": "Zone" } } },
        note: { type: "string" },
      },
    },
  };
  const inRegion = (id: number, region: string, zone: string): Buffer =>
    Buffer.from(
      `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"in-region","arguments":{"region":${JSON.stringify(region)},"place":{"zone":${zone}},"note":"x"},"_meta":${JSON.stringify(META)}}}`,
    );
  /** Refuses calls whose headers do not repeat the region, as the SDK's server does. */
  const strict = (calls: (string | string[] | undefined)[][]): Script => ({
    "tools/list": (_, response, seen) => say(response, 200, result(idOf(seen), { tools: [REGION] })),
    "tools/call": (request, response, seen) => {
      const { "mcp-param-region": region, "mcp-param-zone": zone } = request.headers;
      calls.push([region, zone]);
      if (region === undefined)
        say(response, 400, { jsonrpc: "2.0", id: idOf(seen), error: { code: -32020, message: "no" } });
      else say(response, 200, result(idOf(seen), { resultType: "complete", content: [] }));
    },
  });

  it("repeats arguments in the headers that a tool's schema names, once it has seen the list", async () => {
    const calls: (string | string[] | undefined)[][] = [];
    const { link, seen } = await open(strict(calls));
    await link.send(modern(1, "tools/list"));
    await seen.answer(1);
    await link.send(inRegion(2, "eu-wést", "9007199254740993"));
    expect((await seen.answer(2)).result).toMatchObject({ resultType: "complete" });
    const encoded = `=?base64?${Buffer.from("eu-wést").toString("base64")}?=`;
    expect(calls).toEqual([[encoded, "9007199254740993"]]);
  });

  it("asks for the list when a call is refused for want of them, and calls once more", async () => {
    const calls: (string | string[] | undefined)[][] = [];
    const { link, seen } = await open(strict(calls));
    await link.send(inRegion(1, "eu", "7"));
    expect((await seen.answer(1)).result).toMatchObject({ resultType: "complete" });
    expect(calls).toEqual([
      [undefined, undefined],
      ["eu", "7"],
    ]);
    expect(seen.messages).toHaveLength(1);
  });

  it("hands on a refusal that no list can mend", async () => {
    const { link, seen } = await open({
      "tools/list": (_, response, one) => say(response, 200, result(idOf(one), { tools: [] })),
      "tools/call": (_, response, one) =>
        say(response, 400, { jsonrpc: "2.0", id: idOf(one), error: { code: -32020, message: "no" } }),
    });
    await link.send(inRegion(1, "eu", "7"));
    expect((await seen.answer(1)).error).toMatchObject({ code: -32020 });
  });

  it("calls a tool of the v2 SDK's server, with progress", async () => {
    const server = use(await startModern());
    const upstream = upstreamOf(server.url);
    const seen = new Recorder();
    const link = await upstream.open(seen, never());
    await link.send(modern(1, "tools/call", { name: "slow", arguments: { steps: 3 } }));
    expect((await seen.answer(1)).result).toMatchObject({ resultType: "complete", content: [] });
    expect(seen.messages).toHaveLength(4);
    await link.close();
    expect(seen.ends).toEqual(["closed"]);
  });

  it("forwards what the server refuses in the words of its era", async () => {
    const server = use(await startModern());
    const upstream = upstreamOf(server.url);
    const unknown = new Recorder();
    await (await upstream.open(unknown, never())).send(modern(1, "no/such"));
    expect((await unknown.answer(1)).error).toMatchObject({ code: -32601 });
    const version = new Recorder();
    const asked = modern(1, "tools/list").toString().replace(VERSION, "2099-01-01");
    await (await upstream.open(version, never())).send(Buffer.from(asked));
    expect((await version.answer(1)).error).toMatchObject({ code: -32022 });
  });

  it("repeats the body in the headers, and sends no others but the operator's", async () => {
    const { server, upstream } = await open({}, { headers: { "x-key": "abc" } });
    const requests: [string, object, string | undefined][] = [
      ["tools/call", { name: "echo" }, "echo"],
      ["resources/read", { uri: "file:///ä" }, "=?base64?ZmlsZTovLy/DpA==?="],
      ["prompts/get", { name: " x" }, "=?base64?IHg=?="],
      ["tasks/get", { taskId: "=?base64?eA==?=" }, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="],
      ["tools/list", { name: "x" }, undefined],
    ];
    for (const [method, params] of requests) {
      const link = await upstream.open(new Recorder(), never());
      await link.send(modern(1, method, params));
      await link.close();
    }
    const transfer = ["host", "connection", "content-length", "content-type", "accept"];
    const sent = server.seen.slice(1).map(({ headers }) => {
      expect(headers["mcp-protocol-version"]).toBe(VERSION);
      expect(headers["x-key"]).toBe("abc");
      return Object.keys(headers).filter((name) => !transfer.includes(name)).length;
    });
    expect(server.seen.slice(1).map(({ headers }) => [headers["mcp-method"], headers["mcp-name"]])).toEqual(
      requests.map(([method, , name]) => [method, name]),
    );
    expect(sent).toEqual([4, 4, 4, 4, 3]);
  });

  it("cancels a request by leaving", async () => {
    const { server, seen, link } = await open({
      "tools/call": (_, response) => stream(response)(event(progress(1))),
    });
    await link.send(modern(1, "tools/call", { name: "x" }));
    await seen.notification("notifications/progress");
    await link.close();
    await server.seen.at(-1)?.gone;
    expect(seen.ends).toEqual(["closed"]);
    expect(seen.messages).toHaveLength(1);
  });

  it("asks for the era once, though many ask at once", async () => {
    const { server, upstream } = await open({});
    await Promise.all([1, 2, 3].map(() => upstream.open(new Recorder(), never())));
    expect(server.seen).toHaveLength(1);
    expect(server.seen[0]?.headers).toMatchObject({
      "mcp-protocol-version": VERSION,
      "mcp-method": "server/discover",
    });
  });

  it.each<[string, Script[string]]>([
    [
      "refuses the version but knows the era",
      (_, response, seen) =>
        say(response, 400, {
          jsonrpc: "2.0",
          id: idOf(seen),
          error: { code: -32022, message: "x", data: { supported: ["2027-01-01", VERSION] } },
        }),
    ],
    [
      "answers on a stream",
      (_, response, seen) => stream(response)(event(result(idOf(seen), { supportedVersions: [VERSION] }))),
    ],
  ])("knows a server of the era that %s", async (_, answer) => {
    const { link } = await open({ "server/discover": answer as NonNullable<typeof answer> });
    await link.close();
  });

  it.each<[string, Script[string]]>([
    [
      "does not know the method",
      (_, response, seen) =>
        say(response, 200, { jsonrpc: "2.0", id: idOf(seen), error: { code: -32601, message: "x" } }),
    ],
    ["has no such path", (_, response) => response.writeHead(404).end("not found")],
    [
      "knows only other versions",
      (_, response, seen) =>
        say(response, 400, {
          jsonrpc: "2.0",
          id: idOf(seen),
          error: { code: -32022, message: "x", data: { supported: ["2025-11-25"] } },
        }),
    ],
  ])("knows a server of an older era that %s, and remembers it", async (_, answer) => {
    const server = use(await startScripted({ "server/discover": answer as NonNullable<typeof answer> }));
    const upstream = upstreamOf(server.url);
    for (const _again of [1, 2]) {
      expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("upstream_era");
    }
    expect(server.seen).toHaveLength(1);
  });

  it("knows the v1 SDK's server as one of an older era", async () => {
    const server = use(await startStreamable());
    expect(await outcomeOf(upstreamOf(server.url).open(new Recorder(), never()))).toBe("upstream_era");
  });

  it.each([
    [401, "upstream_refused"],
    [302, "upstream_refused"],
    [429, "upstream_busy"],
    [500, "upstream_unreachable"],
  ])("learns nothing from %s, and asks again", async (status, reason) => {
    let isWell = false;
    const server = use(
      await startScripted({
        "server/discover": (request, response, seen) =>
          isWell ? DISCOVER["server/discover"]?.(request, response, seen) : response.writeHead(status).end(),
      }),
    );
    const upstream = upstreamOf(server.url);
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe(reason);
    isWell = true;
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("given");
  });

  it("learns nothing from a server that is not there", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => holder.once("listening", resolve));
    const { port } = holder.address() as { port: number };
    await new Promise((resolve) => holder.close(resolve));
    const upstream = upstreamOf(`http://127.0.0.1:${port}/`);
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("upstream_unreachable");
  });

  it("lets one who gives up go, and the others wait on", async () => {
    let answer = (): unknown => undefined;
    let asked = (): void => undefined;
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    const server = use(
      await startScripted({
        "server/discover": (request, response, seen) => {
          answer = () => DISCOVER["server/discover"]?.(request, response, seen);
          asked();
        },
      }),
    );
    const upstream = upstreamOf(server.url);
    const given = new AbortController();
    const first = upstream.open(new Recorder(), given.signal);
    const second = upstream.open(new Recorder(), never());
    await isAsked;
    given.abort(new Error("the client left"));
    await expect(first).rejects.toThrow("the client left");
    answer();
    await second;
    expect(server.seen).toHaveLength(1);
  });

  it.each<[string, Script[string], string]>([
    [
      "ends its stream",
      (_, response) => response.writeHead(200, { "content-type": "text/event-stream" }).end(),
      "",
    ],
    [
      "cuts the connection",
      (_, response) => {
        stream(response)(": hello\n\n");
        setImmediate(() => response.destroy());
      },
      "",
    ],
  ])("tells a request to which the server %s without an answer, once", async (_, answer) => {
    const { seen, link } = await open({ "tools/call": answer as NonNullable<typeof answer> });
    await link.send(modern(1, "tools/call", { name: "x" }));
    expect((await seen.answer(1)).error).toMatchObject({ data: { reason: "upstream_unreachable" } });
    await link.close();
    expect(seen.messages).toHaveLength(1);
  });

  it.each([
    [401, "upstream_refused"],
    [503, "upstream_busy"],
    [500, "upstream_unreachable"],
  ])("refuses a request that is answered %s as %s", async (status, reason) => {
    const { seen, link } = await open({ "tools/call": (_, response) => response.writeHead(status).end() });
    expect(await outcomeOf(link.send(modern(1, "tools/call", { name: "x" })))).toBe(reason);
    expect(seen.messages).toEqual([]);
  });

  it("ends when the answer is too long", async () => {
    const { seen, link } = await open(
      { "tools/call": (_, response) => say(response, 200, result(1, { text: "x".repeat(100_000) })) },
      { maxMessageBytes: 100_000 },
    );
    await link.send(modern(1, "tools/call", { name: "x" }));
    expect(await seen.end()).toBe("upstream_message_too_large");
    expect(seen.messages).toEqual([]);
  });

  it("opens nothing once it is closed, and as many links as it may", async () => {
    const { upstream } = await open({}, { maxLinks: 1 });
    expect(upstream.isFull).toBe(true);
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("upstream_queue_full");
    await Promise.all(opened.map((one) => one.close()));
    expect(await outcomeOf(upstream.open(new Recorder(), never()))).toBe("upstream_start_failed");
  });
});
