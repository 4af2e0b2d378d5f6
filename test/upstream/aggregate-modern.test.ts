import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { createStdioUpstream } from "../../src/upstream/stdio.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import {
  aggregate,
  answering,
  hangingMember,
  MODERN,
  names,
  open,
  openOn,
  type Opened,
  type Reply,
  scriptedMember,
  type ScriptedMember,
} from "./aggregate-members.ts";
import { captureLog, encode, type Message } from "./recorder.ts";
import { eventually } from "../support/eventually.ts";

const ID = "io.modelcontextprotocol/subscriptionId";
const ACKNOWLEDGED = "notifications/subscriptions/acknowledged";
const envelope = { ...MODERN, "io.modelcontextprotocol/clientCapabilities": {} };

const dual = (name: string): Upstream =>
  createStdioUpstream({
    name,
    command: process.execPath,
    args: [join(import.meta.dirname, "../fixtures/dual-era-server.mjs")],
    env: {},
    maxLineBytes: 4 * 1024 * 1024,
    graceMs: 500,
    log: captureLog().log,
  });

const discovering = (result: Record<string, unknown>): Reply =>
  answering({
    "server/discover": {
      resultType: "complete",
      supportedVersions: ["2026-07-28"],
      capabilities: {},
      ...result,
    },
  });

describe("many as one, in the era without initialize", () => {
  let opened: Opened[] = [];
  let members: Upstream[] = [];
  afterEach(async () => {
    await Promise.all(opened.map(({ link }) => link.close()));
    await Promise.all(members.map((member) => member.close()));
    opened = [];
    members = [];
  });

  async function begin(all: Upstream[], patienceMs = 500) {
    const begun = await open(all, patienceMs);
    members.push(...all);
    opened.push(begun);
    return begun;
  }

  describe("introduces them", () => {
    it("with the versions that all speak and what they offer together", async () => {
      const one = scriptedMember(
        "one",
        discovering({
          supportedVersions: ["2026-07-28", "2027-01-01"],
          capabilities: { tools: { listChanged: true } },
          instructions: "First.",
          ttlMs: 9,
          cacheScope: "public",
        }),
      );
      const two = scriptedMember(
        "two",
        discovering({ capabilities: { prompts: {}, tools: {} }, ttlMs: 5, cacheScope: "public" }),
      );
      const { ask } = await begin([one, two]);
      expect((await ask(1, "server/discover", { _meta: envelope })).result).toEqual({
        resultType: "complete",
        supportedVersions: ["2026-07-28"],
        capabilities: { tools: { listChanged: true }, prompts: {} },
        instructions: "one: First.",
        ttlMs: 5,
        cacheScope: "public",
        _meta: { "io.modelcontextprotocol/serverInfo": { name: "mcp-sse-gateway", version: "1.2.3" } },
      });
    });

    it("without one that is not there, and says so", async () => {
      const { ask } = await begin([scriptedMember("one", discovering({})), hangingMember("two")], 50);
      expect((await ask(1, "server/discover", { _meta: envelope })).result).toMatchObject({
        instructions: "Server two is not available.",
        ttlMs: 0,
        _meta: { "mcp-sse-gateway/absent": ["two"] },
      });
    });

    it("not at all where one speaks only the other era, so that a client of both comes again and sees all", async () => {
      const other = scriptedMember("other");
      other.failure = () => new GatewayError("upstream_era");
      const refused = await begin([scriptedMember("one", discovering({})), other]);
      expect((await refused.ask(1, "server/discover", { _meta: envelope })).error).toMatchObject({
        code: -32000,
        data: { reason: "upstream_era" },
      });
      const unknown = scriptedMember("unknown", () => ({
        error: { code: -32601, message: "Method not found" },
      }));
      const passed = await begin([scriptedMember("one", discovering({})), unknown]);
      expect((await passed.ask(1, "server/discover", { _meta: envelope })).error).toEqual({
        code: -32601,
        message: "Method not found",
      });
    });
  });

  it("opens the server that a call is for, and no other", async () => {
    const one = scriptedMember("one", answering({ "tools/call": { content: [] } }));
    const two = scriptedMember("two");
    const { ask, link } = await begin([one, two]);
    await ask(1, "tools/call", { name: "one__x", _meta: envelope });
    expect([one.opens, two.opens]).toEqual([1, 0]);
    expect(one.last.asked("tools/call")[0]?.params).toEqual({ name: "x", _meta: envelope });
    await link.close();
    expect(one.last.isClosed).toBe(true);
  });

  it("names a server that does not speak the era when it is called, and lists the others", async () => {
    const other = scriptedMember("other");
    other.failure = () => new GatewayError("upstream_era");
    const one = scriptedMember(
      "one",
      answering({ "tools/list": { tools: [{ name: "x" }], ttlMs: 1, cacheScope: "public" } }),
    );
    const { ask } = await begin([one, other]);
    expect((await ask(1, "tools/call", { name: "other__x", _meta: envelope })).error).toMatchObject({
      code: -32000,
      data: { reason: "upstream_era", server: "other" },
    });
    expect((await ask(2, "tools/list", { _meta: envelope })).result).toMatchObject({
      tools: [{ name: "one__x" }],
      _meta: { "mcp-sse-gateway/absent": ["other"] },
    });
  });

  it("keeps from one request to the next who has a resource", async () => {
    const one = scriptedMember("one", answering({ "resources/list": { resources: [] } }));
    const two = scriptedMember(
      "two",
      answering({ "resources/list": { resources: [{ uri: "x://y" }] }, "resources/read": { contents: [] } }),
    );
    const { upstream } = aggregate([one, two]);
    const first = await openOn(upstream);
    await first.ask(1, "resources/list", { _meta: envelope });
    await first.link.close();
    const second = await openOn(upstream);
    await second.ask(1, "resources/read", { uri: "x://y", _meta: envelope });
    expect([one.opens, two.opens]).toEqual([1, 2]);
    await upstream.close();
  });

  describe("listens", () => {
    const params = (notifications: Record<string, unknown>) => ({ notifications, _meta: envelope });
    const acknowledge =
      (notifications: Record<string, unknown>): Reply =>
      ({ method, id }, link) => {
        if (method !== "subscriptions/listen") return undefined;
        link.say({ method: ACKNOWLEDGED, params: { notifications, _meta: { [ID]: id } } });
        return undefined;
      };
    const event = (method: string, id: number | string) => ({ method, params: { _meta: { [ID]: id } } });
    const methods = (messages: Message[]) => messages.map(({ method, id }) => method ?? id);

    async function listening(all: ScriptedMember[], patienceMs?: number) {
      const begun = await begin(all, patienceMs);
      await begun.link.send(
        encode({ id: "l", method: "subscriptions/listen", params: params({ toolsListChanged: true }) }),
      );
      return begun;
    }

    it("to all, with one acknowledgement of what they grant together, before any event", async () => {
      let late: () => void = () => undefined;
      const one = scriptedMember("one", (said, link) => {
        acknowledge({ toolsListChanged: true, resourceSubscriptions: ["a"] })(said, link);
        link.say(event("notifications/tools/list_changed", "l"));
        return undefined;
      });
      const two = scriptedMember("two", (said, link) => {
        late = () =>
          void acknowledge({ promptsListChanged: true, resourceSubscriptions: ["a", "b"] })(said, link);
        return undefined;
      });
      const { seen } = await listening([one, two], 5000);
      await eventually(() => expect(two.links).toHaveLength(1));
      await eventually(() => expect(two.last.told).toHaveLength(1));
      expect(seen.messages).toEqual([]);
      late();
      expect(methods(seen.messages)).toEqual([ACKNOWLEDGED, "notifications/tools/list_changed"]);
      expect(seen.messages[0]?.params).toEqual({
        notifications: {
          toolsListChanged: true,
          promptsListChanged: true,
          resourceSubscriptions: ["a", "b"],
        },
        _meta: { [ID]: "l" },
      });
      two.last.say(event("notifications/prompts/list_changed", "l"));
      expect(seen.messages).toHaveLength(3);
    });

    it("without one that is silent, or that refuses", async () => {
      const refuses = scriptedMember("refuses", () => ({ error: { code: -32601, message: "no" } }));
      const one = scriptedMember("one", acknowledge({ toolsListChanged: true }));
      const { seen } = await listening([one, refuses, hangingMember("silent")], 50);
      await seen.notification(ACKNOWLEDGED);
      expect(seen.messages).toHaveLength(1);
    });

    it("and ends with one answer when all have refused", async () => {
      const refuses = (name: string) =>
        scriptedMember(name, () => ({ error: { code: -32601, message: `no ${name}` } }));
      const { seen } = await listening([refuses("one"), refuses("two")]);
      expect((await seen.answer("l")).error?.message).toBe("no one");
      expect(seen.messages).toHaveLength(1);
    });

    it("and ends with one answer when nothing is granted", async () => {
      const grants = (name: string) =>
        scriptedMember(name, (said, link) => {
          acknowledge({})(said, link);
          return { result: { resultType: "complete", _meta: { [ID]: said.id } } };
        });
      const { seen } = await listening([grants("one"), grants("two")]);
      await seen.answer("l");
      expect(methods(seen.messages)).toEqual([ACKNOWLEDGED, "l"]);
    });

    it("and is answered an error that names them when none is there", async () => {
      const broken = scriptedMember("broken");
      broken.failure = () => new Error("no");
      const { seen } = await listening([broken]);
      expect((await seen.answer("l")).error).toMatchObject({
        data: { server: "broken", reason: "upstream_unavailable" },
      });
    });

    it("again to one that was lost, and then says that its lists may have changed", async () => {
      const one = scriptedMember("one", acknowledge({ toolsListChanged: true }));
      const two = scriptedMember("two", acknowledge({ toolsListChanged: true }));
      const { seen } = await listening([one, two]);
      await seen.notification(ACKNOWLEDGED);
      two.last.die("upstream_unreachable");
      await seen.notification("notifications/tools/list_changed");
      expect(methods(seen.messages)).toEqual([ACKNOWLEDGED, "notifications/tools/list_changed"]);
      expect(two.links).toHaveLength(2);
    });

    it("until the client takes it back", async () => {
      const one = scriptedMember("one", acknowledge({ toolsListChanged: true }));
      const { seen, link } = await listening([one]);
      await seen.notification(ACKNOWLEDGED);
      await link.send(encode({ method: "notifications/cancelled", params: { requestId: "l" } }));
      expect(one.last.asked("notifications/cancelled")).toHaveLength(1);
    });
  });

  it("carries a session of real servers", async () => {
    const { ask, seen, link } = await begin([dual("one"), dual("two")], 10_000);
    const discovered = await ask(1, "server/discover", { _meta: envelope });
    expect(discovered.result).toMatchObject({
      supportedVersions: ["2026-07-28"],
      capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
    });
    const list = await ask(2, "tools/list", { _meta: envelope });
    expect(names(list)).toEqual(expect.arrayContaining(["one__echo", "two__echo"]));
    await link.send(
      encode({
        id: 3,
        method: "subscriptions/listen",
        params: { notifications: { toolsListChanged: true }, _meta: envelope },
      }),
    );
    await seen.notification(ACKNOWLEDGED);
    await ask(4, "tools/call", { name: "two__change", arguments: {}, _meta: envelope });
    expect((await seen.notification("notifications/tools/list_changed")).params).toMatchObject({
      _meta: { [ID]: 3 },
    });
    const asking = await ask(5, "tools/call", {
      name: "one__ask",
      arguments: { question: "?" },
      _meta: { ...envelope, "io.modelcontextprotocol/clientCapabilities": { elicitation: { form: {} } } },
    });
    expect(asking.result).toMatchObject({ resultType: "input_required" });
  });
});
