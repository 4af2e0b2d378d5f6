import { afterEach, expect, it, vi } from "vitest";
import { KnownTools } from "../../src/http/modern-tools.ts";
import { headersOf, openStage, request, ScriptedServer, type Stage } from "./modern-stage.ts";

let stage: Stage | undefined;
afterEach(async () => {
  vi.useRealTimers();
  await stage?.close();
});

const tool = (name: string, mark?: string) => ({
  name,
  inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": mark } } },
});
const list = (...tools: unknown[]) => Buffer.from(JSON.stringify({ id: 1, result: { tools } }));
const call = (name: string) => Buffer.from(request("tools/call", { name, arguments: { region: "eu" } }));
const refusalOf = (known: KnownTools, server: string, name: string, caller = "me") => {
  try {
    known.check(caller, server, {}, call(name));
    return undefined;
  } catch (error) {
    return error;
  }
};
const MISMATCH = { reason: "header_mismatch", data: { header: "mcp-param-region" } };

it("refuses a call without the header that the tool's list asked for, and takes one with it", async () => {
  const upstream = new ScriptedServer();
  stage = await openStage(upstream);
  const body = call("deploy").toString();
  const before = stage.post(body);
  (await upstream.given()).say({ id: 1, result: {} });
  expect((await before).status).toBe(200);
  const listed = stage.post(request("tools/list"));
  (await upstream.given(2)).say(list(tool("deploy", "Region")).toString().replace("{", '{"jsonrpc":"2.0",'));
  await listed;
  const refused = await stage.post(body);
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ id: 1, error: { code: -32020, data: MISMATCH.data } });
  const right = stage.post(body, { ...headersOf(body), "Mcp-Param-Region": "eu" });
  (await upstream.given(3)).say({ id: 1, result: {} });
  expect((await right).status).toBe(200);
});

it("knows the tools of each server and caller apart, and forgets what a newer list no longer asks for", () => {
  const known = new KnownTools();
  known.learn("me", "a", list(tool("deploy", "Region")));
  expect(refusalOf(known, "a", "deploy")).toMatchObject(MISMATCH);
  expect(refusalOf(known, "b", "deploy")).toBeUndefined();
  expect(refusalOf(known, "a", "deploy", "another")).toBeUndefined();
  expect(refusalOf(known, "a", "other")).toBeUndefined();
  known.learn("me", "a", list(tool("deploy")));
  expect(refusalOf(known, "a", "deploy")).toBeUndefined();
});

it("does not hold a list against a client for long", () => {
  vi.useFakeTimers();
  const known = new KnownTools();
  known.learn("me", "a", list(tool("deploy", "Region")));
  vi.advanceTimersByTime(299_000);
  expect(refusalOf(known, "a", "deploy")).toMatchObject(MISMATCH);
  vi.advanceTimersByTime(2000);
  expect(refusalOf(known, "a", "deploy")).toBeUndefined();
});

it("remembers a thousand tools at most, the newest", () => {
  const known = new KnownTools();
  known.learn("me", "a", list(...Array.from({ length: 1500 }, (_, index) => tool(`t${index}`, "Region"))));
  expect(refusalOf(known, "a", "t499")).toBeUndefined();
  expect(refusalOf(known, "a", "t500")).toMatchObject(MISMATCH);
});
