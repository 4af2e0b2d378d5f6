import type { IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { GatewayError } from "../../src/errors.ts";
import { serverOf } from "../../src/http/addressed.ts";
import type { Servers } from "../../src/session/servers.ts";
import { onlyServer, scriptedUpstream } from "../session/scripted.ts";

/** Two servers, of which alice may use both and everybody else none. */
const upstream = scriptedUpstream();
const servers: Servers = {
  ...onlyServer(upstream),
  root: "root",
  upstreamFor: (server, caller) =>
    caller === "alice" && ["root", "files_2-b", "a".repeat(64)].includes(server) ? upstream : undefined,
};

const at = (url: string, caller = "alice") => {
  try {
    return serverOf({ url } as IncomingMessage, servers, caller);
  } catch (error) {
    if (error instanceof GatewayError) return error.reason;
    throw error;
  }
};

describe("the server that a request is for", () => {
  it.each(["/mcp", "/mcp/sse", "/mcp?apiKey=x", "/mcp/sse?a=/servers/files_2-b/mcp"])(
    "is what stands at the root, at %s",
    (url) => expect(at(url)).toBe("root"),
  );

  it.each(["/servers/files_2-b/mcp", "/servers/files_2-b/mcp/sse", "/servers/files_2-b/mcp?apiKey=x"])(
    "is the one in its path, at %s",
    (url) => expect(at(url)).toBe("files_2-b"),
  );

  it("may have a name of 64 letters", () => {
    expect(at(`/servers/${"a".repeat(64)}/mcp`)).toBe("a".repeat(64));
    expect(at(`/servers/${"a".repeat(65)}/mcp`)).toBe("not_found");
  });

  it.each([
    "/servers/nope/mcp",
    "/servers/files_2-b",
    "/servers/files_2-b/mcpx",
    "/servers/files_2-b/mcp/",
    "/servers/files_2-b/mcp/sse/x",
    "/servers/FILES_2-B/mcp",
    "/servers/%66iles_2-b/mcp",
    "/servers//mcp",
    "/servers/files_2-b/../root/mcp",
    "/servers/__proto__/mcp",
  ])("is not there at %s", (url) => expect(at(url)).toBe("not_found"));

  it("is not there for a caller that may not use it", () => {
    expect([at("/mcp", "bob"), at("/servers/files_2-b/mcp", "bob")]).toEqual(["not_found", "not_found"]);
  });
});
