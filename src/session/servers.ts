import type { Upstream } from "../upstream/upstream.ts";

/** Bounds of a link that are its server's own. */
export interface LinkLimits {
  /** How long the client's first message may wait for the server to be started, in ms. */
  startMs: number;
  /** How often within a minute a server that ended by itself is started again. */
  restarts: number;
}

/** The MCP servers behind, as one caller may use them. Changes when the configuration is read again. */
export interface Servers {
  /** What stands behind `/mcp/sse` and `/mcp`: the name of the only server, or of all together. */
  readonly root: string;
  /**
   * The way to a server for a session of a version with `initialize`. Undefined when there is none of this name, or the
   * caller may use nothing of it: the two must look the same.
   */
  upstreamFor(server: string, caller: string): Upstream | undefined;
  /**
   * The same for requests of the 2026-07-28 era: a link is opened for one request and closed when it was answered. To
   * close it sooner cancels the request at the server. `open` rejects with `upstream_era` when the server cannot be
   * spoken to in that era.
   */
  statelessFor(server: string, caller: string): Upstream | undefined;
  /** What the server's configuration says of its sessions' links. Undefined when there is none of this name. */
  limitsOf(server: string): LinkLimits | undefined;
}
