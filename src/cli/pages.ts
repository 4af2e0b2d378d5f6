import type { Archive, Entry } from "../session-store/archive.ts";
import { isOurs, kindOf, sizeOf, type Kind } from "./kinds.ts";

export interface WalkOptions {
  /** The kinds to be met. One kind is asked for by name; several are picked from all. */
  kinds: readonly Kind[];
  /** Entries to a page, at most about. */
  batch: number;
  /** Where to go on. */
  cursor?: string | undefined;
}

export interface WalkedPage {
  /** Those of the kinds that were asked for, each once in a page. */
  entries: Entry[];
  bytes: number;
  /** Entries of these kinds that no gateway made. They are not in `entries`. */
  foreign: number;
  /** Where the next page begins. Undefined after the last one. */
  cursor: string | undefined;
}

/** A page of about so many bytes is big enough; the next one is made smaller past it. */
const PAGE_BYTES = 4 * 1024 * 1024;
const FIRST_PAGE = 32;

/**
 * Reads a store from end to end, one page at a time, the next only when it is asked for. Pages of large entries become
 * short, so that memory does not grow with what a store holds.
 */
export async function* walk(archive: Archive, options: WalkOptions): AsyncGenerator<WalkedPage, void, void> {
  const { kinds, batch } = options;
  const [first = ""] = kinds;
  const under = kinds.length === 1 ? first : "";
  let count = Math.min(batch, FIRST_PAGE);
  let { cursor } = options;
  do {
    const page = await archive.read({ cursor, count, under });
    let foreign = 0;
    const picked = new Map<string, Entry>();
    for (const entry of page.entries) {
      const kind = kindOf(entry.key);
      if (kind === undefined || !kinds.includes(kind)) continue;
      if (isOurs(entry)) picked.set(entry.key, entry);
      else foreign++;
    }
    const entries = [...picked.values()];
    const bytes = entries.reduce((sum, entry) => sum + sizeOf(entry), 0);
    cursor = page.cursor;
    yield { entries, bytes, foreign, cursor };
    count = bytes > PAGE_BYTES ? Math.max(1, count >> 2) : Math.min(batch, count * 2);
  } while (cursor !== undefined);
}
