import { expect, test } from "vitest";

import { replyFailure, StoreFailure, toFailure, unavailable } from "../../src/session-store/store-failure.ts";

test.each([
  ["WRONGPASS invalid username-password pair or user is disabled.", "credentials", "WRONGPASS"],
  ["NOAUTH HELLO must be called with the client already authenticated", "credentials", "NOAUTH"],
  ["ERR invalid password", "credentials", "invalid"],
  ["Unauthorized", "credentials", "Unauthorized"],
  ["NOPERM this user has no permissions to run the 'set' command", "credentials", "NOPERM"],
  ["ERR max requests limit exceeded. Limit: 500000, Usage: 500001.", "quota", "QUOTA"],
  ["ERR max daily request limit exceeded. Limit: 10000, Usage: 10001.", "quota", "QUOTA"],
  ["Command 2 [ getex ] failed: ERR max requests limit exceeded.", "quota", "QUOTA"],
  ["Command 2 [ getex ] failed: WRONGTYPE Operation against a key", "refused", "WRONGTYPE"],
  ["OOM command not allowed when used memory > 'maxmemory'.", "refused", "OOM"],
  ["LOADING Redis is loading the dataset in memory", "refused", "LOADING"],
  ["canary said something", "refused", "ERR"],
  ["", "refused", "ERR"],
])("reads the reply %j as %s", (text, kind, code) => {
  expect(replyFailure(text)).toMatchObject({ kind, code });
});

test.each(["https://canary.example", 'SET "canary"', "canary with spaces", "x".repeat(41), ""])(
  "keeps the code %j out of its words",
  (code) => {
    expect(new StoreFailure("unreachable", code)).toMatchObject({
      code: "unknown",
      message: "the store cannot be reached (unknown)",
    });
  },
);

test("finds the failure behind an error, and keeps none of a library's words", () => {
  const failure = new StoreFailure("quota", "QUOTA");
  expect(toFailure(failure)).toBe(failure);
  expect(toFailure(unavailable(failure))).toBe(failure);
  const refused = Object.assign(new Error("connect ECONNREFUSED canary"), { code: "ECONNREFUSED" });
  expect(toFailure(refused)).toMatchObject({ kind: "unreachable", code: "ECONNREFUSED" });
  expect(toFailure(refused).message).not.toContain("canary");
  expect(toFailure(undefined)).toMatchObject({ kind: "unreachable", code: "undefined" });
});
