import type { Envelope } from "../protocol/json-rpc.ts";
import { META, MODERN_VERSION, NAMED_BY } from "../protocol/modern-terms.ts";
import { stringAt } from "../protocol/splice.ts";

const PLAIN = /^[\x20-\x7e\t]+$/;

/**
 * The headers that repeat what a message of the 2026-07-28 era says, as its specification wants. `Mcp-Param-*` is not
 * among them: see `ToolParams`.
 */
export function repeatedHeaders(message: Buffer, { method }: Envelope): Record<string, string> {
  const version = stringAt(message, ["params", "_meta", META.version]) ?? MODERN_VERSION;
  const namedBy = NAMED_BY.get(method ?? "");
  const name = namedBy === undefined ? undefined : stringAt(message, ["params", namedBy]);
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
