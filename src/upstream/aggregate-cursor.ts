/** Where a page of the merged list begins: at a member, and there at a cursor of its own, or at its beginning. */
export interface Place {
  readonly server: string;
  readonly cursor: string | undefined;
}

/** The text that a client gets as `nextCursor`. It is opaque to the client, and of one kind of list only. */
export const encodeCursor = (list: string, { server, cursor }: Place): string =>
  Buffer.from(JSON.stringify([list, server, cursor ?? null])).toString("base64url");

/** Undefined when it is none of ours, or of another list. */
export function decodeCursor(list: string, text: unknown): Place | undefined {
  if (typeof text !== "string") return undefined;
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) return undefined;
  let parts: unknown;
  try {
    parts = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (!Array.isArray(parts) || parts.length !== 3) return undefined;
  const [of, server, cursor] = parts as unknown[];
  if (of !== list || typeof server !== "string" || (cursor !== null && typeof cursor !== "string"))
    return undefined;
  return { server, cursor: cursor ?? undefined };
}
