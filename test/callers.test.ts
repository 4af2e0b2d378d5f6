import { describe, expect, it } from "vitest";
import { Callers, scopesOf, type CallersConfig } from "../src/callers.ts";
import { ConfigError } from "../src/errors.ts";
import type { GatewayEvent } from "../src/events.ts";
import { digestOf, type ApiKey } from "../src/keys/api-key.ts";
import type { CallerEntry } from "../src/keys/key-entries.ts";
import { mintKey } from "../src/keys/mint.ts";
import { printKeysFile, readKeysFile } from "../src/keys/keys-file.ts";
import { parseScope, type Scope } from "../src/upstream/scope.ts";
import { CREATED, entry } from "./keys/entries.ts";

const keyOf = (caller: string, text = `key of ${caller}`): ApiKey => {
  return { id: `e_${caller}`, caller, digest: digestOf(text) };
};
const fileOf = (...callers: CallerEntry[]) => readKeysFile(printKeysFile(callers));
const named = (scopes: Record<string, string>): Map<string, Scope> =>
  new Map(Object.entries(scopes).map(([name, words]) => [name, parseScope(words) as Scope]));

function callersWith(config: Partial<CallersConfig> = {}) {
  const events: GatewayEvent[] = [];
  const callers = new Callers(
    { keys: [], scopes: undefined, file: { keys: [], callers: [] }, maxSessionsPerCaller: 50, ...config },
    { emit: (event) => void events.push(event) },
  );
  return { callers, events };
}

/** What a caller may use, as far as it shows here. */
function mayUse(scopes: ReadonlyMap<string, Scope> | undefined, name: string): string {
  if (scopes === undefined) return "everything";
  const scope = scopes.get(name);
  if (scope === undefined) return "nothing";
  if (scope.isWhole("any")) return "everything";
  return ["files", "github"].filter((server) => scope.mayUseServer(server)).join(" ");
}

describe("what callers may use", () => {
  it("is everything while neither the settings nor the file say anything else", () => {
    const { callers } = callersWith({ keys: [keyOf("default")], file: fileOf({ name: "ci", keys: [] }) });
    expect(callers.scopes).toBeUndefined();
  });

  it("is what the file says, and everything for those of whom it says nothing, without scopes in the settings", () => {
    const file = fileOf({ name: "ci", scope: "files", keys: [] }, { name: "free", keys: [] });
    const { scopes } = callersWith({ keys: [keyOf("default")], file }).callers;
    expect(["ci", "free", "default"].map((name) => mayUse(scopes, name))).toEqual([
      "files",
      "everything",
      "everything",
    ]);
    expect(mayUse(scopes, "stranger")).toBe("nothing");
  });

  it("is what the file says where the settings say something else", () => {
    const file = fileOf({ name: "default", scope: "files", keys: [] });
    const scopes = named({ default: "github", ci: "github" });
    const { callers } = callersWith({ keys: [keyOf("default")], file, scopes });
    expect(["default", "ci"].map((name) => mayUse(callers.scopes, name))).toEqual(["files", "github"]);
  });

  it("is what the settings say for a caller of the file without a scope of its own", () => {
    const file = fileOf({ name: "ci", keys: [] });
    expect(mayUse(callersWith({ file, scopes: named({ ci: "github" }) }).callers.scopes, "ci")).toBe(
      "github",
    );
  });

  it("is nothing for a caller of the file whom neither names, once the settings have scopes", () => {
    const file = fileOf({ name: "ci", keys: [] }, { name: "scoped", scope: "*", keys: [] });
    const { callers } = callersWith({ file, scopes: named({ default: "*" }) });
    expect(mayUse(callers.scopes, "ci")).toBe("nothing");
    expect(mayUse(callers.scopes, "scoped")).toBe("everything");
  });

  it("is nothing for words that cannot be read, whatever the settings say", () => {
    const callers = [{ name: "ci", scope: "../files", keys: [] }];
    for (const scopes of [undefined, named({ ci: "github" })])
      expect(mayUse(scopesOf({ keys: [keyOf("ci")], scopes }, callers), "ci")).toBe("nothing");
  });

  it("is not widened for one by what the file says of another", () => {
    const before = named({ default: "github" });
    const file = fileOf({ name: "ci", scope: "*", keys: [] });
    const { callers } = callersWith({ keys: [keyOf("default")], file, scopes: before });
    expect(mayUse(callers.scopes, "default")).toBe("github");
    expect([...before.keys()]).toEqual(["default"]);
  });
});

describe("how many sessions a caller may have", () => {
  it("is what the file says of it, and else what the settings say of all", () => {
    const file = fileOf({ name: "ci", maxSessions: 3, keys: [] }, { name: "free", keys: [] });
    const { callers } = callersWith({ keys: [keyOf("default")], file });
    expect(["ci", "free", "default"].map((name) => callers.maxSessionsOf(name))).toEqual([3, 50, 50]);
  });

  it("follows the file", () => {
    const { callers } = callersWith({ file: fileOf({ name: "ci", maxSessions: 3, keys: [] }) });
    callers.replace(fileOf({ name: "ci", maxSessions: 7, keys: [] }));
    expect(callers.maxSessionsOf("ci")).toBe(7);
    callers.replace(fileOf({ name: "other", keys: [] }));
    expect(callers.maxSessionsOf("ci")).toBe(50);
  });
});

describe("another keys file", () => {
  it("adds and removes its own keys, and leaves those of the settings", () => {
    const [one, two] = [mintKey(), mintKey()];
    const key = ({ id, hash }: typeof one) => ({ id, hash, createdAt: CREATED });
    const { callers, events } = callersWith({
      keys: [keyOf("default")],
      file: fileOf({ name: "ci", keys: [key(one)] }),
    });
    const { added, removed } = callers.replace(fileOf({ name: "ci", keys: [key(two)] }));
    expect([added.map(({ id }) => id), removed.map(({ id }) => id)]).toEqual([[two.id], [one.id]]);
    const open = [one.key, two.key, "key of default"].map((text) => callers.ring.find(text)?.caller);
    expect(open).toEqual([undefined, "ci", "default"]);
    expect(events).toEqual([
      { type: "key_removed", caller: "ci", key: one.id },
      { type: "key_added", caller: "ci", key: two.id },
    ]);
  });

  it("takes the keys of a caller who is disabled now, and keeps its scope and limit", () => {
    const own = entry();
    const ci = { name: "ci", scope: "files", maxSessions: 3, keys: [own] };
    const { callers } = callersWith({ file: fileOf(ci) });
    const { removed, rescoped } = callers.replace(fileOf({ ...ci, disabled: true }));
    expect(removed.map(({ id }) => id)).toEqual([own.id]);
    expect(rescoped).toEqual([]);
    expect([mayUse(callers.scopes, "ci"), callers.maxSessionsOf("ci")]).toEqual(["files", 3]);
  });

  it("is refused as a whole when its keys cannot stand beside those of the settings", () => {
    const shared = mintKey();
    const before = { name: "ci", scope: "files", maxSessions: 3, keys: [entry()] };
    const { callers, events } = callersWith({
      keys: [keyOf("default", shared.key)],
      file: fileOf(before),
    });
    const twin = { id: shared.id, hash: shared.hash, createdAt: CREATED };
    const next = fileOf({ name: "ci", scope: "*", maxSessions: 9, keys: [twin] });
    expect(() => callers.replace(next)).toThrow(ConfigError);
    expect([mayUse(callers.scopes, "ci"), callers.maxSessionsOf("ci")]).toEqual(["files", 3]);
    expect(callers.ring.find(shared.key)?.caller).toBe("default");
    expect(callers.ring.isActive((before.keys[0] as { id: string }).id)).toBe(true);
    expect(events).toEqual([]);
  });

  it("names those whose scope came, changed or went, and nobody else", () => {
    const same = { name: "same", scope: "files", keys: [] };
    const { callers } = callersWith({
      file: fileOf(
        same,
        { name: "came", keys: [] },
        { name: "changed", scope: "files", keys: [] },
        { name: "went", scope: "files", keys: [] },
        { name: "gone", scope: "files", keys: [] },
        { name: "quiet", keys: [] },
      ),
    });
    const { rescoped } = callers.replace(
      fileOf(
        { ...same, maxSessions: 3, keys: [entry()] },
        { name: "came", scope: "files", keys: [] },
        { name: "changed", scope: "files github", keys: [] },
        { name: "went", keys: [] },
        { name: "new", scope: "files", keys: [] },
      ),
    );
    expect(rescoped.toSorted()).toEqual(["came", "changed", "gone", "new", "went"]);
    expect(mayUse(callers.scopes, "changed")).toBe("files github");
    expect(mayUse(callers.scopes, "went")).toBe("everything");
    expect(mayUse(callers.scopes, "gone")).toBe("nothing");
  });
});
