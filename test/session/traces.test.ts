import { describe, expect, it } from "vitest";
import { SessionIndex } from "../../src/session/session-index.ts";
import type { Session } from "../../src/session/session.ts";
import { Traces } from "../../src/session/traces.ts";
import { ALICE } from "./instances.ts";
import { watched } from "./watched-store.ts";

const HOUR_MS = 3_600_000;
const session = (id: string) => ({ id, caller: "alice" }) as Session;
const INTRODUCTION = { clientInfo: { name: "c" } };

function open() {
  const { store, watch } = watched();
  const clock = { now: 0 };
  const traces = new Traces({ store, now: () => clock.now });
  return { traces, store, watch, clock };
}

describe("the trace of a client", () => {
  it("has its sessions and how it introduced itself last, here and in the store", async () => {
    const { traces, store } = open();
    traces.note(session("1"), "m", { initialize: { old: true } });
    traces.note(session("2"), "m", { initialize: INTRODUCTION });
    await traces.flush();
    expect(await store.trace("m")).toEqual({
      sessions: expect.arrayContaining(["1", "2"]),
      initialize: INTRODUCTION,
    });
    expect([traces.lastOf("m"), traces.lastOf("n")]).toEqual([{ initialize: INTRODUCTION }, undefined]);
  });

  it("costs the store nothing more for what is told after the introduction", async () => {
    const { traces, watch } = open();
    traces.note(session("1"), "m", { initialize: INTRODUCTION });
    traces.note(session("1"), "m", { initialize: INTRODUCTION, logLevel: { level: "debug" } });
    traces.note(session("1"), "m", { initialize: INTRODUCTION, subscriptions: ["a"] });
    traces.note(session("2"), "m", {});
    await traces.flush();
    expect(watch.calls).toEqual(["enlist"]);
    traces.note(session("1"), "m", { initialize: { again: true } });
    await traces.flush();
    expect(watch.calls).toEqual(["enlist", "enlist"]);
  });

  it("loses a session that is over, and keeps the introduction", async () => {
    const { traces, store, watch } = open();
    traces.note(session("1"), "m", { initialize: INTRODUCTION });
    traces.forget(session("1"), "m");
    traces.forget(session("1"), "m");
    traces.forget(session("never noted"), "m");
    await traces.flush();
    expect(await store.trace("m")).toEqual({ sessions: [], initialize: INTRODUCTION });
    expect(watch.calls.filter((verb) => verb === "delist")).toHaveLength(1);
    expect(traces.lastOf("m")).toEqual({ initialize: INTRODUCTION });
  });

  it("is written again after half a day while the session lives, and then no more", async () => {
    const { traces, watch, clock } = open();
    const index = new SessionIndex();
    index.add(session("1"), ALICE);
    for (const id of ["1", "gone"]) traces.note(session(id), "m", { initialize: INTRODUCTION });
    const beatAt = async (hours: number) => {
      watch.calls.length = 0;
      clock.now = hours * HOUR_MS;
      await traces.beat(index, clock.now);
      await traces.flush();
      return watch.calls.length;
    };
    expect([await beatAt(11.9), await beatAt(12), await beatAt(23.9), await beatAt(24)]).toEqual([
      0, 1, 0, 1,
    ]);
  });

  it("that the store cannot have costs nobody anything", async () => {
    const { traces, watch } = open();
    watch.isAway = true;
    traces.note(session("1"), "m", { initialize: INTRODUCTION });
    traces.forget(session("1"), "m");
    await traces.flush();
    expect(traces.lastOf("m")).toEqual({ initialize: INTRODUCTION });
  });

  it("is kept here for the latest clients only", () => {
    const { traces } = open();
    for (let at = 0; at < 501; at += 1) traces.note(session(`${at}`), `m${at}`, { initialize: INTRODUCTION });
    expect([traces.lastOf("m0"), traces.lastOf("m500")]).toEqual([undefined, { initialize: INTRODUCTION }]);
  });
});
