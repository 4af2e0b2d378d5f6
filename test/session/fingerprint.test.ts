import { expect, it } from "vitest";
import { fingerprint, type Visitor } from "../../src/session/fingerprint.ts";

const visitor: Visitor = {
  caller: "alice",
  server: "s",
  userAgent: "ua",
  address: "1.2.3.4",
  clientId: undefined,
};

it("is the same for the same client, and short enough for a key", () => {
  expect(fingerprint({ ...visitor })).toBe(fingerprint(visitor));
  expect(fingerprint(visitor)).toMatch(/^[\w-]{32}$/);
});

it("is the name's alone where a client has one: it may change its program and address", () => {
  const named = { ...visitor, clientId: "laptop" };
  expect(fingerprint({ ...named, userAgent: "other", address: "::1" })).toBe(fingerprint(named));
});

it("is never equal for two clients, whatever they call themselves: not across callers or servers", () => {
  const texts = ["", "a", "b", "ab", "a,b", '"', '","', "[", "null", "undefined", "s", "ua"];
  const marks = new Map<string, string>();
  for (const caller of texts)
    for (const server of texts)
      for (const first of texts)
        for (const second of [...texts, undefined]) {
          const who =
            second === undefined
              ? { caller, server, userAgent: "x", address: "y", clientId: first }
              : { caller, server, userAgent: first, address: second, clientId: undefined };
          const mark = fingerprint(who);
          const client = JSON.stringify([caller, server, who]);
          expect(marks.get(mark) ?? client).toBe(client);
          marks.set(mark, client);
        }
  expect(marks.size).toBe(texts.length ** 3 * (texts.length + 1));
});

it("tells a client that names itself from one whose program and address read the same", () => {
  const named = { ...visitor, clientId: "ua" };
  expect(fingerprint(named)).not.toBe(fingerprint(visitor));
});
