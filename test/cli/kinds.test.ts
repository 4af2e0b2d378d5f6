import { expect, test } from "vitest";
import { holdSame } from "../../src/cli/kinds.ts";

const client = (fields: Record<string, string>) => ({
  key: "client:mark",
  value: new Map(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text)])),
  ttlMs: 1000,
});

test("two stores hold the same of a client, though each noted for itself when", () => {
  const one = client({ "s:1": "2026-11-21T10:00:00.000Z", initialize: "{}" });
  expect(holdSame(one, client({ "s:1": "2026-11-21T10:00:00.003Z", initialize: "{}" }))).toBe(true);
  expect(holdSame(one, client({ "s:1": "2026-11-21T10:00:00.000Z", initialize: "[]" }))).toBe(false);
  expect(holdSame(one, client({ "s:2": "2026-11-21T10:00:00.000Z", initialize: "{}" }))).toBe(false);
});
