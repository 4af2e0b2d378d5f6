import { locate, textAt } from "../protocol/splice.ts";
import { ABSENT, type Crew, identity } from "./aggregate-crew.ts";
import { membersAt, objectText } from "./modern-members.ts";
import { META } from "../protocol/modern-terms.ts";

/** A member's page: its answer, and the items as the client is to see them. */
export interface Page {
  readonly message: Buffer;
  readonly items: readonly Buffer[];
}

interface Joining {
  /** Of the client's request, JSON text. */
  readonly id: string;
  /** The member of the result that is the list. */
  readonly field: string;
  readonly pages: readonly Page[];
  /** The servers whose items are missing. */
  readonly absent: readonly string[];
  readonly nextCursor: string | undefined;
  readonly crew: Crew;
  readonly isModern: boolean;
}

/** Whether a request is of the 2026-07-28 era. */
export const locateModern = (message: Buffer): boolean =>
  locate(message, ["params", "_meta", META.version]) !== undefined;

/** One page of several: their items in order, what else their results say, and who is missing. */
export function joinPages({ id, field, pages, absent, nextCursor, crew, isModern }: Joining): Buffer {
  const rest = new Map<string, string>();
  const meta = new Map<string, string>();
  const ttls: number[] = [];
  let isPublic = pages.length > 0;
  for (const { message } of pages) {
    for (const { name, value } of membersAt(message, ["result"])) {
      if (name === "ttlMs") ttls.push(timeOf(Number(value)));
      else if (!rest.has(name)) rest.set(name, value);
    }
    for (const { name, value } of membersAt(message, ["result", "_meta"])) {
      if (!meta.has(name)) meta.set(name, value);
    }
    const scope = locate(message, ["result", "cacheScope"]);
    isPublic &&= scope !== undefined && textAt(message, scope) === '"public"';
  }
  for (const own of [field, "nextCursor", "_meta", "cacheScope"]) rest.delete(own);
  if (isModern) {
    rest.set("resultType", '"complete"');
    meta.set(META.serverInfo, JSON.stringify(identity(crew)));
    // What lacks a server is not to be kept.
    rest.set("ttlMs", String(absent.length > 0 || ttls.length === 0 ? 0 : Math.min(...ttls)));
    rest.set("cacheScope", isPublic ? '"public"' : '"private"');
  }
  if (nextCursor !== undefined) rest.set("nextCursor", JSON.stringify(nextCursor));
  if (absent.length > 0) meta.set(ABSENT, JSON.stringify(absent));
  if (meta.size > 0) rest.set("_meta", objectText(Object.fromEntries(meta)));
  const others = rest.size === 0 ? "" : `,${objectText(Object.fromEntries(rest)).slice(1, -1)}`;
  const items = pages.flatMap((page) => page.items);
  const pieces: Buffer[] = [Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{"${field}":[`)];
  for (const [at, item] of items.entries()) pieces.push(...(at === 0 ? [item] : [COMMA, item]));
  pieces.push(Buffer.from(`]${others}}}`));
  return Buffer.concat(pieces);
}

/** A server's `ttlMs`, or 0 where it is none. */
export const timeOf = (ttlMs: unknown): number =>
  Number.isSafeInteger(ttlMs) && (ttlMs as number) > 0 ? (ttlMs as number) : 0;

const COMMA = Buffer.from(",");
