import { isUtf8 } from "node:buffer";
import {
  ARRAY,
  beginWalk,
  COLON,
  COMMA,
  OBJECT,
  OBJECT_END,
  QUOTE,
  skipSpace,
  skipString,
  skipValue,
  TOO_DEEP,
  TOO_MANY,
} from "./json.ts";

/** What the gateway knows of one JSON-RPC message: what stands at its top level, and nothing below. */
export interface Envelope {
  readonly kind: "request" | "notification" | "response";
  /** The id as JSON text in one spelling (`7`, `"a"`), so that equal ids are equal strings. Undefined for notifications. */
  readonly id: string | undefined;
  /** Undefined for responses. */
  readonly method: string | undefined;
  /** A response that carries `error`. */
  readonly failed: boolean;
  /** Where the value of `id` begins and ends in the bytes; both 0 when there is none. */
  readonly idStart: number;
  readonly idEnd: number;
  /** Where the value of `params` begins and ends in the bytes; both 0 when there is none. */
  readonly paramsStart: number;
  readonly paramsEnd: number;
}

/** Why bytes are not one message. Each is the name of a fault. */
export type Problem =
  | "parse_error"
  | "invalid_message"
  | "batch_not_allowed"
  | "invalid_id"
  | "ambiguous_member"
  | "too_deep"
  | "too_many_elements";

export const MAX_ID_BYTES = 1024;
export const MAX_METHOD_BYTES = 256;

const KNOWN = ["jsonrpc", "id", "method", "params", "result", "error"] as const;
type Known = (typeof KNOWN)[number];

/**
 * Reads the top level of one message and checks that all of it is JSON, without building any value of it.
 * The bytes can then be forwarded as they are: whatever parses them sees the same id and method as we did.
 */
export function scanMessage(bytes: Buffer): Envelope | Problem {
  if (!isUtf8(bytes)) return "parse_error";
  beginWalk();
  let at = skipSpace(bytes, 0);
  if (bytes[at] === ARRAY) return skipValue(bytes, at, 1) < 0 ? "parse_error" : "batch_not_allowed";
  if (bytes[at] !== OBJECT) {
    const end = skipValue(bytes, at, 1);
    return end < 0 || skipSpace(bytes, end) !== bytes.length ? "parse_error" : "invalid_message";
  }
  at = skipSpace(bytes, at + 1);

  let id: string | undefined;
  let method: string | undefined;
  let version = false;
  let result = false;
  let failed = false;
  let idStart = 0;
  let idEnd = 0;
  let paramsStart = 0;
  let paramsEnd = 0;
  let problem: Problem | undefined;
  let seen = 0;
  let vendor: Set<string> | undefined;

  if (bytes[at] === OBJECT_END) {
    at += 1;
  } else {
    for (;;) {
      if (bytes[at] !== QUOTE) return "parse_error";
      const keyEnd = skipString(bytes, at);
      if (keyEnd < 0) return "parse_error";
      const key = knownKey(bytes, at + 1, keyEnd - 1);
      let value = skipSpace(bytes, keyEnd);
      if (bytes[value] !== COLON) return "parse_error";
      value = skipSpace(bytes, value + 1);
      const end = skipValue(bytes, value, 2);
      if (end < 0) return problemAt(end);

      if (key < 0) {
        vendor ??= new Set();
        const text = JSON.parse(bytes.toString("utf8", at, keyEnd)) as string;
        if (vendor.has(text) || looksKnown(text)) problem ??= "ambiguous_member";
        vendor.add(text);
      } else {
        if ((seen & (1 << key)) !== 0) problem ??= "ambiguous_member";
        seen |= 1 << key;
        const first = bytes[value];
        switch (KNOWN[key] as Known) {
          case "jsonrpc":
            version = end - value === 5 && bytes.toString("latin1", value, end) === '"2.0"';
            break;
          case "id":
            id = readId(bytes, value, end);
            idStart = value;
            idEnd = end;
            if (id === undefined) problem ??= "invalid_id";
            break;
          case "method":
            method = first === QUOTE ? readMethod(bytes, value, end) : undefined;
            if (method === undefined) problem ??= "invalid_message";
            break;
          case "params":
            if (first !== OBJECT && first !== ARRAY) problem ??= "invalid_message";
            paramsStart = value;
            paramsEnd = end;
            break;
          case "result":
            result = true;
            break;
          case "error":
            if (first !== OBJECT) problem ??= "invalid_message";
            failed = true;
            break;
        }
      }

      at = skipSpace(bytes, end);
      if (bytes[at] === OBJECT_END) {
        at += 1;
        break;
      }
      if (bytes[at] !== COMMA) return "parse_error";
      at = skipSpace(bytes, at + 1);
    }
  }
  if (skipSpace(bytes, at) !== bytes.length) return "parse_error";
  if (problem !== undefined) return problem;
  if (!version) return "invalid_message";
  if (method !== undefined) {
    if (result || failed) return "invalid_message";
    const kind = id === undefined ? "notification" : "request";
    return { kind, id, method, failed, idStart, idEnd, paramsStart, paramsEnd };
  }
  if (result === failed || paramsEnd > 0) return "invalid_message";
  if (id === undefined) return "invalid_id";
  return { kind: "response", id, method, failed, idStart, idEnd, paramsStart, paramsEnd };
}

/**
 * The same message on one line. Raw line breaks can only stand between tokens, where a space means the same; on stdio
 * and in an SSE event they would end the message. Answers the bytes themselves when there is nothing to replace.
 */
export function onOneLine(bytes: Buffer): Buffer {
  if (!bytes.includes(0x0a) && !bytes.includes(0x0d)) return bytes;
  const line = Buffer.from(bytes);
  for (let at = 0; at < line.length; at += 1) if (line[at] === 0x0a || line[at] === 0x0d) line[at] = 0x20;
  return line;
}

/** A JSON-RPC error response, ready to send. `id` is JSON text as in `Envelope.id`. */
export function errorResponse(id: string, code: number, message: string, reason: string): Buffer {
  return Buffer.from(
    `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code, message, data: { reason } })}}`,
  );
}

/** A notice that a request, whose id is given as JSON text, is not waited for any more. */
export function cancelled(id: string, reason: string): Buffer {
  const params = `{"requestId":${id},"reason":${JSON.stringify(reason)}}`;
  return Buffer.from(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":${params}}`);
}

/** The index of a known key spelled exactly so, or -1. */
function knownKey(bytes: Buffer, start: number, end: number): number {
  switch (end - start) {
    case 2:
      return bytes[start] === 0x69 && bytes[start + 1] === 0x64 ? 1 : -1;
    case 5:
    case 6:
    case 7:
      return KNOWN.indexOf(bytes.toString("latin1", start, end) as Known);
    default:
      return -1;
  }
}

/** A parser that folds case or compatibility forms (Go's does) would read such a key as a known one. */
function looksKnown(key: string): boolean {
  return key === "__proto__" || (KNOWN as readonly string[]).includes(key.normalize("NFKC").toLowerCase());
}

function readId(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start > MAX_ID_BYTES) return undefined;
  if (bytes[start] === QUOTE) {
    const text = bytes.toString("utf8", start, end);
    return text.includes("\\") ? JSON.stringify(JSON.parse(text)) : text;
  }
  const text = bytes.toString("latin1", start, end);
  if (/^(?:0|-?[1-9][0-9]*)$/.test(text)) return text;
  if (!/^-?[0-9]/.test(text)) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? String(number) : undefined;
}

function readMethod(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start > MAX_METHOD_BYTES + 2) return undefined;
  const text = bytes.toString("utf8", start, end);
  const method = text.includes("\\") ? (JSON.parse(text) as string) : text.slice(1, -1);
  return method === "" || method.startsWith("rpc.") ? undefined : method;
}

/** What is wrong with a text whose walk stopped at this negative place. */
export function problemAt(end: number): Problem {
  return end === TOO_DEEP ? "too_deep" : end === TOO_MANY ? "too_many_elements" : "parse_error";
}
