import { createHash } from "node:crypto";

/** A place in a chain: the number and the hash of its last line. */
export interface Place {
  seq: number;
  hash: string;
}

/** Before the first line of a chain. */
export const GENESIS: Place = { seq: 0, hash: "0".repeat(64) };

/** What a line says of itself. */
export interface Link extends Place {
  prev: string;
  event: string;
  at: string;
  /** Whether the hash is that of the line. */
  isTrue: boolean;
  /** Of `audit_gap`: how many records were lost. */
  lost: number;
  /** Of the first line after a write that was broken off: length and hash of what had been written of it. */
  torn: { bytes: number; sha256: string } | undefined;
  /** Of `audit_removed`: the first line that is kept. */
  keptFrom: number | undefined;
}

const HASH_MEMBER = /,"hash":"([0-9a-f]{64})"\}$/;
/** Length of the last member and the closing brace. */
const TAIL = `,"hash":"${GENESIS.hash}"}`.length;
/** A line that begins so stands among lines of another kind, as on standard output. */
export const MARK = '{"audit":true,';

export const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** The line after `place`, without a line end, and its own place. `members` as `membersOf` gives them. */
export function nextLine(place: Place, members: string, isMarked: boolean): { line: string; place: Place } {
  const seq = place.seq + 1;
  const said = `${isMarked ? MARK : "{"}"seq":${seq},${members},"prev":"${place.hash}"`;
  const hash = sha256(`${said}}`);
  return { line: `${said},"hash":"${hash}"}`, place: { seq, hash } };
}

/** Reads a line; undefined when it is not the line of a chain at all. */
export function readLine(line: Buffer): Link | undefined {
  const end = HASH_MEMBER.exec(line.toString("latin1", Math.max(0, line.length - TAIL)));
  if (line[0] !== 0x7b || end === null) return undefined;
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(line.toString()) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { seq, prev, event, at, lost, tornBytes, tornSha256, keptFrom } = said;
  if (!Number.isSafeInteger(seq) || typeof prev !== "string" || typeof event !== "string") return undefined;
  const hash = end[1] as string;
  const hashed = createHash("sha256").update(line.subarray(0, -TAIL)).update("}").digest("hex");
  return {
    seq: seq as number,
    hash,
    prev,
    event,
    at: typeof at === "string" ? at : "",
    isTrue: hashed === hash,
    lost: event === "audit_gap" && typeof lost === "number" ? lost : 0,
    torn:
      typeof tornBytes === "number" && typeof tornSha256 === "string"
        ? { bytes: tornBytes, sha256: tornSha256 }
        : undefined,
    keptFrom: event === "audit_removed" && typeof keptFrom === "number" ? keptFrom : undefined,
  };
}

/** Whether a link is the first of a file: it says what the file goes on from. */
export const isHeader = ({ event }: Link): boolean => event === "audit_opened" || event === "audit_continued";
