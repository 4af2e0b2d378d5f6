import fc from "fast-check";
import { expect, test } from "vitest";

import {
  decodeLease,
  decodeRecord,
  encodeLease,
  encodeRecord,
} from "../../src/session-store/record-codec.ts";
import { aLease, aRecord } from "./records.ts";

const known = {
  owner: fc.string({ unit: "binary" }),
  epoch: fc.maxSafeInteger(),
  client: fc.record(
    { userAgent: fc.string(), address: fc.string(), clientId: fc.string() },
    { requiredKeys: ["userAgent", "address"] },
  ),
};
const optional = {
  initialize: fc.jsonValue({ maxDepth: 4 }),
  logLevel: fc.jsonValue({ maxDepth: 2 }),
  subscriptions: fc.array(fc.string({ unit: "binary" })),
  released: fc.constant(true as const),
};
const records = fc
  .record({ ...known, ...optional }, { requiredKeys: ["owner", "epoch", "client"] })
  .map(aRecord);

test("encodes a decoded record to the very text it came from", () => {
  fc.assert(
    fc.property(records, (record) => {
      const text = encodeRecord(record);
      const decoded = decodeRecord(text, record.id);
      expect(decoded).toEqual(JSON.parse(text));
      expect(decoded && encodeRecord(decoded)).toBe(text);
    }),
  );
});

test("encodes by the names of the members, not by their order", () => {
  const record = aRecord({
    initialize: { a: 1 },
    logLevel: { level: "debug" },
    subscriptions: ["b", "a"],
    released: true,
  });
  const reversed = Object.fromEntries(Object.entries(record).reverse()) as unknown as typeof record;
  expect(encodeRecord(reversed)).toBe(encodeRecord(record));
});

test("decodes no text at all into something else than a record or undefined", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.anything()), (text) => {
      expect(decodeRecord(text, "x")).toBeUndefined();
      expect(decodeLease(text, "x")).toBeUndefined();
    }),
  );
});

test.each(Object.keys(aRecord()))("decodes no record without its %s", (member) => {
  const record = aRecord();
  expect(decodeRecord(JSON.stringify({ ...record, [member]: undefined }), record.id)).toBeUndefined();
  expect(decodeRecord(JSON.stringify({ ...record, [member]: [7] }), record.id)).toBeUndefined();
});

test.each([
  ["logLevel", null],
  ["logLevel", "debug"],
  ["subscriptions", []],
  ["subscriptions", ["file:///a"]],
  ["released", true],
])("decodes a record whose %s is %j, and one without it to the same without it", (member, value) => {
  const record = aRecord({ [member]: value });
  expect(decodeRecord(encodeRecord(record), record.id)).toStrictEqual(record);
  const without = aRecord({ ...record, [member]: undefined });
  expect(decodeRecord(encodeRecord(without), record.id)).not.toHaveProperty(member);
});

test.each([
  ["subscriptions", "file:///a"],
  ["subscriptions", ["file:///a", 7]],
  ["subscriptions", { "0": "file:///a" }],
  ["subscriptions", null],
  ["released", false],
  ["released", "true"],
  ["released", null],
])("decodes no record whose %s is %j", (member, value) => {
  const record = aRecord();
  expect(decodeRecord(JSON.stringify({ ...record, [member]: value }), record.id)).toBeUndefined();
});

test.each([null, 7, ["a"]])("decodes no record whose clientId is %j", (clientId) => {
  const record = aRecord();
  const client = { ...record.client, clientId };
  expect(decodeRecord(JSON.stringify({ ...record, client }), record.id)).toBeUndefined();
});

test("decodes a record with 200,000 subscriptions, and does not overflow", () => {
  const record = aRecord({ subscriptions: Array.from({ length: 200_000 }, (_, at) => `${at}`) });
  expect(decodeRecord(encodeRecord(record), record.id)).toEqual(record);
});

test("decodes a lease with the address of its relay, and none whose address is no text", () => {
  const lease = aLease({ relay: "http://10.0.0.5:3000" });
  expect(decodeLease(encodeLease(lease), lease.id)).toStrictEqual(lease);
  expect(decodeLease(encodeLease(aLease({ id: lease.id })), lease.id)).not.toHaveProperty("relay");
  expect(decodeLease(JSON.stringify({ ...lease, relay: 7 }), lease.id)).toBeUndefined();
  expect(decodeLease(JSON.stringify({ ...lease, relay: null }), lease.id)).toBeUndefined();
});

test("decodes no lease in a state that nobody knows", () => {
  const lease = aLease();
  expect(decodeLease(JSON.stringify({ ...lease, state: "asleep" }), lease.id)).toBeUndefined();
});

test.each(Object.keys(aLease()))("decodes no lease without its %s", (member) => {
  const lease = aLease();
  expect(decodeLease(encodeLease(lease), lease.id)).toEqual(lease);
  expect(decodeLease(JSON.stringify({ ...lease, [member]: undefined }), lease.id)).toBeUndefined();
  expect(decodeLease(JSON.stringify({ ...lease, [member]: [7] }), lease.id)).toBeUndefined();
});
