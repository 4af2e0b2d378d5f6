import { describe, expect, it } from "vitest";

import type { Entry } from "../../src/session-store/archive.ts";
import { anArchive, failFrom } from "./an-archive.ts";
import { aHash, aSession, aTerminal } from "./a-terminal.ts";

const PAIR = ["verify", "--to", "env:OTHER"];

function twoStores(...both: Entry[]) {
  const env = anArchive();
  const other = anArchive();
  env.put(...both);
  other.put(...both);
  return { env, other };
}

describe("verify", () => {
  it("answers 0 when both hold the same, whatever their expiries and leases", async () => {
    const stores = twoStores(...Array.from({ length: 120 }, () => aSession()), aHash("caller:ada"));
    stores.other.put({ ...aHash("caller:ada"), ttlMs: 5 }, { key: "instance:i", value: "{}", ttlMs: 1000 });
    stores.env.put(aHash("caller:ada"));
    stores.other.put({ ...aHash("caller:ada"), ttlMs: 9_000_000 });
    const terminal = aTerminal(stores);
    expect(await terminal.run(...PAIR, "--batch", "50")).toBe(0);
    expect(terminal.out()).toMatch(/^Both stores hold the same\.\n {2}session {2}120 compared, 0 missing/);
  });

  it("counts what is missing, different and extra by kind, and answers 1", async () => {
    const changed = aSession();
    const stores = twoStores(aSession(), changed, aHash("journal:x:0"), aHash("caller:bob"));
    const [missing, extra] = [aSession(), aHash("client:f")];
    stores.env.put(
      missing,
      aHash("journal:x:0", { field: "other" }),
      aHash("caller:bob", { field: "ä", more: "" }),
    );
    stores.other.put(extra, { ...changed, value: aSession({ id: changed.key.slice(8), epoch: 1 }).value });
    const terminal = aTerminal(stores);
    expect(await terminal.run(...PAIR, "--json")).toBe(1);
    const { kinds, same, examples } = JSON.parse(terminal.out()) as {
      kinds: object;
      same: boolean;
      examples: string[];
    };
    expect(same).toBe(false);
    expect(kinds).toEqual({
      "session:": { compared: 3, missing: 1, different: 1, extra: 0 },
      "client:": { compared: 0, missing: 0, different: 0, extra: 1 },
      "journal:": { compared: 1, missing: 0, different: 1, extra: 0 },
      "caller:": { compared: 1, missing: 0, different: 1, extra: 0 },
    });
    expect(examples).toContain(missing.key);
  });

  it("looks again at what changed between its two looks", async () => {
    const [early, late, ended] = [aSession(), aSession(), aSession()];
    const stores = twoStores(early);
    stores.env.put(late, ended);
    stores.other.before = (verb) => {
      if (verb !== "readKeys" || stores.other.commands > 1) return;
      // The destination is looked at now: one comes too late for it, one ends.
      queueMicrotask(() => {
        stores.other.put(late);
        stores.env.held.delete(ended.key);
      });
    };
    expect(await aTerminal(stores).run(...PAIR)).toBe(0);
  });

  it("answers 3 when one of the two goes away, and names it", async () => {
    const stores = twoStores(aSession());
    failFrom(stores.other, "readKeys", 1);
    const terminal = aTerminal(stores);
    expect(await terminal.run(...PAIR)).toBe(3);
    expect(terminal.err()).toMatch(/redis:\/\/other:6379: the store cannot be reached/);
    expect(stores.env.closed && stores.other.closed).toBe(true);
  });

  it("answers 2 without --to, and 130 at Ctrl-C", async () => {
    const stores = twoStores(aSession());
    const terminal = aTerminal(stores);
    expect(await terminal.run("verify")).toBe(2);
    terminal.interrupt();
    expect(await terminal.run(...PAIR)).toBe(130);
  });
});
