import { beginWalk, OBJECT, OBJECT_END, QUOTE, skipSpace, skipString, skipValue } from "./json.ts";

/** Where a value stands in a message, in bytes. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Where the value at a path of member names stands, as in `["params", "_meta", "progressToken"]`. Undefined when there
 * is none. The bytes must be a message that `scanMessage` has accepted. Of a name that stands twice the last counts, as
 * for `JSON.parse`.
 */
export function locate(message: Buffer, path: readonly string[]): Span | undefined {
  let span: Span | undefined = { start: skipSpace(message, 0), end: message.length };
  for (const name of path) {
    span = member(message, span.start, name);
    if (span === undefined) return undefined;
  }
  return span;
}

/** The same message with other text, which must be JSON on one line, in these places. They are in order and apart. */
export function splice(message: Buffer, changes: readonly (Span & { text: string | Buffer })[]): Buffer {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of changes) {
    pieces.push(message.subarray(at, start), typeof text === "string" ? Buffer.from(text) : text);
    at = end;
  }
  pieces.push(message.subarray(at));
  return Buffer.concat(pieces);
}

/** The same for one place, without the pieces. */
export function spliceOne(message: Buffer, { start, end }: Span, text: string): Buffer {
  const bytes = Buffer.byteLength(text);
  const spliced = Buffer.allocUnsafe(message.length - (end - start) + bytes);
  message.copy(spliced, 0, 0, start);
  spliced.write(text, start, "utf8");
  message.copy(spliced, start + bytes, end);
  return spliced;
}

/** The text of a value. */
export const textAt = (message: Buffer, { start, end }: Span): string => message.toString("utf8", start, end);

/** The string at a path of member names. Undefined when there is none, or it is something else. */
export function stringAt(message: Buffer, path: readonly string[]): string | undefined {
  const span = locate(message, path);
  if (span === undefined || message[span.start] !== QUOTE) return undefined;
  return JSON.parse(textAt(message, span)) as string;
}

/** An id or a token in the spelling of `Envelope.id`, so that equal ones are equal strings. */
export function spelled(text: string): string {
  if (text.startsWith('"')) return text.includes("\\") ? JSON.stringify(JSON.parse(text)) : text;
  return /^(?:0|-?[1-9][0-9]*)$/.test(text) ? text : String(Number(text));
}

function member(bytes: Buffer, object: number, name: string): Span | undefined {
  if (bytes[object] !== OBJECT) return undefined;
  beginWalk();
  let found: Span | undefined;
  let at = skipSpace(bytes, object + 1);
  while (bytes[at] === QUOTE) {
    const keyEnd = skipString(bytes, at);
    const isIt = isName(bytes, at, keyEnd, name);
    const start = skipSpace(bytes, skipSpace(bytes, keyEnd) + 1);
    const end = skipValue(bytes, start, 2);
    if (end < 0) return undefined;
    if (isIt) found = { start, end };
    at = skipSpace(bytes, end);
    if (bytes[at] === OBJECT_END) break;
    at = skipSpace(bytes, at + 1);
  }
  return found;
}

/** A name may be spelled with escapes, and whoever parses it would read it all the same. */
function isName(bytes: Buffer, start: number, end: number, name: string): boolean {
  const text = bytes.toString("utf8", start, end);
  return text.includes("\\") ? JSON.parse(text) === name : text.slice(1, -1) === name;
}
