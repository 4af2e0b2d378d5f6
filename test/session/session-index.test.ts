import { describe, expect, it } from "vitest";
import { SessionIndex } from "../../src/session/session-index.ts";
import type { Session } from "../../src/session/session.ts";
import { ALICE, BOB, NAMED } from "./instances.ts";

const session = (id: string, more: Partial<Session> = {}) =>
  ({ id, caller: "alice", orphanedAt: undefined, isSpare: true, isLeaving: false, ...more }) as Session;

function open() {
  const index = new SessionIndex();
  const [one, other, bobs] = [session("1"), session("2"), session("3", { caller: "bob" })];
  index.add(one, ALICE);
  index.add(other, NAMED);
  index.add(bobs, BOB);
  return { index, one, other, bobs };
}

describe("the sessions of an instance", () => {
  it("are found by id, by client and by caller", () => {
    const { index, one, other, bobs } = open();
    expect([...index]).toEqual([one, other, bobs]);
    expect([index.find("2"), index.find("9"), index.size]).toEqual([other, undefined, 3]);
    expect([index.countOf("alice"), index.countOf("bob"), index.countOf("x")]).toEqual([2, 1, 0]);
    expect([...index.ofClient(index.fingerprintOf(ALICE))]).toEqual([one]);
    expect([...index.ofClient(index.fingerprintOf(BOB))]).toEqual([bobs]);
    expect([...index.ofClient(index.fingerprintOf({ ...NAMED, address: "else" }))]).toEqual([other]);
    expect(index.fingerprintOf(one)).toBe(index.fingerprintOf(ALICE));
    expect(index.visitorOf(other)).toBe(NAMED);
  });

  it("are found by other ids as long as they are there, and count once", () => {
    const { index, one } = open();
    index.alias(one, "8");
    index.alias(one, "9");
    expect([index.find("8"), index.find("9"), index.size, [...index].length]).toEqual([one, one, 3, 3]);
    expect(index.remove(one)).toEqual(["8", "9"]);
    expect([index.find("1"), index.find("8"), index.find("9")]).toEqual([undefined, undefined, undefined]);
  });

  it("leave nothing behind, however often they are taken out", () => {
    const { index, one, other, bobs } = open();
    for (const each of [one, other, bobs, one]) index.remove(each);
    expect([index.size, index.countOf("alice"), index.countOf("bob")]).toEqual([0, 0, 0]);
    for (const visitor of [ALICE, NAMED, BOB])
      expect([...index.ofClient(index.fingerprintOf(visitor))]).toEqual([]);
    expect([index.visitorOf(one), index.fingerprintOf(one)]).toEqual([undefined, ""]);
    index.alias(one, "8");
    expect(index.find("8")).toBeUndefined();
  });

  it("are given up in the order in which they lost their streams, of one caller or of all", () => {
    const index = new SessionIndex();
    expect(index.oldestOrphan()).toBeUndefined();
    const at = (id: string, orphanedAt: number | undefined, more: Partial<Session> = {}) => {
      const one = session(id, { ...(orphanedAt === undefined ? {} : { orphanedAt }), ...more });
      index.add(one, { ...ALICE, caller: one.caller });
      return one;
    };
    at("has a stream", undefined);
    at("leaves", 1, { isLeaving: true });
    const later = at("later", 30);
    const bobs = at("bob's", 10, { caller: "bob" });
    const sooner = at("sooner", 20);
    const alices = { caller: "alice" };
    expect([index.oldestOrphan(), index.oldestOrphan(alices)]).toEqual([bobs, sooner]);
    expect(index.oldestOrphan({ caller: "carol" })).toBeUndefined();
    // Who asks for room does not mean itself.
    expect(index.oldestOrphan({ except: "bob's" })).toBe(sooner);
    expect(index.oldestOrphan({ ...alices, except: "sooner" })).toBe(later);
    index.remove(sooner);
    expect(index.oldestOrphan(alices)).toBe(later);
    expect(index.oldestOrphan({ ...alices, except: "later" })).toBeUndefined();
  });
});
