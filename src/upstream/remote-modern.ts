import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";

/** The version that a server is asked for when its era is found out. */
export const MODERN = "2026-07-28";
export const VERSION_META = "io.modelcontextprotocol/protocolVersion";

/** The member of `params` that `Mcp-Name` repeats. */
const NAMED_BY: ReadonlyMap<string | undefined, string> = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
  ["tasks/get", "taskId"],
  ["tasks/update", "taskId"],
  ["tasks/cancel", "taskId"],
]);

const PLAIN = /^[\x20-\x7e\t]+$/;

/**
 * The headers that repeat what a message of the 2026-07-28 era says, as its specification wants. `Mcp-Param-*` is not
 * among them: see `ToolParams`.
 */
export function repeatedHeaders(message: Buffer, { method }: Envelope): Record<string, string> {
  const version = textOf(message, ["params", "_meta", VERSION_META]) ?? MODERN;
  const namedBy = NAMED_BY.get(method);
  const name = namedBy === undefined ? undefined : textOf(message, ["params", namedBy]);
  return {
    "mcp-protocol-version": headerValue(version),
    ...(method === undefined ? {} : { "mcp-method": headerValue(method) }),
    ...(name === undefined ? {} : { "mcp-name": headerValue(name) }),
  };
}

/** The text as it may stand in a header. What would be changed or refused on the way goes in base64. */
export function headerValue(text: string): string {
  const isMarked = text.startsWith("=?base64?") && text.endsWith("?=");
  if (PLAIN.test(text) && text === text.trim() && !isMarked) return text;
  return `=?base64?${Buffer.from(text).toString("base64")}?=`;
}

function textOf(message: Buffer, path: readonly string[]): string | undefined {
  const span = locate(message, path);
  const value: unknown = span === undefined ? undefined : JSON.parse(textAt(message, span));
  return typeof value === "string" ? value : undefined;
}
