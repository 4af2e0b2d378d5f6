import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import type { GatewayEvent } from "../../src/events.ts";
import { digestOf, type ApiKey } from "../../src/keys/api-key.ts";
import { KeyRing } from "../../src/keys/key-ring.ts";

const key = (text: string, caller = "a", expiresAt?: number): ApiKey => ({
  id: `k_${text}`,
  caller,
  digest: digestOf(text),
  ...(expiresAt !== undefined && { expiresAt }),
});
const ids = (keys: ApiKey[]) => keys.map(({ id }) => id);

/** A ring with a clock, and all that it tells. */
function ring(...keys: ApiKey[]) {
  const clock = { now: 0 };
  const told: string[] = [];
  const emit = (event: GatewayEvent) => told.push(`${event.type} ${"key" in event ? event.key : ""}`);
  return { ring: new KeyRing(keys, { events: { emit }, now: () => clock.now }), clock, told };
}

describe("KeyRing", () => {
  it("finds each key by itself, and nothing by anything else", () => {
    const { ring: held } = ring(key("one"), key("two"), key("three", "b"));
    expect(["one", "two", "three"].map((text) => held.find(text)?.id)).toEqual(["k_one", "k_two", "k_three"]);
    for (const text of ["", "on", "one ", "ONE", "k_one", digestOf("one").toString("hex"), "x".repeat(300)])
      expect(held.find(text), text).toBeUndefined();
    expect(held.callers).toEqual(["a", "b"]);
    expect(held.ofId("k_one")?.caller).toBe("a");
    expect(held.ofId("one")).toBeUndefined();
  });

  it("opens nothing with a key from the moment on that it ends", () => {
    const { ring: held, clock } = ring(key("one", "a", 10));
    clock.now = 9;
    expect([held.find("one")?.id, held.isActive("k_one")]).toEqual(["k_one", true]);
    expect(held.isActive("k_one", 10)).toBe(false);
    clock.now = 10;
    expect([held.find("one"), held.isActive("k_one"), held.isActive("k_two")]).toEqual([
      undefined,
      false,
      false,
    ]);
    expect(held.ofId("k_one")?.caller).toBe("a");
  });

  it("tells each key that has ended once", () => {
    const {
      ring: held,
      clock,
      told,
    } = ring(key("one", "a", 10), key("two", "a", 20), key("old", "a", 0), key("ever"));
    expect(held.expire()).toEqual([]);
    clock.now = 10;
    expect(ids(held.expire())).toEqual(["k_one"]);
    expect(held.expire()).toEqual([]);
    expect(ids(held.expire(30))).toEqual(["k_two"]);
    expect(told).toEqual(["key_expired k_one", "key_expired k_two"]);
  });

  it("takes other keys, and tells which came, went and changed their end", () => {
    const { ring: held, told } = ring(key("one"), key("two"), key("three", "b"));
    const change = held.replace([key("two", "a", 50), key("three", "b"), key("four")]);
    expect([ids(change.added), ids(change.removed), ids(change.changed)]).toEqual([
      ["k_four"],
      ["k_one"],
      ["k_two"],
    ]);
    expect(told).toEqual(["key_removed k_one", "key_added k_four", "key_changed k_two"]);
    expect(["one", "two", "four"].map((text) => held.find(text)?.id)).toEqual([undefined, "k_two", "k_four"]);
    const same = held.replace([key("two", "a", 50), key("three", "b"), key("four")]);
    expect(same).toEqual({ added: [], removed: [], changed: [] });
    expect(told).toHaveLength(3);
  });

  it("closes what an id opened when it means another key or another caller", () => {
    for (const other of [{ ...key("two"), id: "k_one" }, key("one", "b")]) {
      const { ring: held } = ring(key("one"));
      const { added, removed, changed } = held.replace([other]);
      expect([ids(added), ids(removed), ids(changed)]).toEqual([["k_one"], ["k_one"], []]);
    }
  });

  it("tells the end of a key whose end was put forward into the past, and again after it was put off", () => {
    const { ring: held, clock, told } = ring(key("one"));
    clock.now = 100;
    held.replace([key("one", "a", 50)]);
    expect(held.find("one")).toBeUndefined();
    expect(ids(held.expire())).toEqual(["k_one"]);
    held.replace([key("one", "a", 200)]);
    expect(held.find("one")?.id).toBe("k_one");
    clock.now = 200;
    expect(ids(held.expire())).toEqual(["k_one"]);
    expect(told).toEqual([
      "key_changed k_one",
      "key_expired k_one",
      "key_changed k_one",
      "key_expired k_one",
    ]);
    held.replace([key("late", "a", 150)]);
    expect(held.expire(), "it had ended before it came").toEqual([]);
    held.replace([]);
    expect(held.expire(1000)).toEqual([]);
  });

  it("refuses keys that cannot stand together, and stays as it was", () => {
    const { ring: held } = ring(key("one"));
    const twins = [
      [key("two"), { ...key("two", "b"), id: "k_other" }],
      [key("two"), { ...key("three"), id: "k_two" }],
      Array.from({ length: 1001 }, (_, index) => key(String(index))),
    ];
    for (const keys of twins) {
      expect(() => held.replace(keys)).toThrow(ConfigError);
      expect(() => new KeyRing(keys)).toThrow(ConfigError);
    }
    expect(held.find("one")?.id).toBe("k_one");
  });

  it("knows after any changes what it would have known had it begun so", () => {
    const anyKeys = fc.uniqueArray(
      fc.tuple(
        fc.constantFrom("1", "2", "3", "4"),
        fc.constantFrom("a", "b"),
        fc.option(fc.integer({ min: 0, max: 9 })),
      ),
      { selector: ([text]) => text },
    );
    fc.assert(
      fc.property(fc.array(anyKeys, { minLength: 1 }), fc.integer({ min: 0, max: 10 }), (steps, now) => {
        const sets = steps.map((step) =>
          step.map(([text, caller, end]) => key(text, caller, end ?? undefined)),
        );
        const { ring: held, clock } = ring();
        const open = new Set<string>();
        for (const keys of sets) {
          const { added, removed } = held.replace(keys);
          for (const { id } of removed) expect(open.delete(id)).toBe(true);
          for (const { id } of added) open.add(id);
        }
        clock.now = now;
        const last = sets.at(-1) as ApiKey[];
        expect(open).toEqual(new Set(ids(last)));
        const fresh = new KeyRing(last, { now: () => now });
        for (const text of ["1", "2", "3", "4"]) expect(held.find(text)).toEqual(fresh.find(text));
        expect(held.expire().every(({ id }) => !held.isActive(id))).toBe(true);
      }),
    );
  });
});
