import { locate, type Span, splice, textAt } from "../protocol/splice.ts";

/** Stands between a server's name and the name of its tool or prompt. No server has it in its name. */
const SEPARATOR = "__";

export interface Named {
  readonly name: string;
}

/**
 * Whose prefix a name bears. A server's name may end with `_`, so that `a___x` could be of `a` or of `a_`: the longer
 * one has it.
 */
export function ownerOfName<M extends Named>(name: string, members: readonly M[]): M | undefined {
  let owner: M | undefined;
  for (const member of members) {
    if (!name.startsWith(member.name + SEPARATOR)) continue;
    if (owner === undefined || member.name.length > owner.name.length) owner = member;
  }
  return owner;
}

/** The change that puts a server's prefix before the string at `span`. None when there is no string. */
export function prefixing(
  bytes: Buffer,
  span: Span | undefined,
  server: string,
): (Span & { text: string })[] {
  if (span === undefined || !isString(bytes, span)) return [];
  return [{ start: span.start + 1, end: span.start + 1, text: server + SEPARATOR }];
}

/** The same message without the server's prefix before the string at `path`, which bears it. */
export function withoutPrefix(message: Buffer, path: readonly string[], server: string): Buffer {
  const span = locate(message, path) as Span;
  const prefix = server + SEPARATOR;
  const text = textAt(message, span);
  if (text.startsWith(`"${prefix}`)) {
    return splice(message, [{ start: span.start + 1, end: span.start + 1 + prefix.length, text: "" }]);
  }
  const rest = (JSON.parse(text) as string).slice(prefix.length);
  return splice(message, [{ ...span, text: JSON.stringify(rest) }]);
}

const isString = (bytes: Buffer, { start }: Span): boolean => bytes[start] === 0x22;
