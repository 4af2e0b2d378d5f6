import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import type { Servers } from "../session/servers.ts";

const SERVER_PATH = /^\/servers\/([A-Za-z0-9_-]{1,64})\/mcp(?:\/sse)?(?:\?|$)/;

/**
 * Name of the MCP server that a request is for: the one in its path, or what stands at the root. Throws `not_found` for
 * one that this caller may not use, as for one that is not there.
 */
export function serverOf(req: IncomingMessage, servers: Servers, caller: string): string {
  const { url = "" } = req;
  const server = url.startsWith("/servers/") ? SERVER_PATH.exec(url)?.[1] : servers.root;
  if (server === undefined || servers.upstreamFor(server, caller) === undefined)
    throw new GatewayError("not_found");
  return server;
}
