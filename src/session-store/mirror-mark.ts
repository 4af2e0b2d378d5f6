import type { Archive, Entry } from "./archive.ts";

/** The key under which both stores note their last comparison. A store that has lost it has lost its entries. */
export const MARK_KEY = "mirror-mark";

const KEPT_MS = 30 * 24 * 3600 * 1000;

/** What a comparison leaves in both stores. */
export interface Mark {
  /** Grows by one with each finished comparison. */
  n: number;
  /** Keys that differed in it. */
  differed: number;
  /** How long ago it was, in ms. */
  ageMs: number;
}

function readMark(entry: Entry | undefined): Mark | undefined {
  if (typeof entry?.value !== "string") return undefined;
  try {
    const found = JSON.parse(entry.value) as Partial<Record<"v" | "n" | "differed", unknown>>;
    const { n, differed } = found;
    if (found.v !== 1 || typeof n !== "number" || typeof differed !== "number") return undefined;
    return { n, differed, ageMs: KEPT_MS - entry.ttlMs };
  } catch {
    return undefined;
  }
}

export const markOf = async (archive: Archive): Promise<Mark | undefined> =>
  readMark((await archive.readKeys([MARK_KEY]))[0]);

const textOf = (n: number, differed: number): string => JSON.stringify({ v: 1, n, differed });

/** Gives a store its first mark, unless it has one. */
export async function beginMarks(archive: Archive): Promise<void> {
  await archive.write([{ key: MARK_KEY, value: textOf(0, 0), ttlMs: KEPT_MS }], "absent");
}

/** Writes a mark after `previous`, or over whatever there is. False when `previous` is not there. */
export async function writeMark(
  archive: Archive,
  { n, differed }: Pick<Mark, "n" | "differed">,
  previous?: Pick<Mark, "n" | "differed">,
): Promise<boolean> {
  const entry = { key: MARK_KEY, value: textOf(n, differed), ttlMs: KEPT_MS };
  if (previous !== undefined) return archive.swap(textOf(previous.n, previous.differed), entry);
  await archive.write([entry], "always");
  return true;
}
