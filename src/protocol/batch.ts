import { problemAt, type Problem } from "./json-rpc.ts";
import { ARRAY, beginWalk, COMMA, skipSpace, skipValue } from "./json.ts";

/** Messages of one batch at most; the SDK's server takes as many. */
const MAX_MESSAGES = 100;

/** Whether this is a batch: a JSON array, right or wrong. */
export const isBatch = (bytes: Buffer): boolean => bytes[skipSpace(bytes, 0)] === ARRAY;

/** The elements of a batch as they stand, each to be scanned on its own, or the name of the fault that it is. */
export function splitBatch(bytes: Buffer): Buffer[] | Problem | "batch_too_long" {
  const elements: Buffer[] = [];
  let at = skipSpace(bytes, 0);
  const first = skipSpace(bytes, at + 1);
  if (bytes[first] === ARRAY_END)
    return skipSpace(bytes, first + 1) === bytes.length ? "batch_too_long" : "parse_error";
  do {
    at = skipSpace(bytes, at + 1);
    beginWalk();
    const end = skipValue(bytes, at, 1);
    if (end < 0) return problemAt(end);
    elements.push(bytes.subarray(at, end));
    if (elements.length > MAX_MESSAGES) return "batch_too_long";
    at = skipSpace(bytes, end);
  } while (bytes[at] === COMMA);
  return bytes[at] === ARRAY_END && skipSpace(bytes, at + 1) === bytes.length ? elements : "parse_error";
}

const ARRAY_END = 0x5d;
