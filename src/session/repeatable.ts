import type { Unanswered } from "./requests.ts";

/** Methods that ask and change nothing, or that set what is set already. */
const SAFE_METHODS: ReadonlySet<string> = new Set([
  "ping",
  "tools/list",
  "prompts/list",
  "prompts/get",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "completion/complete",
  "logging/setLevel",
]);

const MAX_TOOLS = 10_000;

interface ListedTool {
  name?: unknown;
  annotations?: { readOnlyHint?: boolean; idempotentHint?: boolean };
}

/**
 * Knows which requests may be sent a second time when nobody can tell whether the first was carried out: those that
 * only read, and calls of tools that the server itself has marked read-only or idempotent.
 */
export class Repeatable {
  readonly #tools = new Set<string>();
  #knowsTools = false;

  /** Whether this request can be judged only when the server's tools are known. */
  mustLearn({ method }: Unanswered): boolean {
    return method === "tools/call" && !this.#knowsTools;
  }

  /** Learns from the server's answer to `tools/list`. */
  learn(answer: Buffer): void {
    this.#knowsTools = true;
    const hasMarks = answer.includes('"readOnlyHint"') || answer.includes('"idempotentHint"');
    if (!hasMarks && this.#tools.size === 0) return;
    const { result } = JSON.parse(answer.toString()) as { result?: { tools?: unknown } };
    for (const tool of Array.isArray(result?.tools) ? (result.tools as (ListedTool | null)[]) : []) {
      const { name, annotations } = tool ?? {};
      if (typeof name !== "string") continue;
      const isSafe = annotations?.readOnlyHint === true || annotations?.idempotentHint === true;
      if (!isSafe) this.#tools.delete(name);
      else if (this.#tools.size < MAX_TOOLS) this.#tools.add(name);
    }
  }

  /** Whether this request may be sent again. */
  allows({ method, message }: Unanswered): boolean {
    if (message === undefined) return false;
    if (method !== "tools/call") return SAFE_METHODS.has(method);
    const { params } = JSON.parse(message.toString()) as { params?: { name?: unknown } };
    return typeof params?.name === "string" && this.#tools.has(params.name);
  }
}

/** The same of each server. */
export class Repeatables {
  readonly #byServer = new Map<string, Repeatable>();

  of(server: string): Repeatable {
    const known = this.#byServer.get(server) ?? new Repeatable();
    this.#byServer.set(server, known);
    return known;
  }

  /** These servers are others now, or gone. */
  forget(servers: readonly string[]): void {
    for (const server of servers) this.#byServer.delete(server);
  }
}
