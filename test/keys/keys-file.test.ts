import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadKeysFile, printKeysFile, readKeysFile } from "../../src/keys/keys-file.ts";
import { anyCallers, CREATED, entry } from "./entries.ts";

const NOTHING = { callers: [], keys: [] };
const [one, two] = [entry(), entry()];
const file = (callers: unknown, more: object = {}) => JSON.stringify({ version: 1, callers, ...more });
const withKey = (key: object) => file({ ci: { keys: [key] } });
const problemsOf = (text: string) => {
  const read = readKeysFile(text);
  if (read.problems.length > 0) expect(read).toMatchObject(NOTHING);
  return read.problems;
};

describe("readKeysFile", () => {
  it("reads callers with their scopes and limits, and keys with their callers and ends", () => {
    const scope = "github files/read_*";
    const read = readKeysFile(
      file({
        ci: {
          scope,
          maxSessions: 5,
          keys: [{ ...one, expiresAt: "2027-01-31T12:00:00Z", note: "für CI" }, two],
        },
        gone: { keys: [] },
        off: { disabled: true, keys: [entry()] },
      }),
    );
    expect(read.problems).toEqual([]);
    expect(read.callers.map(({ name }) => name)).toEqual(["ci", "gone", "off"]);
    expect(read.callers[0]).toMatchObject({ scope, maxSessions: 5 });
    expect(read.callers[2]?.disabled).toBe(true);
    const digest = (hash: string) => Buffer.from(hash.slice(7), "hex");
    expect(read.keys).toEqual([
      { id: one.id, caller: "ci", digest: digest(one.hash), expiresAt: Date.UTC(2027, 0, 31, 12) },
      { id: two.id, caller: "ci", digest: digest(two.hash) },
    ]);
  });

  it("reads back every file that can be printed", () => {
    fc.assert(
      fc.property(anyCallers, (callers) => {
        const text = printKeysFile(callers);
        const read = readKeysFile(text);
        expect(read.problems).toEqual([]);
        expect(new Map(read.callers.map((caller) => [caller.name, caller]))).toEqual(
          new Map(callers.map((caller) => [caller.name, caller])),
        );
        expect(printKeysFile(read.callers)).toBe(text);
      }),
    );
  });

  it("SEC-04 answers a problem for whatever is no keys file, and never a key with it", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.json().map((text) => `{"version":1,"callers":${text}}`),
        ),
        (text) => {
          expect(problemsOf(text).length).toBeGreaterThan(0);
        },
      ),
    );
  });

  it.each([
    ["", "it is empty"],
    [" \n", "it is empty"],
    ["{", "it is not JSON"],
    ["[]", "must be an object"],
    [JSON.stringify({ callers: { ci: { keys: [] } } }), "version must be 1"],
    [file({ ci: { keys: [] } }, { version: 2 }), "version must be 1"],
    [file({ ci: { keys: [] } }, { caller: {} }), "caller is not known here"],
    [file({}), "names no caller"],
    [file([]), "callers must be an object"],
    [file({ ci: [] }), "caller ci: must be an object"],
    [file({ ci: {} }), "caller ci: keys must be a list"],
    [file({ ci: { keys: [], scopes: "x" } }), "caller ci: scopes is not known here"],
    [file({ ci: { keys: [], scope: 1 } }), "caller ci: scope must be one line"],
    [file({ ci: { keys: [], scope: "a\nb" } }), "caller ci: scope must be one line"],
    [file({ ci: { keys: [], maxSessions: 0 } }), "caller ci: maxSessions must be a whole number"],
    [file({ ci: { keys: [], maxSessions: "5" } }), "caller ci: maxSessions must be a whole number"],
    [file({ ci: { keys: [], disabled: false } }), "caller ci: disabled must be true"],
    [file({ ci: { keys: [], disabled: "true" } }), "caller ci: disabled must be true"],
    [file({ Ci: { keys: [] } }), "caller 1: a name is"],
    [file({ [`a${"b".repeat(32)}`]: { keys: [] } }), "caller 1: a name is"],
    ['{"version":1,"callers":{"__proto__":{"keys":[]}}}', "caller 1: a name is"],
    [file({ ci: { keys: [1] } }), "caller ci, key 1: must be an object"],
    [withKey({ ...one, key: "x" }), "caller ci, key 1: key is not known here"],
    [withKey({ ...one, id: undefined }), "caller ci, key 1: id is missing"],
    [withKey({ ...one, id: "k_1" }), "caller ci, key 1: id must be"],
    [withKey({ ...one, id: null }), "caller ci, key 1: id must be"],
    [withKey({ ...one, hash: one.hash.slice(7) }), "caller ci, key 1: hash must be"],
    [withKey({ ...one, hash: one.hash.toUpperCase() }), "caller ci, key 1: hash must be"],
    [withKey({ ...one, createdAt: undefined }), "caller ci, key 1: createdAt is missing"],
    [withKey({ ...one, expiresAt: "2027-02-30T00:00:00Z" }), "caller ci, key 1: expiresAt must be"],
    [withKey({ ...one, expiresAt: "2027-01-31" }), "caller ci, key 1: expiresAt must be"],
    [withKey({ ...one, expiresAt: "2027-01-31T00:00:00" }), "caller ci, key 1: expiresAt must be"],
    [withKey({ ...one, expiresAt: 1_800_000_000 }), "caller ci, key 1: expiresAt must be"],
    [withKey({ ...one, note: "a\u001b[2Jb" }), "caller ci, key 1: note must be one line"],
    [withKey({ ...one, note: "x".repeat(201) }), "caller ci, key 1: note must be one line"],
    [
      file({ a: { keys: [one] }, b: { keys: [{ ...two, id: one.id }] } }),
      "its id is that of caller a, key 1",
    ],
    [
      file({ a: { keys: [one] }, b: { keys: [{ ...two, hash: one.hash }] } }),
      "its hash is that of caller a, key 1",
    ],
    [`{"version":1,"callers":{"ci":{"keys":[]},"ci":{"keys":[]}}}`, "ci stands twice"],
    [
      `{"version":1,"callers":{"ci":{"disabled":true,"keys":[],"d\\u0069sabled":true}}}`,
      "disabled stands twice",
    ],
    [`{"version":1,"callers":{"ci":{"keys":[]}},"callers":{"ci":{"keys":[]}}}`, "callers stands twice"],
  ])("SEC-05 refuses %s", (text, words) => {
    expect(problemsOf(text).join("\n")).toContain(words);
  });

  it("asks what a scope's words mean, and says what is wrong with them", () => {
    const scopeProblem = (scope: string) => (scope === "good" ? undefined : "names no server");
    const text = (scope: string) => file({ ci: { scope, keys: [] } });
    expect(readKeysFile(text("good"), scopeProblem).problems).toEqual([]);
    expect(readKeysFile(text("bad"), scopeProblem).problems).toEqual([
      "MCP_API_KEYS_FILE, caller ci: scope names no server.",
    ]);
  });

  it("tells all problems at once, up to a hundred of them", () => {
    const wrong = {
      keys: [
        { ...one, id: "x" },
        { ...two, hash: "x" },
      ],
      scope: 1,
    };
    expect(problemsOf(file({ a: wrong, b: { keys: [{}] } }))).toHaveLength(4);
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`c${index}`, 1]));
    expect(problemsOf(file(many))).toHaveLength(100);
  });

  it("takes a thousand keys and not one more", () => {
    const keys = Array.from({ length: 1001 }, () => entry());
    expect(problemsOf(file({ ci: { keys: keys.slice(1) } }))).toEqual([]);
    expect(problemsOf(file({ ci: { keys } }))).toEqual([expect.stringContaining("at most 1000")]);
  });

  it("SEC-05 no problem ever says a value, also not of a key in the wrong place", () => {
    const secret = "mgw_live_canary0123456789canary0123456789";
    const wrong = {
      id: secret,
      hash: secret,
      createdAt: secret,
      expiresAt: secret,
      note: `${secret}\n`,
      [secret]: 1,
    };
    for (const text of [
      file({
        ci: { keys: [wrong], scope: `${secret}\n`, [secret]: secret, maxSessions: secret, disabled: secret },
      }),
      file({ [secret]: { keys: [wrong] } }),
      file({ ci: secret }, { [secret]: secret }),
      `{"version":1,"callers":{"ci":{"keys":["${secret}"]}},"${secret}":1,"${secret}":2}`,
      `${secret} ${CREATED}`,
    ]) {
      const told = problemsOf(text).join("\n");
      expect(told).not.toBe("");
      expect(told).not.toContain("canary");
    }
  });
});

it("that a file is missing or cannot be read is a problem like any other", () => {
  expect(loadKeysFile("/nowhere/keys.json")).toEqual({
    ...NOTHING,
    problems: ["MCP_API_KEYS_FILE: there is no such file."],
  });
  expect(loadKeysFile("/").problems).toEqual(["MCP_API_KEYS_FILE: it is there and cannot be read."]);
});
