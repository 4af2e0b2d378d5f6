import { randomBytes } from "node:crypto";

/** What is printed for a person at start: lines to copy. */
export interface BannerParts {
  version: string;
  /** Base URL under which clients reach the gateway. */
  url: string;
  /** The key that was drawn for this start, to be shown this once. */
  drawnKey: string | undefined;
  /** What stands behind, in a few words. */
  server: string;
}

/** The lines that let somebody see it work: the stream's URL, a curl line, one client's configuration. */
export function banner({ version, url, drawnKey, server }: BannerParts): string {
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
  return [
    "",
    `  mcp-sse-gateway ${version} in front of ${server}`,
    "",
    ...keyLines,
    `  SSE URL      ${stream}`,
    `  See it       curl -N "${stream}?apiKey=${key}"`,
    `  Connect      ${JSON.stringify(client)}`,
    "",
    "",
  ].join("\n");
}
