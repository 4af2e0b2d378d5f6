import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { binOf, findNode, installPeers } from "../conformance/peers.ts";
import { ANSWER, type Client, expectIn, GIVEN, TOOL, withHome } from "./client.ts";

const PROGRAM_MS = 60_000;

/** The Inspector's command line. */
export const inspector: Client = {
  name: "inspector",
  version: "0.22.0",
  does: "tools/list, tools/call",
  use: ({ transport, url, headers }) =>
    withHome(async (env, home) => {
      const name = "@modelcontextprotocol/inspector";
      const modules = await installPeers("clients/inspector", { [name]: inspector.version });
      const flags = Object.entries(headers).flatMap(([key, value]) => ["--header", `${key}: ${value}`]);
      const program = binOf(modules, name, "mcp-inspector");
      const inspect = (...args: string[]) =>
        output([program, "--cli", url, "--transport", transport, ...flags, ...args], env, home);
      expectIn(await inspect("--method", "tools/list"), `"name": "${TOOL}"`);
      const given = Object.entries(GIVEN).map(([key, value]) => `${key}=${value}`);
      const call = ["--method", "tools/call", "--tool-name", TOOL, "--tool-arg", ...given];
      expectIn(await inspect(...call), ANSWER);
    }),
};

/** Lists the servers that it is configured for, after it has connected to each. More needs an account. */
export const gemini: Client = {
  name: "gemini-cli",
  version: "0.61.0",
  does: "connect",
  findsOut: true,
  use: ({ transport, url, headers }) =>
    withHome(async (env, home) => {
      const modules = await installPeers("clients/gemini-cli", { "@google/gemini-cli": gemini.version });
      const server = {
        sse: { url, type: "sse", headers },
        http: { httpUrl: url, headers },
        untyped: { url, headers },
      }[transport];
      const settings = { mcpServers: { gateway: server }, security: { folderTrust: { enabled: false } } };
      mkdirSync(join(home, ".gemini"));
      writeFileSync(join(home, ".gemini/settings.json"), JSON.stringify(settings));
      const folder = join(home, "project");
      mkdirSync(folder);
      const program = binOf(modules, "@google/gemini-cli", "gemini");
      expectIn(await output([program, "mcp", "list"], env, folder), " - Connected");
    }),
};

/** All that a program printed. Rejects with it when it failed. */
async function output(args: string[], env: Record<string, string>, cwd: string): Promise<string> {
  const node = await findNode();
  return new Promise((resolve, reject) => {
    execFile(node, args, { env, cwd, timeout: PROGRAM_MS }, (error, stdout, stderr) => {
      const printed = `${stdout}${stderr}`;
      if (error === null) resolve(printed);
      else reject(new Error(printed.trim().split("\n").slice(-3).join(" / ") || error.message));
    });
  });
}
