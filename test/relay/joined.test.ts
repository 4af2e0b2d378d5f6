import fc from "fast-check";
import { expect, test } from "vitest";
import { answerJoined, JOINED, joinMessages, readAnswers, readJoined } from "../../src/relay/joined.ts";

const named = fc.record({
  id: fc.string(),
  message: fc.record({
    kind: fc.string(),
    head: fc.dictionary(fc.string(), fc.integer(), { noNullPrototype: true }),
    bodies: fc.array(
      fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
      { maxLength: 3 },
    ),
  }),
});

test("gives back every message as it was", () => {
  fc.assert(
    fc.property(fc.array(named, { maxLength: 64 }), (messages) => {
      expect(readJoined(joinMessages(messages))).toEqual(messages);
    }),
  );
});

test.each<[string, unknown, number?]>([
  ["no list", {}],
  ["nothing", undefined],
  ["a part that is no list", [{}]],
  ["an id that is no word", [[1, "post", {}, 1]]],
  ["a kind that is no word", [["id", null, {}, 1]]],
  ["a head that is none", [["id", "post", [], 1]]],
  ["a count that is none", [["id", "post", {}, "1"]]],
  [
    "a count below nothing",
    [
      ["a", "post", {}, 2],
      ["b", "post", {}, -1],
    ],
  ],
  ["too few bodies", [["id", "post", {}, 2]]],
  ["too many bodies", [["id", "post", {}, 0]]],
  ["one that is joined itself", [["id", JOINED, { parts: [] }, 1]]],
  ["too many", Array.from({ length: 65 }, (_, at) => [`${at}`, "post", {}, at === 0 ? 1 : 0])],
])("takes nothing of a joined message with %s", (_what, parts) => {
  expect(readJoined({ kind: JOINED, head: { parts }, bodies: [Buffer.from("x")] })).toBeUndefined();
});

test("answers at once when all is done, with null for what nothing is said of", async () => {
  const outcomes = [
    Promise.resolve({ a: 1 }),
    Promise.resolve("silent" as const),
    Promise.resolve("refused" as const),
  ];
  expect(await answerJoined(outcomes)).toEqual({ answers: [{ a: 1 }, null, null] });
});

test("does not wait for what takes long", async () => {
  const outcomes = [new Promise<never>(() => undefined), Promise.resolve({ b: 2 })];
  expect(await answerJoined(outcomes)).toEqual({ answers: [null, { b: 2 }] });
});

test("reads answers, and null for what is none", () => {
  expect(readAnswers({ answers: [{ a: 1 }, null, 3, []] })).toEqual([{ a: 1 }, null, null, null]);
  expect(readAnswers({})).toEqual([]);
});
