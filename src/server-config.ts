/** One MCP server that the gateway fronts, as configured. */
export type ServerConfig = {
  /** 1 to 64 of A-Z, a-z, 0-9, `-` and `_`, without two `_` in a row: it stands in paths and before tool names. */
  name: string;
  /** How clients share it: a link each, one for all, or links that are started ahead. */
  model: "per-session" | "shared" | "pool";
  /** Seconds without use after which a shared or a pooled link is closed. 0: never. */
  idleSeconds: number;
  /** The longest message that it may send, in bytes. */
  maxLineBytes: number;
  /** How many processes of it may exist. */
  maxChildren: number;
  spawnConcurrency: number;
  startSeconds: number;
  /** How often within a minute a session's server is started again when it ended by itself. */
  restarts: number;
} & (
  | { kind: "builtin" }
  | {
      kind: "stdio";
      command: string;
      args: string[];
      cwd: string | undefined;
      /** Variables that it gets beside the few that every child gets. */
      env: Record<string, string>;
    }
  | {
      kind: "remote";
      url: string;
      /** Sent with every request. */
      headers: Record<string, string>;
      transport: "auto" | "streamable" | "sse";
    }
);

/** The name of all servers together, where there are several. No server can have it. */
export const AGGREGATE = "*";
