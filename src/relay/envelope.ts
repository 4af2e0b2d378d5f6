import { createHmac, hash, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import { ConfigError } from "../errors.ts";
import type { RelayAnswer, RelayMessage } from "./relay.ts";

/** Largest payload of one message, in bytes. */
export const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;

/** What proves that an envelope was made by one of us. */
export type RelayKey = Buffer;

/**
 * An envelope as it travels: `seal` is one word of printable ASCII that holds the header and its proof, `payload` the
 * bytes that the header vouches for. So whoever gets the seal first can refuse a payload before reading it.
 */
export interface Sealed {
  readonly seal: string;
  readonly payload: Buffer;
}

/** What can be known of a message before its payload is read. */
export interface AskHeader {
  readonly v: 1;
  /** No other message of any instance has it; a message that is sent again keeps it. */
  readonly id: string;
  readonly kind: string;
  readonly from: string;
  readonly to: string;
  /** Milliseconds since 1970 by the sender's clock, as is `expiresAt`. */
  readonly sentAt: number;
  readonly expiresAt: number;
  /** A message that was relayed is never relayed again. */
  readonly hop: 1;
  /** Length of the payload in bytes. */
  readonly size: number;
  readonly sha256: string;
}

/** Says which message it answers, so that no answer can be taken for another's. */
export interface AnswerHeader {
  readonly v: 1;
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly size: number;
  readonly sha256: string;
  /** Whoever says this takes messages that are joined; instances of earlier versions say nothing. */
  readonly joins?: true;
}

/**
 * Makes the key that instances prove themselves with out of all that they share. Throws a ConfigError when that is
 * nothing.
 */
export function createRelayKey(secrets: readonly (string | Buffer)[]): RelayKey {
  const parts = secrets.map((secret) => Buffer.from(secret as string)).filter(({ length }) => length > 0);
  if (parts.length === 0) throw new ConfigError(["SESSION_RELAY_SECRET is missing; the relay needs it."]);
  // Lengths keep ["ab", "c"] and ["a", "bc"] apart.
  const material = Buffer.concat(parts.flatMap((part) => [Buffer.from(`${part.length}:`), part]));
  return Buffer.from(hkdfSync("sha256", material, "", "mcp-sse-gateway relay 1", 32));
}

type Purpose = "ask" | "answer";

/** The seal's third word. The purpose is in it, so that a message cannot be shown as an answer. */
const proofOf = (key: RelayKey, purpose: Purpose, header: string): string =>
  createHmac("sha256", key).update(`${purpose}.${header}`).digest("base64url");

const digestOf = (payload: Buffer): string => hash("sha256", payload, "base64url");

function seal(key: RelayKey, purpose: Purpose, header: object): string {
  const text = Buffer.from(JSON.stringify(header)).toString("base64url");
  return `${purpose}.${text}.${proofOf(key, purpose, text)}`;
}

/** The header behind a seal that one of us made for this purpose; undefined for any other text. */
function open(key: RelayKey, purpose: Purpose, text: string): Record<string, unknown> | undefined {
  const [word, header = "", proof = "", ...rest] = text.split(".");
  if (word !== purpose || rest.length > 0) return undefined;
  // Compared as text: more than one text decodes to the same bytes.
  const [shown, right] = [Buffer.from(proof), Buffer.from(proofOf(key, purpose, header))];
  if (shown.length !== right.length || !timingSafeEqual(shown, right)) return undefined;
  const value = parse(Buffer.from(header, "base64url"));
  // It was made by one of us, but perhaps by another version.
  const isReadable = value?.["v"] === 1 && isSize(value["size"]);
  return isReadable ? value : undefined;
}

const isSize = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_PAYLOAD_BYTES;

function parse(text: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text.toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

export const isAsk = (text: string): boolean => text.startsWith("ask.");

const OWN_IDS = randomBytes(16).toString("base64url");
let ids = 0;

/** An id for a message that no other has: ids are drawn once for a process, and then counted. */
const createId = (): string => `${OWN_IDS}${(ids += 1).toString(36)}`;

/** What a message is known by, however often and in whatever company it is sent. */
export interface Mark {
  readonly id: string;
  readonly sentAt: number;
}

export const createMark = (): Mark => ({ id: createId(), sentAt: Date.now() });

/** A message, sealed. The payload is a line of JSON with the head and the bodies' lengths, then the bodies. */
export function sealAsk(
  key: RelayKey,
  route: { from: string; to: string; deadlineMs: number },
  { kind, head, bodies }: RelayMessage,
  { id, sentAt }: Mark = createMark(),
): Sealed & { readonly id: string; readonly expiresAt: number } {
  const { from, to, deadlineMs } = route;
  const front = JSON.stringify({ head, sizes: bodies.map(({ length }) => length) });
  const payload = Buffer.concat([Buffer.from(`${front}\n`), ...bodies]);
  const expiresAt = Date.now() + deadlineMs;
  const { length: size } = payload;
  const header = { v: 1, id, kind, from, to, sentAt, expiresAt, hop: 1, size, sha256: digestOf(payload) };
  return { id, expiresAt, seal: seal(key, "ask", header), payload };
}

/** The header of a message that one of us sealed, or undefined. Says nothing yet of whom it is for, and when. */
export const openAsk = (key: RelayKey, text: string): AskHeader | undefined =>
  open(key, "ask", text) as unknown as AskHeader | undefined;

/** The message in a payload, its bodies the same bytes; undefined when the header does not vouch for it. */
export function readAsk({ kind, size, sha256 }: AskHeader, payload: Buffer): RelayMessage | undefined {
  if (payload.length !== size || digestOf(payload) !== sha256) return undefined;
  const lineEnd = payload.indexOf("\n");
  const front = parse(payload.subarray(0, Math.max(0, lineEnd))) as
    | { head: RelayMessage["head"]; sizes: number[] }
    | undefined;
  const isWhole = front !== undefined && isObject(front.head) && areSizes(front.sizes);
  if (!isWhole) return undefined;
  let end = lineEnd + 1;
  const bodies = front.sizes.map((length) => payload.subarray(end, (end += length)));
  return { kind, head: front.head, bodies };
}

export const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const areSizes = (value: unknown): boolean =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);

/** An answer, sealed for the message that it answers. */
export function sealAnswer(
  key: RelayKey,
  route: { id: string; from: string; to: string },
  answer: RelayAnswer,
): Sealed {
  const payload = Buffer.from(JSON.stringify(answer));
  const header = { v: 1, ...route, size: payload.length, sha256: digestOf(payload), joins: true };
  return { seal: seal(key, "answer", header), payload };
}

/** An answer that one of us sealed, and to what; undefined for anything else. */
export function openAnswer(
  key: RelayKey,
  { seal: text, payload }: Sealed,
): (AnswerHeader & { readonly answer: RelayAnswer }) | undefined {
  const header = open(key, "answer", text) as unknown as AnswerHeader | undefined;
  if (header === undefined || payload.length !== header.size || digestOf(payload) !== header.sha256) {
    return undefined;
  }
  const answer = parse(payload);
  return answer && { ...header, answer };
}

/** For a way that takes any bytes. */
export const toBytes = ({ seal: text, payload }: Sealed): Buffer =>
  Buffer.concat([Buffer.from(`${text}\n`), payload]);

export function fromBytes(bytes: Buffer): Sealed {
  const lineEnd = bytes.indexOf("\n");
  const end = lineEnd < 0 ? bytes.length : lineEnd;
  return { seal: bytes.toString("latin1", 0, end), payload: bytes.subarray(end + 1) };
}

/** For a way that takes text only, and perhaps no line break in it. */
export const toText = ({ seal: text, payload }: Sealed): string => `${text} ${payload.toString("base64url")}`;

export function fromText(text: string): Sealed {
  const [word = "", payload = ""] = text.split(" ");
  return { seal: word, payload: Buffer.from(payload, "base64url") };
}
