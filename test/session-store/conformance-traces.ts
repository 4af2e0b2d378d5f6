import { randomUUID } from "node:crypto";

import { expect, test, type onTestFinished } from "vitest";

import { eventually } from "../support/eventually.ts";
import { TTL, type Backend, type Outside } from "./backend.ts";
import { aRecord } from "./records.ts";

export type Open = (prefix?: string, finished?: typeof onTestFinished) => Promise<Backend>;
export type OpenOutside = (prefix?: string) => Promise<Outside & { one: Backend["one"] }>;

/** Sessions are told apart in time by the millisecond. */
const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 3));

/** What a session store promises of clients' traces. */
export function describeTraces(open: Open, openOutside: OpenOutside, isOutside: boolean): void {
  test("knows nothing of a client that never came, and forgets its sessions without a word", async () => {
    const { one } = await open();
    const client = randomUUID();
    await one.delist(client, randomUUID());
    expect(await one.trace(client)).toBeUndefined();
  });

  test("tells a client's sessions, the newest first, and how it introduced itself last", async () => {
    const { one, other } = await open();
    const client = randomUUID();
    const ids = [randomUUID(), randomUUID(), randomUUID()];
    for (const [at, id] of ids.entries()) {
      await (at % 2 ? other : one).enlist(client, id, { clientInfo: { name: `version ${at}` } }, TTL);
      await aMoment();
    }
    expect(await other.trace(client)).toEqual({
      sessions: ids.toReversed(),
      initialize: { clientInfo: { name: "version 2" } },
    });
  });

  test("tells a session that was noted twice once, at its later time", async () => {
    const { one } = await open();
    const client = randomUUID();
    const [first, second] = [randomUUID(), randomUUID()];
    for (const id of [first, second, first]) {
      await one.enlist(client, id, 1, TTL);
      await aMoment();
    }
    expect((await one.trace(client))?.sessions).toEqual([first, second]);
  });

  test.each([
    [null],
    ["OK"],
    ["123"],
    ["null"],
    [0],
    [false],
    [""],
    [[]],
    [{ "2": 'Zoë "the client" \\ 研究 😀\r\n\u2028\0', "1": "\ud800", __proto: null }],
  ])("keeps a client's initialize of %j", async (initialize) => {
    const { one } = await open();
    const client = randomUUID();
    await one.enlist(client, "a", initialize, TTL);
    expect((await one.trace(client))?.initialize).toStrictEqual(initialize);
  });

  test("keeps how a client introduced itself when a session is noted without it", async () => {
    const { one } = await open();
    const client = randomUUID();
    await one.enlist(client, "a", undefined, TTL);
    expect(await one.trace(client)).toEqual({ sessions: ["a"], initialize: undefined });
    await one.enlist(client, "a", { name: "x" }, TTL);
    await one.enlist(client, "a", undefined, TTL);
    expect(await one.trace(client)).toEqual({ sessions: ["a"], initialize: { name: "x" } });
  });

  test("forgets one session of a client and keeps the rest, to the last", async () => {
    const { one, other } = await open();
    const client = randomUUID();
    await one.enlist(client, "initialize", { name: "x" }, TTL);
    await one.enlist(client, "b", { name: "x" }, TTL);
    await other.delist(client, "b");
    await other.delist(client, "b");
    expect(await one.trace(client)).toEqual({ sessions: ["initialize"], initialize: { name: "x" } });
    await other.delist(client, "initialize");
    expect(await one.trace(client)).toEqual({ sessions: [], initialize: { name: "x" } });
  });

  test("keeps clients apart, and a client from a record, a lease and a journal of its name", async () => {
    const { one } = await open();
    const [mine, theirs] = [randomUUID(), randomUUID()];
    await one.enlist(mine, "mine", 1, TTL);
    await one.enlist(theirs, "theirs", 2, TTL);
    await one.create(aRecord({ id: mine }), TTL);
    await one.removeLease(mine);
    await one.removeJournal(mine, 0);
    await one.remove([mine]);
    expect(await one.trace(mine)).toEqual({ sessions: ["mine"], initialize: 1 });
    expect(await one.trace(theirs)).toEqual({ sessions: ["theirs"], initialize: 2 });
  });

  test("loses none of 50 sessions that are noted at the same time", async () => {
    const { one, other } = await open();
    const client = randomUUID();
    const ids = Array.from({ length: 50 }, () => randomUUID());
    await Promise.all(ids.map((id, at) => (at % 2 ? one : other).enlist(client, id, at, TTL)));
    expect(new Set((await one.trace(client))?.sessions)).toEqual(new Set(ids));
  });

  test("tells the newest hundred sessions of a client that had more", async () => {
    const { one } = await open();
    const client = randomUUID();
    const [older, newer] = [40, 100].map((length) => Array.from({ length }, () => randomUUID()));
    if (!older || !newer) throw new Error("two were made");
    await Promise.all(older.map((id) => one.enlist(client, id, 1, TTL)));
    await aMoment();
    await Promise.all(newer.map((id) => one.enlist(client, id, 1, TTL)));
    const { sessions } = (await one.trace(client)) ?? {};
    expect(sessions).toHaveLength(100);
    expect(new Set(sessions)).toEqual(new Set(newer));
  });

  test.concurrent("lets a trace vanish when its seconds are over, unless another session was noted", async (context) => {
    const { one, other } = await open("mcp:", context.onTestFinished);
    const [left, delisted, kept] = [randomUUID(), randomUUID(), randomUUID()];
    await Promise.all([left, delisted, kept].map((client) => one.enlist(client, "a", 1, 1)));
    await one.delist(delisted, "a");
    await other.enlist(kept, "b", 2, TTL);
    expect(await one.trace(left)).toBeDefined();
    expect(await one.trace(delisted)).toBeDefined();
    await eventually(async () => {
      expect(await one.trace(left)).toBeUndefined();
      expect(await one.trace(delisted)).toBeUndefined();
    });
    expect(await one.trace(kept)).toMatchObject({
      initialize: 2,
      sessions: expect.arrayContaining(["a", "b"]),
    });
  });

  test.runIf(isOutside)("keeps a trace as a hash that a person can read", async () => {
    const { one, fields, secondsLeft } = await openOutside("staging:mcp:");
    const [client, id] = [randomUUID(), randomUUID()];
    await one.enlist(client, id, { name: "x" }, TTL);
    const key = `staging:mcp:client:${client}`;
    expect(await fields(key)).toEqual({
      initialize: '{"name":"x"}',
      [`s:${id}`]: expect.stringMatching(/^2\d{3}-\d\d-\d\dT[\d:.]+Z$/),
    });
    expect(await secondsLeft(key)).toBeGreaterThan(TTL - 10);
  });

  test.runIf(isOutside)("reads a trace with a damaged initialize as absent", async () => {
    const { one, plantField } = await openOutside();
    const client = randomUUID();
    await plantField(`mcp:client:${client}`, "s:a", "");
    expect(await one.trace(client)).toEqual({ sessions: ["a"], initialize: undefined });
    await plantField(`mcp:client:${client}`, "initialize", "{");
    expect(await one.trace(client)).toBeUndefined();
  });
}
