import { ARRAY, beginWalk, COMMA, skipSpace, skipValue } from "../protocol/json.ts";
import { locate, type Span } from "../protocol/splice.ts";

/** Where each element of the array at a path stands. Undefined when there is no array. */
export function elementsAt(message: Buffer, path: readonly string[]): Span[] | undefined {
  const array = locate(message, path);
  if (array === undefined || message[array.start] !== ARRAY) return undefined;
  beginWalk();
  const elements: Span[] = [];
  let at = skipSpace(message, array.start + 1);
  if (at === array.end - 1) return elements;
  for (;;) {
    const end = skipValue(message, at, 2);
    if (end < 0) return undefined;
    elements.push({ start: at, end });
    at = skipSpace(message, end);
    if (message[at] !== COMMA) return elements;
    at = skipSpace(message, at + 1);
  }
}
