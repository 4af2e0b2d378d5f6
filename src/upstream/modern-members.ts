import { beginWalk, OBJECT, OBJECT_END, QUOTE, skipSpace, skipString, skipValue } from "../protocol/json.ts";
import { locate, type Span, spelled, splice, textAt } from "../protocol/splice.ts";

/** One member of an object in a message: its name, the text of its value, and where all of it stands. */
interface Member extends Span {
  readonly name: string;
  /** JSON text. */
  readonly value: string;
}

/** JSON text of values, by the names of members. */
export type Members = Readonly<Record<string, string>>;

/**
 * The members of the object at a path of member names, in their order. None when there is no object. The bytes must be
 * a message that `scanMessage` has accepted.
 */
export function membersAt(message: Buffer, path: readonly string[]): Member[] {
  const members: Member[] = [];
  const object = locate(message, path);
  if (object === undefined || message[object.start] !== OBJECT) return members;
  beginWalk();
  let at = skipSpace(message, object.start + 1);
  while (message[at] === QUOTE) {
    const keyEnd = skipString(message, at);
    const start = skipSpace(message, skipSpace(message, keyEnd) + 1);
    const end = skipValue(message, start, 2);
    if (end < 0) break;
    const name = JSON.parse(message.toString("utf8", at, keyEnd)) as string;
    members.push({ name, value: message.toString("utf8", start, end), start: at, end });
    at = skipSpace(message, end);
    if (message[at] === OBJECT_END) break;
    at = skipSpace(message, at + 1);
  }
  return members;
}

/** The same message with these members in the object at `path`, in place of those of the same name. The object is made where there is none. */
export function withMembers(message: Buffer, path: readonly string[], members: Members): Buffer {
  const object = locate(message, path);
  if (object === undefined) {
    return withMembers(message, path.slice(0, -1), { [path.at(-1) as string]: objectText(members) });
  }
  if (message[object.start] !== OBJECT) return splice(message, [{ ...object, text: objectText(members) }]);
  const changes: (Span & { text: string })[] = [];
  const added: string[] = [];
  for (const [name, value] of Object.entries(members)) {
    const there = locate(message, [...path, name]);
    if (there === undefined) added.push(memberText(name, value));
    else changes.push({ ...there, text: value });
  }
  changes.sort((a, b) => a.start - b.start);
  if (added.length > 0) {
    const close = message.lastIndexOf(OBJECT_END, object.end - 1);
    const isEmpty = skipSpace(message, object.start + 1) === close;
    changes.push({ start: close, end: close, text: (isEmpty ? "" : ",") + added.join(",") });
  }
  return splice(message, changes);
}

/** The same message without these members in the object at `path`. */
export function withoutMembers(message: Buffer, path: readonly string[], names: readonly string[]): Buffer {
  const members = membersAt(message, path);
  const kept = members.filter(({ name }) => !names.includes(name));
  if (kept.length === members.length) return message;
  const text = `{${kept.map((member) => textAt(message, member)).join(",")}}`;
  return splice(message, [{ ...(locate(message, path) as Span), text }]);
}

/** The JSON text of the value at a path, if there is one. */
export function textOf(message: Buffer, path: readonly string[]): string | undefined {
  const span = locate(message, path);
  return span && textAt(message, span);
}

/** The value at a path. */
export function valueOf(message: Buffer, path: readonly string[]): unknown {
  const text = textOf(message, path);
  return text === undefined ? undefined : JSON.parse(text);
}

/** The id at a path as JSON text, in the one spelling of `Envelope.id`. */
export function idOf(message: Buffer, path: readonly string[]): string | undefined {
  const text = textOf(message, path);
  return text === undefined ? undefined : spelled(text);
}

/** The JSON text of an object. */
export const objectText = (members: Members): string =>
  `{${Object.entries(members)
    .map(([name, value]) => memberText(name, value))
    .join(",")}}`;

const memberText = (name: string, value: string): string => `${JSON.stringify(name)}:${value}`;
