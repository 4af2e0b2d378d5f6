import { MAX_ID_BYTES } from "../protocol/json-rpc.ts";

/** Which link a request of a server came over: the member, and which of its links one after another. */
export interface Origin {
  readonly index: number;
  readonly generation: number;
}

/**
 * The id or token of a server as the client sees it, JSON text both. Two servers may choose the same, and so may a
 * server that was started again. Undefined when it would be longer than an id may be.
 */
export function outwardId({ index, generation }: Origin, text: string): string | undefined {
  const outward = JSON.stringify(`${index}.${generation}/${text}`);
  return Buffer.byteLength(outward) > MAX_ID_BYTES ? undefined : outward;
}

/** Whose an outward id is, and the server's own text of it. Undefined when it is not one of ours. */
export function inwardId(outward: string): (Origin & { readonly text: string }) | undefined {
  if (!outward.startsWith('"')) return undefined;
  const match = /^([0-9]{1,6})\.([0-9]{1,9})\/(.+)$/s.exec(JSON.parse(outward) as string);
  if (match === null) return undefined;
  const text = match[3] as string;
  return isIdText(text) ? { index: Number(match[1]), generation: Number(match[2]), text } : undefined;
}

/** Anything else would let a client put JSON of its own into the message to the server. */
function isIdText(text: string): boolean {
  if (/^-?[0-9]+(?:\.[0-9]+)?$/.test(text)) return true;
  try {
    return text.startsWith('"') && !/[\r\n]/.test(text) && typeof JSON.parse(text) === "string";
  } catch {
    return false;
  }
}
