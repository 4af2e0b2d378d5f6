import fc from "fast-check";
import { expect, test } from "vitest";

import {
  decodeLease,
  decodeRecord,
  encodeLease,
  encodeRecord,
} from "../../src/session-store/record-codec.ts";
import { aLease, aRecord } from "./records.ts";

const records = fc
  .record({
    owner: fc.string({ unit: "binary" }),
    epoch: fc.maxSafeInteger(),
    client: fc.record({ userAgent: fc.string(), address: fc.string() }),
    initialize: fc.jsonValue({ maxDepth: 4 }),
  })
  .map(aRecord);

test("encodes a decoded record to the very text it came from", () => {
  fc.assert(
    fc.property(records, (record) => {
      const text = encodeRecord(record);
      const decoded = decodeRecord(text, record.id);
      expect(decoded && encodeRecord(decoded)).toBe(text);
    }),
  );
});

test("encodes by the names of the members, not by their order", () => {
  const record = aRecord({ initialize: { a: 1 } });
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
