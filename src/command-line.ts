import { parseArgs } from "node:util";
import { HELP_COMMANDS } from "./cli/command-names.ts";
import { ConfigError } from "./errors.ts";

/** What the command line says. */
export interface CommandLine {
  help: boolean;
  version: boolean;
  port: string | undefined;
  /** A file of servers. */
  config: string | undefined;
  /** URL of the one remote server. */
  url: string | undefined;
  /** The stdio server's program and arguments: all that stands behind `--`. */
  command: string[] | undefined;
}

export const HELP = `Put any MCP server on the web behind an API key.

  mcp-sse-gateway                                                   the built-in demo server
  mcp-sse-gateway -- npx -y @modelcontextprotocol/server-everything  any stdio server
  mcp-sse-gateway --url https://mcp.example.com/mcp                  any remote server
  mcp-sse-gateway --config mcp.json                                 several, as MCP clients list them
  mcp-sse-gateway --port 8080 -- python my_server.py

Options
  --port N     port to listen on (PORT, 3000)
  --config F   file with mcpServers (MCP_SERVERS_FILE)
  --url URL    remote server (MCP_SERVER_URL)
  --version    print the version
  --help       print this

${HELP_COMMANDS}
Everything else is set by environment variables or a .env file: MCP_API_KEY, MCP_SERVER_COMMAND,
UPSTASH_REDIS_REST_URL, REDIS_URL, ... They are listed in docs/configuration.md and .env.example.
`;

/** Reads the arguments. Throws a ConfigError for what it does not know. */
export function readCommandLine(args: string[]): CommandLine {
  const end = args.indexOf("--");
  const ours = end < 0 ? args : args.slice(0, end);
  const command = end < 0 ? undefined : args.slice(end + 1);
  if (command?.length === 0)
    throw new ConfigError(["Behind -- there must be the command of a stdio server."]);
  try {
    const { values } = parseArgs({
      args: ours,
      options: {
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "v" },
        port: { type: "string" },
        config: { type: "string" },
        url: { type: "string" },
      },
    });
    const { help = false, version = false, port, config, url } = values;
    return { help, version, port, config, url, command };
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    const hint = "Write the server's command behind --, as in: mcp-sse-gateway -- npx -y some-server";
    throw new ConfigError([code === "ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL" ? hint : message]);
  }
}
