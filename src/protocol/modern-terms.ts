/** The version of the era without `initialize`. */
export const MODERN_VERSION = "2026-07-28";

/** The versions with `initialize`, newest first. */
export const LEGACY_VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/** The members of `_meta` that the 2026-07-28 era gives a meaning to. */
export const META = {
  version: "io.modelcontextprotocol/protocolVersion",
  clientInfo: "io.modelcontextprotocol/clientInfo",
  clientCapabilities: "io.modelcontextprotocol/clientCapabilities",
  logLevel: "io.modelcontextprotocol/logLevel",
  serverInfo: "io.modelcontextprotocol/serverInfo",
  subscriptionId: "io.modelcontextprotocol/subscriptionId",
} as const;

/** The `_meta` of a request that the gateway makes on its own account. */
export const GATEWAY_META = {
  [META.version]: MODERN_VERSION,
  [META.clientInfo]: { name: "mcp-sse-gateway", version: "1" },
  [META.clientCapabilities]: {},
};

/** Which member of `params` the `Mcp-Name` header repeats, by method. */
export const NAMED_BY: ReadonlyMap<string, string> = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
  ["tasks/get", "taskId"],
  ["tasks/update", "taskId"],
  ["tasks/cancel", "taskId"],
]);

/** The extension that tasks are in the 2026-07-28 era. Its tasks are not those of 2025-11-25. */
export const TASKS_EXTENSION = "io.modelcontextprotocol/tasks";

/** The requests of a server to its client, which the 2026-07-28 era puts into a result. */
export const INPUT_METHODS = ["sampling/createMessage", "elicitation/create", "roots/list"];

/** How often a request may be repeated with further input before it is given up. */
export const MAX_ROUNDS = 10;

/** JSON-RPC error codes. */
export const INVALID_PARAMS = -32602;
export const METHOD_NOT_FOUND = -32601;
export const INTERNAL_ERROR = -32603;
/** As the 2026-07-28 specification defines it. */
export const UNSUPPORTED_VERSION = -32022;
