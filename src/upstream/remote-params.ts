import type { Envelope } from "../protocol/json-rpc.ts";
import { locate, textAt } from "../protocol/splice.ts";
import { argumentOf, speaksOfHeaders, toolHeadersIn, type ToolHeader } from "../protocol/tool-headers.ts";
import { headerValue } from "./remote-modern.ts";

/** Tools with headers of their own that are kept in mind; the oldest are forgotten first. */
const MAX_TOOLS = 1000;
const MAX_PAGES = 20;
const LIST_ID = "mcp-sse-gateway/tools";

/**
 * The `Mcp-Param-*` headers of calls: which arguments a tool wants repeated stands in its schema, so that is learnt from
 * the lists of tools that come by, or asked for when a call is refused for want of them.
 */
export class ToolParams {
  readonly #tools = new Map<string, readonly ToolHeader[]>();

  /** Takes note of a message of the server, if it is a list of tools. */
  learn(message: Buffer): void {
    if (this.#tools.size === 0 && !speaksOfHeaders(message)) return;
    for (const [tool, headers] of toolHeadersIn(message)) {
      this.#tools.delete(tool);
      if (headers.length > 0) this.#tools.set(tool, headers);
    }
    for (const tool of this.#tools.keys()) {
      if (this.#tools.size <= MAX_TOOLS) return;
      this.#tools.delete(tool);
    }
  }

  /** The headers that a message needs, as far as is known. */
  headersOf(message: Buffer, { method }: Envelope): Record<string, string> {
    if (method !== "tools/call" || this.#tools.size === 0) return {};
    const name = locate(message, ["params", "name"]);
    const expected = name && this.#tools.get(JSON.parse(textAt(message, name)) as string);
    const headers: Record<string, string> = {};
    for (const { name: header, path } of expected ?? []) {
      const argument = argumentOf(message, path);
      if (argument !== undefined) headers[header] = headerValue(argument);
    }
    return headers;
  }

  /**
   * Asks for all tools, as whoever made this call would. `ask` sends a request and resolves with its answer; rejects as
   * it does.
   */
  async ask(call: Buffer, ask: (request: Buffer) => Promise<Buffer>): Promise<void> {
    const meta = locate(call, ["params", "_meta"]);
    let cursor = "";
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const params = `{${cursor}"_meta":${meta === undefined ? "{}" : textAt(call, meta)}}`;
      const answer = await ask(
        Buffer.from(`{"jsonrpc":"2.0","id":"${LIST_ID}","method":"tools/list","params":${params}}`),
      );
      this.learn(answer);
      const next = locate(answer, ["result", "nextCursor"]);
      if (next === undefined || !textAt(answer, next).startsWith('"')) return;
      cursor = `"cursor":${textAt(answer, next)},`;
    }
  }
}
