import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBuiltinUpstream } from "../../src/upstream/builtin.ts";
import { createDemoServer } from "../../src/upstream/demo-server.ts";
import {
  answering,
  initialized,
  MODERN,
  names,
  open,
  type Opened,
  type Reply,
  scriptedMember,
} from "./aggregate-members.ts";
import { captureLog, encode } from "./recorder.ts";

const { log } = captureLog();
const demo = (name: string) => createBuiltinUpstream({ name, createServer: createDemoServer, log });

/** Gives out its tools in pages of this size. */
function paged(tools: readonly string[], size: number): Reply {
  return ({ method, params }) => {
    if (method !== "tools/list") return undefined;
    const { cursor } = params ?? {};
    const from = cursor === undefined ? 0 : Number(/^at (\d+)$/.exec(cursor)?.[1] ?? Number.NaN);
    if (Number.isNaN(from)) return { error: { code: -32602, message: "No such cursor" } };
    const next = from + size < tools.length ? { nextCursor: `at ${from + size}` } : {};
    return { result: { tools: tools.slice(from, from + size).map((name) => ({ name })), ...next } };
  };
}

let count = 0;

async function allPages({ ask }: Opened, method = "tools/list", field = "tools", params = {}) {
  const found: unknown[] = [];
  let cursor: unknown;
  let pages = 0;
  do {
    pages += 1;
    const id = `page ${(count += 1)}`;
    const answer = await ask(id, method, { ...params, ...(cursor === undefined ? {} : { cursor }) });
    expect(answer.error).toBeUndefined();
    found.push(...names(answer, field));
    cursor = answer.result?.["nextCursor"];
  } while (cursor !== undefined);
  return { found, pages };
}

describe("the lists of many", () => {
  it("are one page where no server needs more, in the order of the servers", async () => {
    const opened = await initialized([demo("one"), scriptedMember("two", paged(["x"], 1))]);
    const { found, pages } = await allPages(opened);
    expect(pages).toBe(1);
    expect(found.slice(0, 2)).toEqual(["one__echo", "one__add"]);
    expect(found.at(-1)).toBe("two__x");
    expect(await allPages(opened, "prompts/list", "prompts")).toEqual({
      found: ["one__introduce"],
      pages: 1,
    });
    expect(await allPages(opened, "resources/list", "resources")).toEqual({
      found: ["demo://counter"],
      pages: 1,
    });
    expect((await allPages(opened, "resources/templates/list", "resourceTemplates")).found).toEqual([
      "greeting",
    ]);
  });

  it("hold each item once, in order, however the servers cut their pages", async () => {
    const sizes = fc.array(fc.record({ count: fc.nat(5), size: fc.integer({ min: 1, max: 3 }) }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(sizes, async (servers) => {
        const tools = servers.map(({ count }) => Array.from({ length: count }, (_, n) => `t${n}`));
        const members = servers.map(({ size }, at) =>
          scriptedMember(`s${at}`, paged(tools[at] as string[], size)),
        );
        const opened = await initialized(members);
        expect((await allPages(opened)).found).toEqual(
          tools.flatMap((some, at) => some.map((tool) => `s${at}__${tool}`)),
        );
        await opened.link.close();
      }),
    );
  });

  it("lose nothing of an item or a result, and change nothing but the name", async () => {
    const item =
      '{ "x":12345678901234567890,"na\\u006de" : "ca\\u0066\\u00e9 \\ud83d","inputSchema":{"name":"name"},"_meta":{"v":1.50}}';
    const one = scriptedMember("one", ({ method }) =>
      method === "tools/list"
        ? `{"jsonrpc":"2.0","id":ID,"result":{"acme":9007199254740993,"tools":[ ${item} ,{"name":7},null],"_meta":{"a":1}}}`
        : undefined,
    );
    const two = scriptedMember("two", answering({ "tools/list": { tools: [], acme: 2, _meta: { b: 2 } } }));
    const { ask, raw } = await initialized([one, two]);
    await ask(1, "tools/list");
    expect(raw.at(-1)).toBe(
      `{"jsonrpc":"2.0","id":1,"result":{"tools":[${item.replace('"ca', '"one__ca')},{"name":7},null],"acme":9007199254740993,"_meta":{"a":1,"b":2}}}`,
    );
  });

  it("hand on what the client asks with, under ids of their own", async () => {
    const one = scriptedMember("one", paged(["a", "b"], 1));
    const { ask } = await initialized([one]);
    const { result } = await ask(1, "tools/list", { acme: 1, _meta: { progressToken: 5 } });
    await ask(1, "tools/list", { acme: 1, cursor: result?.["nextCursor"] });
    const [first, second] = one.last.asked("tools/list");
    expect(first?.params).toEqual({ acme: 1, _meta: { progressToken: 5 } });
    expect(second?.params).toEqual({ acme: 1, cursor: "at 1" });
    expect(first?.id).not.toEqual(second?.id);
  });

  it("take back what they asked of servers that come on a later page", async () => {
    const mute = scriptedMember("mute");
    const { ask } = await initialized([scriptedMember("one", paged(["a", "b"], 1)), mute]);
    expect(names(await ask(1, "tools/list"))).toEqual(["one__a"]);
    await ask(2, "ping");
    expect(mute.last.asked("notifications/cancelled")[0]?.params).toMatchObject({
      requestId: mute.last.asked("tools/list")[0]?.id,
    });
  });

  it.each([
    ["nonsense", "x"],
    ["a number", 7],
    ["null", null],
    ["of another list", Buffer.from('["prompts/list","one",null]').toString("base64url")],
    ["of a server that is gone", Buffer.from('["tools/list","gone",null]').toString("base64url")],
    ["of another shape", Buffer.from('["tools/list","one",7]').toString("base64url")],
    ["with something behind", `${Buffer.from('["tools/list","one",null]').toString("base64url")}!`],
    ["that the server does not know", Buffer.from('["tools/list","one","at x"]').toString("base64url")],
  ])("refuse a cursor: %s", async (_, cursor) => {
    const { ask } = await initialized([scriptedMember("one", paged(["a"], 1))]);
    expect((await ask(1, "tools/list", { cursor })).error).toMatchObject({ code: -32602 });
  });

  it("skip a server that fails, whatever it fails with, and say so", async () => {
    const broken = scriptedMember("broken", ({ method }) =>
      method === "tools/list" ? { error: { code: -32603, message: "no" } } : undefined,
    );
    const without = scriptedMember("without", ({ method }) =>
      method === "tools/list" ? { error: { code: -32601, message: "no tools" } } : undefined,
    );
    const dying = scriptedMember("dying", ({ method }, link) => {
      if (method === "tools/list") link.die();
      return undefined;
    });
    const mute = scriptedMember("mute");
    const well = scriptedMember("well", paged(["x"], 1));
    const opened = await initialized([broken, without, dying, mute, well], 200);
    const answer = await opened.ask(1, "tools/list");
    expect(names(answer)).toEqual(["well__x"]);
    expect(answer.result?.["_meta"]).toEqual({ "mcp-sse-gateway/absent": ["broken", "dying", "mute"] });
    expect(mute.last.asked("notifications/cancelled")[0]?.params).toMatchObject({
      requestId: mute.last.asked("tools/list")[0]?.id,
    });
  });

  it("are empty, and no error, where nobody offers them", async () => {
    const { ask } = await initialized([scriptedMember("one")]);
    expect((await ask(1, "prompts/list")).result).toEqual({ prompts: [] });
  });

  it("are not answered to a client that takes the request back", async () => {
    const mute = scriptedMember("mute");
    const { link, ask, seen } = await initialized([mute]);
    await link.send(encode({ id: 1, method: "tools/list" }));
    await link.send(encode({ method: "notifications/cancelled", params: { requestId: 1 } }));
    await ask(2, "ping");
    const [asked] = mute.last.asked("tools/list");
    expect(mute.last.asked("notifications/cancelled")[0]?.params).toMatchObject({ requestId: asked?.id });
    mute.last.say({ id: asked?.id as string, result: { tools: [] } });
    expect(seen.messages.some(({ id }) => id === 1)).toBe(false);
  });

  it("of the 2026-07-28 era are kept as briefly and as privately as the strictest server says", async () => {
    const list = (ttlMs: number, cacheScope: string) =>
      answering({ "tools/list": { resultType: "complete", tools: [], ttlMs, cacheScope } });
    const both = await open([
      scriptedMember("one", list(5000, "public")),
      scriptedMember("two", list(1000, "private")),
    ]);
    expect((await both.ask(1, "tools/list", { _meta: MODERN })).result).toMatchObject({
      resultType: "complete",
      ttlMs: 1000,
      cacheScope: "private",
    });
    const broken = scriptedMember("broken");
    broken.failure = () => new Error("no");
    const half = await open([scriptedMember("one", list(5000, "public")), broken]);
    expect((await half.ask(1, "tools/list", { _meta: MODERN })).result).toMatchObject({
      ttlMs: 0,
      cacheScope: "public",
      _meta: { "mcp-sse-gateway/absent": ["broken"] },
    });
  });
});

describe("a resource of many", () => {
  const notFound = { error: { code: -32002, message: "Resource not found" } };
  const resources = { resources: { subscribe: true } };
  const having =
    (...uris: string[]): Reply =>
    ({ method, params }) => {
      switch (method) {
        case "resources/list":
          return { result: { resources: uris.map((uri) => ({ uri, name: uri })) } };
        case "resources/templates/list":
          return {
            result: { resourceTemplates: [{ uriTemplate: `${uris[0] as string}/{id}/end`, name: "t" }] },
          };
        case "resources/read":
        case "resources/subscribe":
        case "resources/unsubscribe":
          return uris.some((uri) => params?.uri?.startsWith(uri)) ? { result: { from: uris } } : notFound;
        default:
          return undefined;
      }
    };
  const three = () => [
    scriptedMember("one", having("a://"), resources),
    scriptedMember("two", having("b://"), resources),
    scriptedMember("tools", undefined, { tools: {} }),
  ];

  it("is read from who lists it", async () => {
    const members = three();
    const { ask } = await initialized(members);
    await ask(1, "resources/list");
    expect((await ask(2, "resources/read", { uri: "b://" })).result).toEqual({ from: ["b://"] });
    expect(members.map(({ last }) => last.asked("resources/read").length)).toEqual([0, 1, 0]);
    expect(members[1]?.last.asked("resources/read")[0]?.id).toBe(2);
  });

  it("is read from who has a template that it is made of", async () => {
    const members = three();
    const { ask } = await initialized(members);
    await ask(1, "resources/templates/list");
    await ask(2, "resources/read", { uri: "b:///7/end" });
    expect(members.map(({ last }) => last.asked("resources/read").length)).toEqual([0, 1, 0]);
  });

  it("is looked for with those that have resources, and then known", async () => {
    const members = three();
    const { ask } = await initialized(members);
    expect((await ask(1, "resources/read", { uri: "b://x" })).result).toEqual({ from: ["b://"] });
    await ask(2, "resources/read", { uri: "b://x" });
    expect(members.map(({ last }) => last.asked("resources/read").length)).toEqual([1, 2, 0]);
    expect((await ask(3, "resources/read", { uri: "c://x" })).error).toEqual(notFound.error);
  });

  it("is watched at who has it, and no more there", async () => {
    const members = three();
    const { ask, seen } = await initialized(members);
    await ask(1, "resources/subscribe", { uri: "b://x" });
    members[1]?.last.say({ method: "notifications/resources/updated", params: { uri: "b://x" } });
    await seen.notification("notifications/resources/updated");
    await ask(2, "resources/unsubscribe", { uri: "b://x" });
    expect(members.map(({ last }) => last.asked("resources/unsubscribe").length)).toEqual([0, 1, 0]);
  });
});
