import {
  beginWalk,
  COLON,
  OBJECT,
  OBJECT_END,
  QUOTE,
  skipSpace,
  skipString,
  skipValue,
} from "../protocol/json.ts";
import { MAX_NAME_BYTES, OTHER } from "./names.ts";

const IS_ERROR = Buffer.from('"isError"');
const TRUE = 0x74;
/** So many of these keys may lie deeper in an answer before it is walked from the top. */
const MAX_GLANCES = 8;

/**
 * The tool or prompt that a request names. Stops at the name, which nearly always stands before the arguments. A
 * message whose keys are spelled with escapes is not understood: that costs a label, and nothing else.
 */
export function nameIn(message: Buffer): string | undefined {
  const at = valueAt(message, valueAt(message, skipSpace(message, 0), "params"), "name");
  if (at < 0 || message[at] !== QUOTE) return undefined;
  const end = skipString(message, at);
  if (end - at > MAX_NAME_BYTES) return undefined;
  const text = message.toString("latin1", at + 1, end - 1);
  return isPlain(text) ? text : (JSON.parse(message.toString("utf8", at, end)) as string);
}

/**
 * Whether the result of a tool's call says that the tool failed. An answer may be large and nearly always says nothing,
 * or that it did not: then its bytes are only searched, which is many times faster than walking them.
 */
export function isToolError(answer: Buffer): boolean {
  let at = -1;
  for (let glance = 0; glance < MAX_GLANCES; glance += 1) {
    at = answer.indexOf(IS_ERROR, at + 1);
    if (at < 0) return false;
    const colon = skipSpace(answer, at + IS_ERROR.length);
    if (answer[colon] === COLON && answer[skipSpace(answer, colon + 1)] === TRUE) break;
  }
  const value = valueAt(answer, valueAt(answer, skipSpace(answer, 0), "result"), "isError");
  return value >= 0 && answer[value] === TRUE;
}

/** The code of a JSON-RPC error, as text. */
export function errorCodeIn(answer: Buffer): string {
  const at = valueAt(answer, valueAt(answer, skipSpace(answer, 0), "error"), "code");
  if (at < 0) return OTHER;
  const text = answer.toString("latin1", at, skipValue(answer, at, 3));
  return /^(?:0|-?[1-9]\d{0,9})$/.test(text) ? text : OTHER;
}

/** The names in a list of tools or prompts, as an answer to `tools/list` or `prompts/list` has it. */
export function namesIn(answer: Buffer, list: "tools" | "prompts"): string[] {
  const { result } = JSON.parse(answer.toString()) as { result?: Partial<Record<typeof list, unknown>> };
  const items = result?.[list];
  if (!Array.isArray(items)) return [];
  return items
    .map((item) => (item as { name?: unknown } | null)?.name)
    .filter((name): name is string => typeof name === "string");
}

/** Where the value of a member of the object at `object` begins, or -1. The bytes are a message that was scanned. */
function valueAt(bytes: Buffer, object: number, name: string): number {
  if (object < 0 || bytes[object] !== OBJECT) return -1;
  beginWalk();
  let at = skipSpace(bytes, object + 1);
  while (bytes[at] === QUOTE) {
    const keyEnd = skipString(bytes, at);
    if (keyEnd < 0) return -1;
    const value = skipSpace(bytes, skipSpace(bytes, keyEnd) + 1);
    if (keyEnd - at === name.length + 2 && isAt(bytes, at + 1, name)) return value;
    at = skipValue(bytes, value, 2);
    if (at < 0) return -1;
    at = skipSpace(bytes, at);
    if (bytes[at] === OBJECT_END) return -1;
    at = skipSpace(bytes, at + 1);
  }
  return -1;
}

function isAt(bytes: Buffer, at: number, name: string): boolean {
  for (let letter = 0; letter < name.length; letter += 1) {
    if (bytes[at + letter] !== name.charCodeAt(letter)) return false;
  }
  return true;
}

/** ASCII without an escape is the same text in every reading. */
const isPlain = (text: string): boolean => /^[ -[\]-~]*$/.test(text);
