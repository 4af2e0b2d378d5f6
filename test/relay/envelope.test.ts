import fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import {
  createRelayKey,
  fromBytes,
  fromText,
  openAnswer,
  openAsk,
  readAsk,
  sealAnswer,
  sealAsk,
  toBytes,
  toText,
} from "../../src/relay/envelope.ts";
import type { RelayMessage } from "../../src/relay/relay.ts";
import { forgePayload } from "./forge.ts";

const key = createRelayKey(["secret"]);
const route = { from: "one", to: "two", deadlineMs: 1000 };

const messages: fc.Arbitrary<RelayMessage> = fc.record({
  kind: fc.string({ unit: "binary" }),
  head: fc.dictionary(
    fc.string().filter((name) => name !== "__proto__"),
    fc.oneof(fc.string({ unit: "grapheme" }), fc.integer(), fc.boolean(), fc.constant(null)),
    { noNullPrototype: true },
  ),
  bodies: fc.array(fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes))),
});

test("gives back every message as it was, over both ways", () => {
  fc.assert(
    fc.property(messages, (message) => {
      const sealed = sealAsk(key, route, message);
      for (const carried of [fromBytes(toBytes(sealed)), fromText(toText(sealed))]) {
        const header = openAsk(key, carried.seal);
        expect(header && readAsk(header, carried.payload)).toEqual(message);
      }
    }),
  );
});

test("gives back every answer, with the message that it is for", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const sealed = sealAnswer(key, { id: "id", from: "two", to: "one" }, { text });
      for (const carried of [fromBytes(toBytes(sealed)), fromText(toText(sealed))]) {
        expect(openAnswer(key, carried)).toMatchObject({
          id: "id",
          from: "two",
          to: "one",
          answer: { text },
        });
      }
    }),
  );
});

test("is one line of printable ASCII where only text can go, and fits into an HTTP header", () => {
  const bodies = Array.from({ length: 5000 }, () => Buffer.from('{"text":"é\\n,"}\r\n'));
  const sealed = sealAsk(key, route, { kind: "研究\r\n", head: { long: "x".repeat(10_000) }, bodies });
  expect(toText(sealed)).toMatch(/^[\x20-\x7e]+$/);
  expect(sealed.seal).toMatch(/^[\x21-\x7e]{1,1000}$/);
});

test("takes any text and bytes for what they are, and throws at none", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      for (const { seal, payload } of [
        fromBytes(Buffer.from(bytes)),
        fromText(Buffer.from(bytes).toString()),
      ]) {
        expect(openAsk(key, seal)).toBeUndefined();
        expect(openAnswer(key, { seal, payload })).toBeUndefined();
      }
    }),
  );
});

test("does not open a message as an answer, nor an answer as a message", () => {
  const message = sealAsk(key, route, { kind: "x", head: {}, bodies: [] });
  const answer = sealAnswer(key, { id: "id", from: "two", to: "one" }, {});
  expect(openAnswer(key, { ...message, seal: message.seal.replace("ask.", "answer.") })).toBeUndefined();
  expect(openAsk(key, answer.seal.replace("answer.", "ask."))).toBeUndefined();
});

test("never gives two messages one id", () => {
  const seal = () => sealAsk(key, route, { kind: "x", head: {}, bodies: [] }).id;
  expect(new Set(Array.from({ length: 1000 }, seal)).size).toBe(1000);
});

test("makes another key of every other set of secrets, and one of the same", () => {
  const sets = [["a"], ["b"], ["a", "b"], ["b", "a"], ["ab"], ["a", "b", "a"], ["1:a1:b"]];
  const keys = sets.map((secrets) => createRelayKey(secrets).toString("hex"));
  expect(new Set(keys).size).toBe(sets.length);
  expect(createRelayKey(["a", Buffer.from("b")]).toString("hex")).toBe(keys[2]);
});

test("makes no key of nothing", () => {
  expect(() => createRelayKey([])).toThrow(ConfigError);
  expect(() => createRelayKey([""])).toThrow(ConfigError);
});

test.each([
  ["is no JSON", "{"],
  ["has no line end behind it", '{"head":{},"sizes":[]}', ""],
  ["is no object", "7"],
  ["is nothing", "null"],
  ["has no head", '{"sizes":[]}'],
  ["has null for a head", '{"head":null,"sizes":[]}'],
  ["has a list for a head", '{"head":[],"sizes":[]}'],
  ["has a word for a head", '{"head":"x","sizes":[]}'],
  ["has no sizes", '{"head":{}}'],
  ["has sizes that are no list", '{"head":{},"sizes":{"length":1}}'],
  ["has a size below nothing", '{"head":{},"sizes":[1,-1]}'],
  ["has a size that is a fraction", '{"head":{},"sizes":[0.5]}'],
  ["has a size that is a word", '{"head":{},"sizes":["1"]}'],
  ["has a size that no number can be", '{"head":{},"sizes":[1e30]}'],
  ["has a size that is nothing", '{"head":{},"sizes":[null]}'],
])("takes no message whose front %s, whoever has proven it", (_what, front, lineEnd = "\n") => {
  const sealed = sealAsk(key, route, { kind: "x", head: {}, bodies: [] });
  const forged = forgePayload(key, sealed, `${front}${lineEnd}ab`);
  const header = openAsk(key, forged.seal);
  expect(header).toBeDefined();
  expect(header && readAsk(header, forged.payload)).toBeUndefined();
});

test("takes a message whose front is whole, forged by the same means", () => {
  const sealed = sealAsk(key, route, { kind: "x", head: {}, bodies: [] });
  const forged = forgePayload(key, sealed, '{"head":{"a":1},"sizes":[1,0]}\nb');
  const header = openAsk(key, forged.seal);
  expect(header && readAsk(header, forged.payload)).toEqual({
    kind: "x",
    head: { a: 1 },
    bodies: [Buffer.from("b"), Buffer.alloc(0)],
  });
});
