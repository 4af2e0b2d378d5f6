import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { GatewayEvent } from "../../src/events.ts";
import { digestOf } from "../../src/keys/api-key.ts";
import { keysCommand } from "../../src/keys/command.ts";
import { loadKeysFile, printKeysFile } from "../../src/keys/keys-file.ts";
import { looksLikeKey } from "../../src/keys/mint.ts";

const HOUR = 3_600_000;
const START = Date.parse("2026-11-21T12:00:00Z");
let path = "";
let now = START;
let told: GatewayEvent[] = [];

beforeEach(async () => {
  const root = await mkdtemp(join(tmpdir(), "keys-command-"));
  path = join(root, "keys.json");
  now = START;
  told = [];
  onTestFinished(() => rm(root, { recursive: true, force: true }));
});

/** Runs `keys` with these words. */
async function keys(line: string, env: NodeJS.ProcessEnv = { MCP_API_KEYS_FILE: path }) {
  const printed = { out: "", err: "" };
  const scopeProblem = (scope: string) => (scope.includes("!") ? "names no server" : undefined);
  const args = line
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => word.replaceAll("+", " "));
  const code = await keysCommand(args, {
    stdout: { write: (text: string) => (printed.out += text) },
    stderr: { write: (text: string) => (printed.err += text) },
    ...{ env, now: () => now, scopeProblem, events: { emit: (event) => told.push(event) } },
  });
  return { code, ...printed };
}
const done = async (line: string) => {
  const { code, out, err } = await keys(line);
  expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
  return out.trim();
};
const held = () => loadKeysFile(path);
const states = async () =>
  (await done("list --json")).split("\n").map((line) => (JSON.parse(line) as { state: string }).state);

describe("keys create", () => {
  it("prints the key once and alone, and what to do with it beside", async () => {
    const { code, out, err } = await keys("create --caller ci --note for+CI");
    expect(code).toBe(0);
    expect(looksLikeKey(out.trimEnd())).toBe(true);
    const [key] = held().keys;
    expect(key).toMatchObject({ caller: "ci", digest: digestOf(out.trimEnd()) });
    expect(err).toContain(`Key ${key?.id} of ci was made. It is shown this once`);
    expect(err).toContain("does not end by itself");
    expect(err + (await readFile(path, "utf8")) + (await done("list"))).not.toContain(out.slice(9, 40));
  });

  it("prints one JSON object when asked", async () => {
    const out = JSON.parse(await done("create --caller ci --expires 90d --json")) as Record<string, unknown>;
    const [key] = held().keys;
    expect(out).toEqual({
      ...{ key: out["key"], id: key?.id, caller: "ci" },
      ...{ createdAt: "2026-11-21T12:00:00.000Z", expiresAt: "2027-02-19T12:00:00.000Z" },
    });
    expect(key).toMatchObject({ digest: digestOf(out["key"] as string), expiresAt: START + 90 * 24 * HOUR });
  });

  it("makes a caller with its scope and limit, and adds keys to one who is there", async () => {
    await done("create --caller ci --scope github+files/read_* --max-sessions 5");
    await done("create --caller ci --scope github+files/read_*");
    await done("create --caller other");
    expect(held().callers).toMatchObject([
      { name: "ci", scope: "github files/read_*", maxSessions: 5, keys: [{}, {}] },
      { name: "other", keys: [{}] },
    ]);
    const { code, err } = await keys("create --caller ci --scope *");
    expect([code, err]).toEqual([1, expect.stringContaining("another scope or limit")]);
    expect(held().keys).toHaveLength(3);
  });

  it.each([
    ["90d", START + 90 * 24 * HOUR],
    ["2w", START + 14 * 24 * HOUR],
    ["30s", START + 30_000],
    ["2027-01-31", Date.UTC(2027, 0, 31)],
    ["2027-01-31T06:30Z", Date.UTC(2027, 0, 31, 6, 30)],
    ["2027-01-31T06:30:15Z", Date.UTC(2027, 0, 31, 6, 30, 15)],
    ["never", undefined],
  ])("ends a key as --expires %s says", async (text, end) => {
    await done(`create --caller ci --expires ${text}`);
    expect(held().keys[0]?.expiresAt).toBe(end);
  });

  it("tells of a caller whose keys open nothing", async () => {
    await writeFile(path, printKeysFile([{ name: "ci", disabled: true, keys: [] }]));
    expect((await keys("create --caller ci")).err).toContain("ci is disabled in the file");
    expect(await states()).toEqual(["disabled"]);
  });
});

describe("keys list", () => {
  it("shows every key and its state, and never what opens", async () => {
    await done("create --caller ci --expires 1h --scope github --note for+CI");
    await done("create --caller other");
    now += HOUR;
    expect(await states()).toEqual(["expired", "active"]);
    const [first, second] = held().callers.flatMap((caller) => caller.keys);
    expect((await done("list")).split("\n")).toEqual([
      expect.stringMatching(/^ID +CALLER +STATE +CREATED +EXPIRES +SCOPE +NOTE$/),
      `${first?.id}  ci      expired  2026-11-21T12:00:00.000Z  2026-11-21T13:00:00.000Z  github  for CI`,
      `${second?.id}  other   active   2026-11-21T12:00:00.000Z  never                     -`,
    ]);
    for (const out of [await done("list"), await done("list --json")])
      for (const { hash } of [first, second] as { hash: string }[]) expect(out).not.toContain(hash.slice(7));
  });

  it("shows a caller who has no key", async () => {
    await writeFile(path, printKeysFile([{ name: "ci", scope: "a", keys: [] }]));
    expect(await states()).toEqual(["no key"]);
    expect(await done("list")).toContain("ci");
  });
});

describe("keys revoke", () => {
  it("removes one key by its id, and leaves the caller", async () => {
    await done("create --caller ci --scope a");
    await done("create --caller ci");
    const [first, second] = held().keys.map(({ id }) => id);
    expect(await done(`revoke ${first}`)).toBe(`revoked ${first} of ci`);
    expect(held().keys.map(({ id }) => id)).toEqual([second]);
    expect(await done(`revoke ${second} --json`)).toBe(
      JSON.stringify({ id: second, caller: "ci", revoked: true }),
    );
    expect(held().callers).toEqual([{ name: "ci", scope: "a", keys: [] }]);
    expect((await keys(`revoke ${second}`)).code).toBe(1);
  });

  it("removes all keys of a caller, but only when that is said twice", async () => {
    for (const caller of ["ci", "other", "ci"]) await done(`create --caller ${caller}`);
    const { code, err } = await keys("revoke --caller ci");
    expect([code, err]).toEqual([2, expect.stringContaining("Say --yes")]);
    expect(held().keys).toHaveLength(3);
    expect((await done("revoke --caller ci --yes")).split("\n")).toHaveLength(2);
    expect(held().keys.map(({ caller }) => caller)).toEqual(["other"]);
    expect((await keys("revoke --caller nobody --yes")).code).toBe(1);
  });

  it("takes no key for an id, and does not say it again", async () => {
    const key = await done("create --caller ci");
    const { code, err } = await keys(`revoke ${key}`);
    expect([code, err]).toEqual([2, expect.stringContaining("This is a key, not its id")]);
    expect(err).not.toContain(key.slice(9, 40));
  });
});

describe("keys rotate", () => {
  it("makes a new key, and lets the old ones go on for the overlap", async () => {
    await done("create --caller ci");
    now += HOUR;
    const { out, err } = await keys("rotate --caller ci");
    const [old, fresh] = held().keys;
    expect(old?.expiresAt).toBe(now + 24 * HOUR);
    expect(fresh).toMatchObject({ caller: "ci", digest: digestOf(out.trimEnd()) });
    expect(fresh?.expiresAt).toBeUndefined();
    expect(err).toContain(`Key ${old?.id} ends at 2026-11-22T13:00:00.000Z`);
  });

  it("never puts an end off, and drops what has ended", async () => {
    await done("create --caller ci --expires 1h");
    await done("create --caller ci --expires 2h");
    now += HOUR;
    await done("rotate --caller ci --overlap 7d --expires 90d");
    expect(held().keys.map(({ expiresAt }) => expiresAt)).toEqual([START + 2 * HOUR, now + 90 * 24 * HOUR]);
  });

  it("ends the old key at once when the overlap is none", async () => {
    await done("create --caller ci");
    await done("rotate --caller ci --overlap 0s");
    expect(await states()).toEqual(["expired", "active"]);
  });

  it("asks for an end when the key that it replaces has one", async () => {
    await done("create --caller ci --expires 90d");
    const { code, err } = await keys("rotate --caller ci");
    expect([code, err]).toEqual([1, expect.stringContaining("Say when the new one ends")]);
    await done("rotate --caller ci --expires never");
    // What an overlap has ended was no choice of the operator's.
    now += 1;
    await done("rotate --caller ci");
    expect(held().keys).toHaveLength(3);
  });

  it("replaces nothing where nothing opens", async () => {
    await done("create --caller ci --expires 1h");
    now += HOUR;
    for (const caller of ["ci", "nobody"]) {
      const { code, err } = await keys(`rotate --caller ${caller}`);
      expect([code, err]).toEqual([1, expect.stringContaining("has no key to replace")]);
    }
    expect(held().keys).toHaveLength(1);
  });
});

describe("keys", () => {
  it.each([
    "",
    "creat",
    "constructor",
    "create",
    "create --caller Ci",
    "create --caller ci --expires soon",
    "create --caller ci --expires 2020-01-01",
    "create --caller ci --expires 2027-02-30",
    "create --caller ci --expires 101w9",
    "create --caller ci --max-sessions 0",
    "create --caller ci --max-sessions 1e3",
    "create --caller ci --scope !",
    "create --caller ci --note a\nb",
    "create --caller ci more",
    "create --caller ci --overlap 1h",
    "list --caller ci",
    "revoke",
    "revoke x",
    "revoke k_000000000000 --caller ci",
    "revoke k_000000000000 k_000000000001",
    "rotate --caller ci --overlap soon",
    "list --canary-value",
  ])("answers 2 to %j, and makes no file", async (line) => {
    const { code, out, err } = await keys(line);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(/\w+.*\n$/);
    await expect(readFile(path)).rejects.toThrow("ENOENT");
  });

  it("takes the file from --file before the environment, and asks for one", async () => {
    expect(await keys("list", {})).toMatchObject({
      code: 2,
      err: expect.stringContaining("MCP_API_KEYS_FILE") as string,
    });
    expect(await keys("list --file /nowhere/keys.json")).toMatchObject({
      code: 1,
      err: "MCP_API_KEYS_FILE: there is no such file.\n",
    });
    expect(
      (await keys(`create --caller ci --file ${path}`, { MCP_API_KEYS_FILE: "/nowhere/keys.json" })).code,
    ).toBe(0);
    expect(held().keys).toHaveLength(1);
  });

  it("answers 1 for a file that is damaged, whatever it is to do", async () => {
    await writeFile(path, "{}");
    for (const line of ["list", "create --caller ci", "rotate --caller ci", "revoke k_000000000000"])
      expect(await keys(line), line).toMatchObject({ code: 1, out: "" });
    expect(await readFile(path, "utf8")).toBe("{}");
  });

  it("tells of each change that was made or failed, and of nothing else", async () => {
    const key = await done("create --caller ci");
    const id = held().keys[0]?.id;
    for (const line of ["list", `revoke ${key}`, "revoke --caller ci", `revoke ${id}`, "rotate --caller ci"])
      await keys(line);
    const by = (action: string, target: unknown, outcome: string) => ({
      ...{ type: "operator_action", action: `keys_${action}`, target, outcome },
    });
    expect(told).toEqual([
      by("create", "ci", "done"),
      by("revoke", id, "done"),
      by("rotate", "ci", "failed"),
    ]);
  });

  it("shows help with examples first", async () => {
    for (const line of ["--help", "help", "create --help", "list -h"]) {
      const { code, out } = await keys(line, {});
      expect([code, out.split("\n")[2]]).toEqual([0, expect.stringContaining("mcp-sse-gateway keys create")]);
    }
  });
});
