import type { Headers } from "./modern.ts";
import { decodeValue } from "./modern.ts";
import { locate, textAt } from "./splice.ts";

/** An argument of a tool that calls must repeat in a header: `x-mcp-header` in the tool's schema says so. */
export interface ToolHeader {
  /** As Node spells it: `mcp-param-region`. */
  readonly name: string;
  /** Where the argument stands, below `arguments`. */
  readonly path: readonly string[];
  readonly isNumber: boolean;
}

const MARK = "x-mcp-header";

interface Schema {
  [MARK]?: unknown;
  type?: unknown;
  properties?: Record<string, Schema>;
}

/** Whether a response to `tools/list` speaks of headers at all. */
export const speaksOfHeaders = (response: Buffer): boolean => response.includes(MARK);

/** The headers of each tool of a response to `tools/list`, by the tool's name; of most tools there are none. */
export function toolHeadersIn(response: Buffer): Map<string, ToolHeader[]> {
  const found = new Map<string, ToolHeader[]>();
  const list = locate(response, ["result", "tools"]);
  const tools: unknown = list && JSON.parse(textAt(response, list));
  if (!Array.isArray(tools)) return found;
  for (const tool of tools as ({ name?: unknown; inputSchema?: Schema } | null)[]) {
    if (typeof tool?.name === "string") found.set(tool.name, [...headersIn(tool.inputSchema, [])]);
  }
  return found;
}

/** The first of a tool's headers that does not repeat its argument in this call. What is not among the arguments is not asked for. */
export function disagreement(
  expected: readonly ToolHeader[],
  headers: Headers,
  call: Buffer,
): string | undefined {
  return expected.find(({ name, path, isNumber }) => {
    const at = locate(call, ["params", "arguments", ...path]);
    const argument: unknown = at && JSON.parse(textAt(call, at));
    const text = asHeader(argument);
    if (text === undefined) return false;
    const said = headers[name];
    const value = typeof said === "string" ? decodeValue(said) : undefined;
    if (value === undefined) return true;
    return isNumber && /^-?\d+(?:\.\d+)?$/.test(value) ? Number(value) !== argument : value !== text;
  })?.name;
}

/** The argument of a call that stands at this path, as the text of its header: a number keeps its digits. */
export function argumentOf(call: Buffer, path: readonly string[]): string | undefined {
  const at = locate(call, ["params", "arguments", ...path]);
  if (at === undefined) return undefined;
  const text = textAt(call, at);
  if (text.startsWith('"')) return JSON.parse(text) as string;
  return /^[-\dtf]/.test(text) ? text : undefined;
}

function* headersIn(schema: Schema | undefined, path: readonly string[]): Generator<ToolHeader> {
  if (typeof schema !== "object" || schema === null) return;
  const mark = schema[MARK];
  if (typeof mark === "string" && path.length > 0) {
    const isNumber = schema.type === "integer" || schema.type === "number";
    yield { name: `mcp-param-${mark.toLowerCase()}`, path, isNumber };
  }
  for (const [name, property] of Object.entries(schema.properties ?? {}))
    yield* headersIn(property, [...path, name]);
}

/** A number that JavaScript cannot hold is not compared: each side would round it its own way. */
function asHeader(argument: unknown): string | undefined {
  if (typeof argument === "string") return argument;
  if (typeof argument === "boolean") return String(argument);
  if (typeof argument !== "number") return undefined;
  return Number.isInteger(argument) && !Number.isSafeInteger(argument) ? undefined : String(argument);
}
