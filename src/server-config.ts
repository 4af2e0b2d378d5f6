/** How a server is run, whatever it is. */
export interface ServerSettings {
  /** How clients share it: a link each, one for all, or links that are started ahead. */
  model: "per-session" | "shared" | "pool";
  /** Seconds without use after which a shared or a pooled link is closed. 0: never. */
  idleSeconds: number;
  /** What a client of 2026-07-28 is told that asks a server of older versions which it speaks. */
  discovery: "fallback" | "translate";
  /** How many links of a pool are kept started. */
  poolSize: number;
  /** The longest message that it may send, in bytes. */
  maxLineBytes: number;
  /** How many processes of it may exist. */
  maxChildren: number;
  spawnConcurrency: number;
  startSeconds: number;
  /** How often within a minute a session's server is started again when it ended by itself. */
  restarts: number;
}

/** What a server has that says nothing else. */
export interface ServerDefaults {
  settings: ServerSettings;
  /** No server's longest message may be longer: it has to fit into what waits for a client. */
  maxOutboxBytes: number;
}

/** One MCP server that the gateway fronts, as configured. */
export type ServerConfig = ServerSettings & {
  /**
   * 1 to 64 of A-Z, a-z, 0-9, `-` and `_`, without two `_` in a row and none at the end: it stands in paths, and before
   * tool names with two `_` between.
   */
  name: string;
} & (
    | { kind: "builtin" }
    | {
        kind: "stdio";
        command: string;
        args: string[];
        /** Undefined: where the gateway was started. */
        cwd: string | undefined;
        /** Variables that it gets beside the few that every child gets. */
        env: Record<string, string>;
        /** Values among these that must not reach the log when it prints them. */
        secrets: string[];
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
