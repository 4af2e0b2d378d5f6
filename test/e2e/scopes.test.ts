import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTestStream } from "../support/sse-client.ts";
import { KEY, OTHER_KEY, startTestGateway, type TestGateway } from "../support/start-gateway.ts";

interface Answer {
  id?: unknown;
  result?: Record<string, unknown> & { tools?: { name: string }[] };
  error?: { code: number; message: string; data?: { reason?: string; requestId?: string } };
}

interface Talk {
  ask(method: string, params?: object): Promise<Answer>;
  close(): void;
}

const VERSION = "2026-07-28";
const META = {
  "io.modelcontextprotocol/protocolVersion": VERSION,
  "io.modelcontextprotocol/clientCapabilities": {},
};
const INTRODUCTION = {
  protocolVersion: "2025-11-25",
  capabilities: {},
  clientInfo: { name: "test", version: "1" },
};

const rpc = (id: number, method: string, params: object) => ({ jsonrpc: "2.0", id, method, params });

async function overSse(url: string, path: string, key: string): Promise<Talk> {
  const stream = await openTestStream(url, { path: `${path}/sse`, headers: { "x-api-key": key } });
  let id = 0;
  const ask = async (method: string, params: object = {}) => {
    id += 1;
    const wanted = id;
    await (await stream.post(rpc(wanted, method, params), { "x-api-key": key })).arrayBuffer();
    return (await stream.next((message) => message.id === wanted)) as Answer;
  };
  await ask("initialize", INTRODUCTION);
  await stream.post({ jsonrpc: "2.0", method: "notifications/initialized" }, { "x-api-key": key });
  return { ask, close: () => stream.cut() };
}

const post = (url: string, key: string, message: unknown, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: "POST",
    headers: {
      "X-API-Key": key,
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      ...headers,
    },
    body: JSON.stringify(message),
  });

/** The answer in a response, which may be one of several events. */
async function answerIn(response: Response): Promise<Answer> {
  const text = await response.text();
  if (response.headers.get("content-type")?.startsWith("application/json") === true)
    return JSON.parse(text) as Answer;
  const data = [...text.matchAll(/^data: (\{.*)$/gm)].map(
    (match) => JSON.parse(match[1] as string) as Answer,
  );
  return data.at(-1) as Answer;
}

async function overStreamable(url: string, path: string, key: string): Promise<Talk> {
  const first = await post(url + path, key, rpc(0, "initialize", INTRODUCTION));
  const headers = { "Mcp-Session-Id": first.headers.get("mcp-session-id") as string };
  await first.arrayBuffer();
  await post(url + path, key, { jsonrpc: "2.0", method: "notifications/initialized" }, headers);
  let id = 0;
  return {
    ask: async (method, params = {}) =>
      answerIn(await post(url + path, key, rpc((id += 1), method, params), headers)),
    close: () => undefined,
  };
}

async function overModern(url: string, path: string, key: string): Promise<Talk> {
  let id = 0;
  const ask = async (method: string, params: { name?: string; uri?: string } = {}) => {
    const name = params.name ?? params.uri;
    const headers = {
      "MCP-Protocol-Version": VERSION,
      "Mcp-Method": method,
      ...(name === undefined ? {} : { "Mcp-Name": `=?base64?${Buffer.from(name).toString("base64")}?=` }),
    };
    return answerIn(await post(url + path, key, rpc((id += 1), method, { ...params, _meta: META }), headers));
  };
  return { ask, close: () => undefined };
}

const WAYS = { SSE: overSse, "Streamable HTTP": overStreamable, "2026-07-28": overModern };
const PLACES = [
  ["all together", "/mcp", "one__"],
  ["one server", "/servers/one/mcp", ""],
] as const;

describe("a key that may call two tools of one server", () => {
  const directory = mkdtempSync(join(tmpdir(), "scopes-"));
  let gateway: TestGateway;
  beforeAll(async () => {
    const file = join(directory, "mcp.json");
    writeFileSync(
      file,
      JSON.stringify({ mcpServers: { one: { type: "builtin" }, hidden: { type: "builtin" } } }),
    );
    gateway = await startTestGateway({
      env: { MCP_SERVERS_FILE: file, MCP_KEY_SCOPES: "default=*,other=one/echo one/a*" },
    });
  });
  afterAll(async () => {
    await gateway.close();
    rmSync(directory, { recursive: true });
  });

  const cases = Object.entries(WAYS).flatMap(([way, connect]) =>
    PLACES.map(([place, path, prefix]) => ({ way, connect, place, path, prefix })),
  );

  describe.each(cases)("over $way, at $place", ({ connect, path, prefix }) => {
    async function talkAs<T>(key: string, work: (talk: Talk) => Promise<T>): Promise<T> {
      const talk = await connect(gateway.url, path, key);
      try {
        return await work(talk);
      } finally {
        talk.close();
      }
    }
    const namesOf = ({ result }: Answer) => result?.tools?.map(({ name }) => name).sort();
    const call = (talk: Talk, name: string) => talk.ask("tools/call", { name, arguments: { text: "x" } });

    it("SEC-32 sees those, and another key sees all", async () => {
      const seen = await talkAs(OTHER_KEY, async (talk) => namesOf(await talk.ask("tools/list")));
      expect(seen).toEqual([`${prefix}add`, `${prefix}ask`, `${prefix}echo`]);
      const all = await talkAs(KEY, async (talk) => namesOf(await talk.ask("tools/list")));
      expect(all).toContain(`${prefix}picture`);
    });

    it("SEC-32 calls those, and is refused others in the same words whether they are there or not", async () => {
      await talkAs(OTHER_KEY, async (talk) => {
        const allowed = await call(talk, `${prefix}echo`);
        expect(allowed.result).toMatchObject({ content: [{ type: "text", text: "x" }] });
        const names = [`${prefix}picture`, `${prefix}nothing`, `${prefix}Echo`, `${prefix}echo `];
        const answers = [];
        for (const name of names) answers.push(await call(talk, name));
        for (const { error, result } of answers) {
          expect(result).toBeUndefined();
          expect(error).toMatchObject({ code: -32602, data: { reason: "tool_not_allowed" } });
          expect(error).toEqual(answers[0]?.error);
        }
      });
    });

    it("SEC-32 reads no resource and no prompt, whether it is there or not", async () => {
      await talkAs(OTHER_KEY, async (talk) => {
        const { result: resources } = await talk.ask("resources/list");
        const { result: prompts } = await talk.ask("prompts/list");
        expect([resources?.["resources"] ?? [], prompts?.["prompts"] ?? []]).toEqual([[], []]);
        const real = await talk.ask("resources/read", { uri: "demo://counter" });
        const unreal = await talk.ask("resources/read", { uri: "demo://nothing" });
        expect(real.error).toBeDefined();
        expect(real.error).toEqual(unreal.error);
      });
    });
  });

  describe.each(Object.keys(WAYS))("over %s", (way) => {
    it("SEC-30 finds a hidden server no more than one that is not there", async () => {
      const answers = ["/servers/hidden/mcp", "/servers/nothing/mcp"].map(async (path) => {
        const headers = { "X-API-Key": OTHER_KEY, Accept: "text/event-stream" };
        const response =
          way === "SSE"
            ? await fetch(`${gateway.url}${path}/sse`, { headers })
            : await post(
                gateway.url + path,
                OTHER_KEY,
                rpc(1, "initialize", INTRODUCTION),
                way === "2026-07-28" ? { "MCP-Protocol-Version": VERSION, "Mcp-Method": "initialize" } : {},
              );
        const body = (await response.text()).replace(/"requestId":"[^"]+"/, "");
        return [response.status, body];
      });
      const [hidden, nothing] = await Promise.all(answers);
      expect(hidden?.[0]).toBe(404);
      expect(hidden).toEqual(nothing);
    });

    it("SEC-30 calls no tool of a hidden server through all together", async () => {
      const talk = await WAYS[way as keyof typeof WAYS](gateway.url, "/mcp", OTHER_KEY);
      const hidden = await talk.ask("tools/call", { name: "hidden__echo", arguments: { text: "x" } });
      const nothing = await talk.ask("tools/call", { name: "nothing__echo", arguments: { text: "x" } });
      expect(hidden.result).toBeUndefined();
      expect(hidden.error?.code).toBe(nothing.error?.code);
      expect(hidden.error?.message.replace("hidden", "nothing")).toBe(nothing.error?.message);
      talk.close();
    });
  });
});
