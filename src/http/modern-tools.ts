import { GatewayError } from "../errors.ts";
import type { Headers } from "../protocol/modern.ts";
import { locate, textAt } from "../protocol/splice.ts";
import { disagreement, speaksOfHeaders, toolHeadersIn, type ToolHeader } from "../protocol/tool-headers.ts";

/** Tools with headers of their own that are kept in mind; the oldest are forgotten first. */
const MAX_TOOLS = 1000;
/** A client that is refused asks for the list again, perhaps another instance: what was heard here is not held for long. */
const KEPT_MS = 300_000;

/**
 * Which tools want arguments repeated in headers, as far as their lists have come by here. Most servers behind do not see
 * headers, so nobody else compares.
 */
export class KnownTools {
  readonly #tools = new Map<string, { headers: readonly ToolHeader[]; heardAt: number }>();

  /** Takes note of a response to `tools/list`. What one caller may see of a server says nothing to another. */
  learn(caller: string, server: string, response: Buffer): void {
    if (this.#tools.size === 0 && !speaksOfHeaders(response)) return;
    for (const [tool, headers] of toolHeadersIn(response)) {
      const key = keyOf(caller, server, tool);
      this.#tools.delete(key);
      if (headers.length > 0) this.#tools.set(key, { headers, heardAt: performance.now() });
    }
    for (const key of this.#tools.keys()) {
      if (this.#tools.size <= MAX_TOOLS) return;
      this.#tools.delete(key);
    }
  }

  /** Throws `header_mismatch` for a `tools/call` whose headers do not repeat its arguments. */
  check(caller: string, server: string, headers: Headers, call: Buffer): void {
    if (this.#tools.size === 0) return;
    const name = locate(call, ["params", "name"]);
    if (name === undefined) return;
    const known = this.#tools.get(keyOf(caller, server, JSON.parse(textAt(call, name))));
    if (known === undefined || performance.now() - known.heardAt > KEPT_MS) return;
    const header = disagreement(known.headers, headers, call);
    if (header !== undefined) throw new GatewayError("header_mismatch", { data: { header } });
  }
}

const keyOf = (...parts: unknown[]): string => JSON.stringify(parts);
