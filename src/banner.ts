import { randomBytes } from "node:crypto";
import type { Config } from "./config.ts";

/** What is printed for a person at start: lines to copy. */
export interface BannerParts {
  version: string;
  /** Base URL under which clients reach the gateway. */
  url: string;
  /** The key that was drawn for this start, to be shown this once. */
  drawnKey: string | undefined;
  /** What stands behind, in a few words: `behind` finds them. */
  server: string;
  /** The servers' names. */
  names: readonly string[];
}

/** Says what stands behind. Of a file's servers only the names: what else it holds is nobody's to see. */
export function behind({ servers, serversFile }: Pick<Config, "servers" | "serversFile">): string {
  const names = servers.map(({ name }) => name);
  if (names.length > 1) return `${names.length} servers: ${names.join(", ")}`;
  if (serversFile !== undefined) return names.join();
  const [server] = servers;
  if (server?.kind === "stdio") return [server.command, ...server.args].join(" ");
  return server?.kind === "remote" ? new URL(server.url).host : "the built-in demo server";
}

/** The lines that let somebody see it work: the stream's URL, a curl line, one client's configuration. */
export function banner({ version, url, drawnKey, server, names }: BannerParts): string {
  const key = drawnKey ?? "YOUR_API_KEY";
  const stream = `${url}/mcp/sse`;
  // A name of its own lets a client find its session again after a cut.
  const clientUrl = `${stream}?clientId=client-${randomBytes(3).toString("hex")}`;
  const client = { mcpServers: { gateway: { type: "sse", url: clientUrl, headers: { "X-API-Key": key } } } };
  const keyLines =
    drawnKey === undefined
      ? []
      : [
          `  API key      ${drawnKey}`,
          "               drawn for this start; set MCP_API_KEY to keep one",
          "",
        ];
  const ownUrls = names.map((name) => `               ${url}/servers/${name}/mcp`);
  return [
    "",
    `  mcp-sse-gateway ${version} in front of ${server}`,
    "",
    ...keyLines,
    `  HTTP URL     ${url}/mcp`,
    `  SSE URL      ${stream}`,
    ...(names.length > 1 ? ["  One server   the same behind /servers/<name>:", ...ownUrls] : []),
    `  See it       curl -N "${stream}?apiKey=${key}"`,
    `  Connect      ${JSON.stringify(client)}`,
    "",
    "",
  ].join("\n");
}
