import type { ServerConfig } from "./server-config.ts";
import { parseScope, type Scope } from "./upstream/scope.ts";

/** What each caller may use of the servers behind. */
export interface KeyScopes {
  /** By caller. Undefined: every caller may use everything. */
  scopes: Map<string, Scope> | undefined;
  problems: string[];
  warnings: string[];
}

/** Reads `MCP_KEY_SCOPES`. Once it is set, a caller that it does not name is a problem, never one who may do nothing. */
export function readKeyScopes(
  text: string | undefined,
  callers: readonly string[],
  servers: readonly ServerConfig[],
  /** Callers of the keys file, which may say itself what they may use. */
  callersInFile: readonly string[] = [],
): KeyScopes {
  const read: KeyScopes = { scopes: undefined, problems: [], warnings: [] };
  if (text === undefined) return read;
  const scopes = (read.scopes = new Map<string, Scope>());
  const named = new Set<string>();
  for (const [index, entry] of text.split(",").entries()) {
    const [, caller, patterns] = /^([a-z0-9][a-z0-9_-]{0,31})=([^]*)$/i.exec(entry.trim()) ?? [];
    if (caller === undefined || patterns === undefined) {
      const form = "must read name=servers, the name as in MCP_API_KEYS";
      read.problems.push(`MCP_KEY_SCOPES, entry ${index + 1}: ${form}.`);
      continue;
    }
    const where = `MCP_KEY_SCOPES, entry of ${caller}`;
    const scope = parseScope(patterns);
    if (named.has(caller)) read.problems.push(`${where}: this caller stands twice.`);
    else if (typeof scope === "string") read.problems.push(`${where}: ${withoutPattern(scope)}.`);
    else scopes.set(caller, scope);
    named.add(caller);
  }
  for (const caller of new Set(callers)) {
    if (!named.has(caller)) {
      const words = `${caller} is missing. Every caller must stand there; ${caller}=* lets it use everything`;
      read.problems.push(`MCP_KEY_SCOPES: ${words}.`);
    }
  }
  for (const [caller, scope] of scopes) {
    const where = `MCP_KEY_SCOPES, entry of ${caller}`;
    if (![...callers, ...callersInFile].includes(caller))
      read.warnings.push(`${where}: no key names this caller.`);
    else if (!servers.some(({ name }) => scope.mayUseServer(name)))
      read.warnings.push(`${where}: it names no server that there is, so this caller can use nothing.`);
  }
  return read;
}

/** What is wrong with the words of a scope, without showing them. */
export function scopeProblem(text: string): string | undefined {
  const scope = parseScope(text);
  return typeof scope === "string" ? withoutPattern(scope) : undefined;
}

/** The words of a problem show the pattern, and a key may have been pasted there. */
const withoutPattern = (problem: string): string => problem.replace(/^".*"/s, "a pattern");
