import { beginWalk, OBJECT, OBJECT_END, QUOTE, skipSpace, skipString, skipValue } from "../protocol/json.ts";
import { META } from "../protocol/modern-terms.ts";
import { splice, textAt, type Span } from "../protocol/splice.ts";

/** The members of `_meta` that carry a trace, as W3C names its headers (SEP-414: without a prefix). */
export const CARRIED = ["traceparent", "tracestate", "baggage"] as const;
export type Carrier = Partial<Record<(typeof CARRIED)[number], string>>;

/** What a trace has to do with in one request. */
export interface TracedRequest {
  /** The tool's or the prompt's name. */
  readonly name: string | undefined;
  readonly uri: string | undefined;
  /** The protocol version, where the request itself says it. */
  readonly version: string | undefined;
  /** What the client's `_meta` carries. */
  readonly carrier: Carrier;
  readonly params: Span | undefined;
  readonly meta: Span | undefined;
}

type Found = Partial<Record<"name" | "uri" | "version", string>>;

/** Longer values are no trace context; baggage may have 8192 bytes, the others far less. */
const MAX_VALUE_BYTES = 8192 + 2;

/** Reads a request that `scanMessage` has accepted, in one walk. What is not as it should be is not there. */
export function readRequest(message: Buffer): TracedRequest {
  const found: Found = {};
  let carrier: Carrier = {};
  let params: Span | undefined;
  let meta: Span | undefined;

  const inMeta: Visit = (key, start) => {
    const end = skipValue(message, start, 2);
    if (isCarried(key)) assign(carrier, key, shortString(message, { start, end }));
    else if (key === META.version) assign(found, "version", shortString(message, { start, end }));
    return end;
  };
  const inParams: Visit = (key, start) => {
    if (key !== "_meta") {
      const end = skipValue(message, start, 2);
      if (key === "name" || key === "uri") assign(found, key, shortString(message, { start, end }));
      return end;
    }
    carrier = {};
    delete found.version;
    meta = { start, end: eachMember(message, start, inMeta) };
    return meta.end;
  };
  beginWalk();
  eachMember(message, skipSpace(message, 0), (key, start) => {
    if (key !== "params") return skipValue(message, start, 2);
    params = { start, end: eachMember(message, start, inParams) };
    return params.end;
  });
  return { name: found.name, uri: found.uri, version: found.version, carrier, params, meta };
}

/**
 * The same request with this carrier in its `_meta`, in place of the client's `traceparent` and `tracestate`, which
 * belong together. Where `params` or `_meta` is no object there is no place for it, and the bytes stay the same.
 */
export function withCarrier(message: Buffer, { params, meta }: TracedRequest, carrier: Carrier): Buffer {
  const members = CARRIED.filter((key) => carrier[key] !== undefined).map(
    (key) => `"${key}":${JSON.stringify(carrier[key])}`,
  );
  if (members.length === 0) return message;
  if (params === undefined) {
    return insert(message, message.lastIndexOf(OBJECT_END), `,"params":{"_meta":{${members.join(",")}}}`);
  }
  if (message[params.start] !== OBJECT) return message;
  if (meta === undefined) {
    const isEmpty = skipSpace(message, params.start + 1) === params.end - 1;
    return insert(message, params.end - 1, `${isEmpty ? "" : ","}"_meta":{${members.join(",")}}`);
  }
  if (message[meta.start] !== OBJECT) return message;
  const kept: string[] = [];
  beginWalk();
  eachMember(message, meta.start, (key, value, start) => {
    const end = skipValue(message, value, 2);
    if (!isCarried(key) || (key === "baggage" && carrier.baggage === undefined)) {
      kept.push(textAt(message, { start, end }));
    }
    return end;
  });
  return splice(message, [{ ...meta, text: `{${[...kept, ...members].join(",")}}` }]);
}

/** The string that stands here, unless it is too long to be of use. */
export function shortString(message: Buffer, value: Span): string | undefined {
  if (message[value.start] !== QUOTE || value.end - value.start > MAX_VALUE_BYTES) return undefined;
  return JSON.parse(textAt(message, value)) as string;
}

const isCarried = (key: string): key is (typeof CARRIED)[number] =>
  (CARRIED as readonly string[]).includes(key);

const insert = (message: Buffer, at: number, text: string): Buffer =>
  splice(message, [{ start: at, end: at, text }]);

/** Of a member that stands twice the last counts, as for `JSON.parse`. */
function assign<Key extends string>(
  object: Partial<Record<Key, string>>,
  key: Key,
  value: string | undefined,
): void {
  if (value === undefined) delete object[key];
  else object[key] = value;
}

/** Is told of a member: its name, where its value begins, and where it begins itself. Answers where the value ends. */
type Visit = (key: string, value: number, start: number) => number;

/** Visits the members of the object that begins here, and answers where it ends. Another value has none. */
function eachMember(bytes: Buffer, object: number, visit: Visit): number {
  if (bytes[object] !== OBJECT) return skipValue(bytes, object, 2);
  let at = skipSpace(bytes, object + 1);
  while (bytes[at] === QUOTE) {
    const keyEnd = skipString(bytes, at);
    const text = bytes.toString("utf8", at, keyEnd);
    const key = text.includes("\\") ? (JSON.parse(text) as string) : text.slice(1, -1);
    const end = visit(key, skipSpace(bytes, skipSpace(bytes, keyEnd) + 1), at);
    if (end < 0) return end;
    at = skipSpace(bytes, end);
    if (bytes[at] === OBJECT_END) break;
    at = skipSpace(bytes, at + 1);
  }
  return at + 1;
}
