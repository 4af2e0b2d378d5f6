import { PassThrough } from "node:stream";

import { expect, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { guardSessionStore } from "../../src/session-store/guard.ts";
import { createMemorySessionStore } from "../../src/session-store/memory.ts";
import type { SessionStore } from "../../src/session-store/session-store.ts";
import { StoreFailure, unavailable, type FailureKind } from "../../src/session-store/store-failure.ts";
import { everyVerb } from "./backend.ts";
import { describeSessionStore } from "./conformance.ts";
import { tellAll } from "./records.ts";

describeSessionStore("memory, guarded", "inside", async () => {
  const store = guardSessionStore(createMemorySessionStore(), { deadlineMs: 1000, log: createLog("silent") });
  return { one: store, other: store };
});

/** A store whose `get`, `getLease` and `ready` do what the test says, behind a guard with a clock that the test moves. */
function setUp(deadlineMs = 1000) {
  const out = new PassThrough();
  const world = { time: 0, calls: 0, answer: (): Promise<undefined> => Promise.resolve(undefined) };
  const call = (): Promise<undefined> => {
    world.calls += 1;
    return world.answer();
  };
  const store: SessionStore = { ...createMemorySessionStore(), get: call, getLease: call, ready: call };
  const guarded = guardSessionStore(store, {
    deadlineMs,
    log: createLog("info", out),
    now: () => world.time,
    random: () => 0,
  });
  return {
    world,
    guarded,
    fail: (error: unknown) => void (world.answer = () => Promise.reject(error)),
    heal: () => void (world.answer = () => Promise.resolve(undefined)),
    failTimes: async (times: number) => {
      for (let call = 0; call < times; call += 1)
        await expect(guarded.get("x")).rejects.toMatchObject({ reason: "store_unavailable" });
    },
    messages: () =>
      String(out.read() ?? "")
        .split("\n")
        .filter(Boolean)
        .map((line) => (JSON.parse(line) as { message: string }).message),
  };
}

const failure = (kind: FailureKind) => unavailable(new StoreFailure(kind, "TEST"));
const open = { reason: "store_unavailable", cause: { code: "BREAKER_OPEN" } };

test("opens after five failures in a row, and then rejects without asking the store", async () => {
  const { guarded, world, fail, failTimes } = setUp();
  fail(failure("unreachable"));
  await failTimes(4);
  expect(guarded.state()).toBe("closed");
  await failTimes(1);
  expect(guarded.state()).toBe("open");
  await expect(guarded.getLease("x")).rejects.toMatchObject(open);
  await expect(guarded.ready()).rejects.toMatchObject(open);
  expect(world.calls).toBe(5);
});

test("rejects every verb without asking the store while it is open", async () => {
  const { guarded, world, fail, failTimes } = setUp();
  fail(failure("unreachable"));
  await failTimes(5);
  for (const [name, verb] of everyVerb(guarded)) await expect(verb(), name).rejects.toMatchObject(open);
  expect(world.calls).toBe(5);
});

test.each(everyVerb(createMemorySessionStore()).map(([name], at) => [name, at] as const))(
  "gives up on %s by its own deadline, and counts it",
  async (_, at) => {
    const names = Object.keys(createMemorySessionStore()).filter((name) => name !== "kind");
    const verbs = names.map((name) => [name, () => new Promise(() => undefined)]);
    const stuck = { kind: "memory", ...Object.fromEntries(verbs) } as SessionStore;
    const guarded = guardSessionStore(stuck, { deadlineMs: 5, log: createLog("silent") });
    for (let call = 0; call < 5; call += 1)
      await expect(everyVerb(guarded)[at]?.[1]()).rejects.toMatchObject({ cause: { code: "TIMEOUT" } });
    expect(guarded.state()).toBe("open");
  },
);

test("counts only failures in a row", async () => {
  const { guarded, fail, heal, failTimes } = setUp();
  for (let round = 0; round < 3; round += 1) {
    fail(failure("unreachable"));
    await failTimes(4);
    heal();
    await guarded.get("x");
  }
  expect(guarded.state()).toBe("closed");
});

test("lets one probe through after two seconds; its success closes it", async () => {
  const { guarded, world, fail, failTimes } = setUp();
  fail(failure("unreachable"));
  await failTimes(5);
  world.time = 1999;
  expect(guarded.state()).toBe("open");
  world.time = 2000;
  expect(guarded.state()).toBe("half-open");
  let answer = (): void => undefined;
  world.answer = () => new Promise((resolve) => (answer = () => resolve(undefined)));
  const probe = guarded.get("x");
  await expect(guarded.get("y")).rejects.toMatchObject(open);
  expect(world.calls).toBe(6);
  answer();
  await probe;
  expect(guarded.state()).toBe("closed");
});

test("stays open for two more seconds when the probe fails", async () => {
  const { guarded, world, fail, heal, failTimes } = setUp();
  fail(failure("unreachable"));
  await failTimes(5);
  world.time = 2000;
  await failTimes(1);
  expect(guarded.state()).toBe("open");
  world.time = 3999;
  await expect(guarded.get("x")).rejects.toMatchObject(open);
  world.time = 4000;
  heal();
  await guarded.ready();
  expect(guarded.state()).toBe("closed");
});

test("heeds no answer to a call from before it opened", async () => {
  const { guarded, world, fail, failTimes } = setUp();
  let answer = (): void => undefined;
  world.answer = () => new Promise((resolve) => (answer = () => resolve(undefined)));
  const early = guarded.get("x");
  fail(failure("unreachable"));
  await failTimes(5);
  answer();
  await early;
  expect(guarded.state()).toBe("open");
});

test("tells an outage once when it begins and once when it ends", async () => {
  const { guarded, world, fail, heal, failTimes, messages } = setUp();
  fail(failure("unreachable"));
  await failTimes(20);
  for (world.time = 2000; world.time < 20_000; world.time += 2000) await failTimes(2);
  expect(messages()).toEqual(["session store unavailable"]);
  heal();
  await guarded.get("x");
  await guarded.get("x");
  expect(messages()).toEqual(["session store is back"]);
});

test("asks once a minute when the quota is used up, says so once, and does not take a ping for an answer", async () => {
  const { guarded, world, fail, heal, failTimes, messages } = setUp();
  fail(failure("quota"));
  await failTimes(1);
  world.time = 59_999;
  await expect(guarded.get("x")).rejects.toMatchObject({ cause: { kind: "quota", code: "BREAKER_OPEN" } });
  world.time = 60_000;
  await failTimes(1);
  world.time = 120_000;
  await expect(guarded.ready()).rejects.toMatchObject({
    reason: "store_unavailable",
    cause: { kind: "quota" },
  });
  expect(world.calls).toBe(2);
  expect(messages()).toEqual(["session store's command quota is used up; asking it once a minute"]);
  heal();
  await guarded.get("x");
  await guarded.ready();
  expect(messages()).toEqual(["session store is back"]);
});

test("stays closed while the store answers, though it refuses", async () => {
  const { guarded, fail, failTimes } = setUp();
  fail(failure("refused"));
  await failTimes(10);
  expect(guarded.state()).toBe("closed");
});

test("gives up by its own deadline, and drops what comes later", async () => {
  const { guarded, world } = setUp(10);
  let refuse: (error: Error) => void = () => undefined;
  world.answer = () => new Promise((_, reject) => (refuse = reject));
  await expect(guarded.get("x")).rejects.toMatchObject({
    reason: "store_unavailable",
    cause: { kind: "unreachable", code: "TIMEOUT" },
  });
  // An unhandled rejection would fail the run.
  refuse(new Error("late"));
  await new Promise((resolve) => setImmediate(resolve));
});

test("turns whatever a driver throws into store_unavailable, without its words", async () => {
  const { guarded, world, fail } = setUp();
  const leaky = Object.assign(new Error("SET canary https://canary"), { command: { args: ["canary"] } });
  for (const thrown of [leaky, new TypeError("canary"), "canary", undefined]) {
    fail(thrown);
    const error: unknown = await guarded.get("x").catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: "store_unavailable", cause: { kind: "unreachable" } });
    expect(tellAll(error)).not.toContain("canary");
  }
  world.answer = () => {
    throw leaky;
  };
  await expect(guarded.get("x")).rejects.toMatchObject({ reason: "store_unavailable" });
});

test("lets a ConfigError of ready through", async () => {
  const { guarded, fail } = setUp();
  const wrong = new ConfigError(["REDIS_URL: …"], { cause: new StoreFailure("credentials", "WRONGPASS") });
  fail(wrong);
  await expect(guarded.ready()).rejects.toBe(wrong);
});

test("closes though the driver never finishes closing", async () => {
  const stuck = { ...createMemorySessionStore(), close: () => new Promise<void>(() => undefined) };
  const guarded = guardSessionStore(stuck, { deadlineMs: 10, log: createLog("silent") });
  await expect(guarded.close()).resolves.toBeUndefined();
  await expect(guarded.close()).resolves.toBeUndefined();
});
