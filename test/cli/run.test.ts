import { describe, expect, it } from "vitest";

import { COMMANDS, HELP_COMMANDS } from "../../src/cli/command-names.ts";
import { ConfigError, GatewayError } from "../../src/errors.ts";
import { anArchive } from "./an-archive.ts";
import { aSession, aTerminal, CANARY } from "./a-terminal.ts";

describe("the command line", () => {
  it.each(COMMANDS.filter((name) => name !== "keys" && name !== "audit"))(
    "explains %s with examples first",
    async (name) => {
      const terminal = aTerminal({});
      expect(await terminal.run(name, "--help")).toBe(0);
      expect(terminal.out().split("\n")[2]).toMatch(new RegExp(`^ {2}mcp-sse-gateway ${name} `));
      expect(terminal.out()).toMatch(/Exit codes: 0 /);
      expect(
        terminal
          .out()
          .split("\n")
          .every((line) => line.length <= 121),
      ).toBe(true);
      expect(HELP_COMMANDS).toContain(name);
    },
  );

  it("hands the words of other rooms' commands to them", async () => {
    const seen: string[][] = [];
    const keys = async (args: string[]) => {
      seen.push(args);
      return 7;
    };
    const terminal = aTerminal({}, { over: { commands: { keys } } });
    expect(await terminal.run("keys", "create", "--name", "ada")).toBe(7);
    expect(seen).toEqual([["create", "--name", "ada"]]);
    expect(await terminal.run("audit")).toBe(2);
  });

  it.each(["", "constructor", CANARY])("answers 2 for %j, and does not repeat it", async (name) => {
    const terminal = aTerminal({});
    expect(await terminal.run(name)).toBe(2);
    expect(terminal.err()).toMatch(/^mcp-sse-gateway There is no such command\. There are: sessions, backup/);
    expect(terminal.err()).not.toContain(CANARY);
  });

  it.each([
    [new ConfigError(["REDIS_URL is missing."]), 2, "REDIS_URL is missing."],
    [new GatewayError("store_unavailable"), 3, "the store cannot be reached (GatewayError)."],
    [Object.assign(new Error(`x ${CANARY}`), { code: "EBUSY" }), 1, "an unforeseen error (EBUSY)."],
    [new TypeError(CANARY), 1, "an unforeseen error."],
    [CANARY, 1, "an unforeseen error."],
  ])("tells of %s in plain words, without a stack", async (error, code, words) => {
    const fails = async () => {
      throw error;
    };
    const terminal = aTerminal({}, { over: { commands: { keys: fails } } });
    expect(await terminal.run("keys")).toBe(code);
    expect(terminal.err()).toContain(`mcp-sse-gateway keys: ${words}`);
    expect(terminal.err()).not.toMatch(new RegExp(`${CANARY}| at `));
  });

  it("says nothing of a store's secret, whatever fails", async () => {
    const store = anArchive();
    store.put(aSession());
    const terminal = aTerminal({ env: store, other: store });
    for (const verb of ["ready", "read", "readKeys", "write"] as const) {
      store.before = (name) => {
        if (name === verb) throw new GatewayError("store_unavailable", { cause: new Error(CANARY) });
      };
      for (const args of [["sessions", "list"], ["backup"], ["verify", "--to", "env:OTHER"]])
        await terminal.run(...args);
      await terminal.run("migrate", "--to", "env:OTHER", "--resume", "/dev/null/none");
    }
    expect(terminal.out() + terminal.err()).not.toContain(CANARY);
    expect(JSON.stringify(terminal.events)).not.toContain(CANARY);
  });
});
