import { describe, expect, it } from "vitest";
import { readKeyScopes } from "../src/key-scopes.ts";
import type { ServerConfig } from "../src/server-config.ts";

const SERVERS = [{ name: "github" }, { name: "files" }] as ServerConfig[];
const read = (text: string | undefined, callers = ["alice", "ci"]) => readKeyScopes(text, callers, SERVERS);

describe("readKeyScopes", () => {
  it("lets everybody use everything when it is not set", () => {
    expect(read(undefined)).toEqual({ scopes: undefined, problems: [], warnings: [] });
  });

  it("gives each caller what is written for it", () => {
    const { scopes, problems, warnings } = read("alice=github files/read_*, ci=*", ["alice", "alice", "ci"]);
    expect({ problems, warnings }).toEqual({ problems: [], warnings: [] });
    const alice = scopes?.get("alice");
    expect(alice?.isWhole("github")).toBe(true);
    expect(alice?.isWhole("files")).toBe(false);
    expect(alice?.mayCall("files", "read_file")).toBe(true);
    expect(alice?.mayCall("files", "write_file")).toBe(false);
    expect(scopes?.get("ci")?.isWhole("files")).toBe(true);
    expect(scopes?.get("mallory")).toBeUndefined();
  });

  it("SEC-31 wants every caller named, the one of a drawn key too", () => {
    expect(read("alice=*").problems).toEqual([
      "MCP_KEY_SCOPES: ci is missing. Every caller must stand there; ci=* lets it use everything.",
    ]);
    expect(read("alice=*", ["default"]).problems).toEqual([expect.stringContaining("default is missing")]);
  });

  it.each([
    ["alice=*,ci=*,alice=github", "MCP_KEY_SCOPES, entry of alice: this caller stands twice."],
    ["alice=*,ci=*,canary", "MCP_KEY_SCOPES, entry 3: must read name=servers, the name as in MCP_API_KEYS."],
    ["alice=*,ci=*,", "MCP_KEY_SCOPES, entry 3: must read name=servers, the name as in MCP_API_KEYS."],
    ["alice=*,ci=", expect.stringMatching(/^MCP_KEY_SCOPES, entry of ci: names nothing/)],
    ["alice=*,ci=canary%", "MCP_KEY_SCOPES, entry of ci: a pattern does not begin with a server's name."],
    ['alice=*,ci=canary"%/', "MCP_KEY_SCOPES, entry of ci: a pattern does not begin with a server's name."],
  ])("refuses %s, and never says a value", (text, problem) => {
    expect(read(text).problems).toEqual([problem]);
  });

  it("asks about a caller without a key, and about one who can use nothing", () => {
    expect(read("alice=githup,ci=*,carol=*").warnings).toEqual([
      "MCP_KEY_SCOPES, entry of alice: it names no server that there is, so this caller can use nothing.",
      "MCP_KEY_SCOPES, entry of carol: no key names this caller.",
    ]);
  });
});
