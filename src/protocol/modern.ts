import { isUtf8 } from "node:buffer";
import type { Envelope } from "./json-rpc.ts";
import { OBJECT, QUOTE } from "./json.ts";
import { META, MODERN_VERSION, NAMED_BY } from "./modern-terms.ts";
import { locate, stringAt } from "./splice.ts";

/** Headers as Node gives them: names in lower case, values without the space around them. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/**
 * The versions that are served of the era without `initialize`, where each request stands alone and says in its `_meta`
 * who asks; best first.
 */
export const MODERN_VERSIONS: readonly string[] = [MODERN_VERSION];

/** A version that the client names is told back to it, up to this length. */
const MAX_TOLD = 64;

/** Why a message of the era is not carried. */
export type ModernProblem =
  | { reason: "header_mismatch"; data: { header: string } }
  | { reason: "version_not_served"; data: { supported: readonly string[]; requested: string } }
  /** The `_meta` that must stand in each request does not, or not whole: -32602. */
  | { reason: "meta_required"; data: { envelope: { key: string; problem: string } } };

/** Whether the `MCP-Protocol-Version` header names a version without `initialize`. Versions are dates and compare as text. */
export function namesModern(headers: Headers): boolean {
  const version = headers["mcp-protocol-version"];
  return typeof version === "string" && version >= MODERN_VERSION;
}

/**
 * Whether one message, which `scanMessage` has accepted, is of the era from 2026-07-28 on, right or wrong: it says so in
 * its `_meta`, or its header does. What belongs to sessions says neither, and a response never does.
 */
export function isModern(headers: Headers, message: Buffer, envelope: Envelope): boolean {
  if (envelope.kind === "response") return false;
  if (namesModern(headers)) return true;
  const meta = metaOf(message, envelope);
  if (meta === undefined || locate(meta, [META.version]) === undefined) return false;
  return !isInitialize(envelope) || isWhole(meta);
}

/**
 * What is wrong with the `_meta` and the headers of a message of this era, the first thing only, in the order in which the
 * SDK's server looks. Headers must repeat the body, so that who routes by them and who reads the body see one request.
 */
export function checkModern(
  headers: Headers,
  message: Buffer,
  envelope: Envelope,
): ModernProblem | undefined {
  const { kind, method = "" } = envelope;
  const meta = metaOf(message, envelope);
  const isClaimed = meta !== undefined && locate(meta, [META.version]) !== undefined;
  if (kind === "request" || isClaimed) {
    if (isInitialize(envelope) && !isWhole(meta)) return mismatch("MCP-Protocol-Version");
    const problem = kind === "request" ? metaProblem(meta) : versionProblem(meta);
    if (problem !== undefined) return problem;
  }
  const said = headers["mcp-protocol-version"];
  const version = (isClaimed ? versionOf(meta) : said) as string;
  if (said !== undefined && said !== version) return mismatch("MCP-Protocol-Version");
  const saidMethod = headers["mcp-method"];
  if (saidMethod !== undefined && saidMethod !== method) return mismatch("Mcp-Method");
  if (!MODERN_VERSIONS.includes(version)) {
    const requested = version.slice(0, MAX_TOLD);
    return { reason: "version_not_served", data: { supported: MODERN_VERSIONS, requested } };
  }
  if (kind !== "request") return undefined;
  if (said === undefined) return mismatch("MCP-Protocol-Version");
  if (saidMethod === undefined) return mismatch("Mcp-Method");
  if (!repeatsName(headers["mcp-name"], message, envelope)) return mismatch("Mcp-Name");
  return brokenParameter(headers);
}

/** The word of the other era, unless everything else is of this one: then it is a method that does not exist. */
const isInitialize = ({ kind, method }: Envelope): boolean => kind === "request" && method === "initialize";

function isWhole(meta: Buffer | undefined): boolean {
  if (meta === undefined || metaProblem(meta) !== undefined) return false;
  return (versionOf(meta) as string) >= MODERN_VERSION;
}

const mismatch = (header: string): ModernProblem => ({ reason: "header_mismatch", data: { header } });

function metaOf(message: Buffer, { paramsStart, paramsEnd }: Envelope): Buffer | undefined {
  const params = message.subarray(paramsStart, paramsEnd);
  const meta = locate(params, ["_meta"]);
  return meta !== undefined && params[meta.start] === OBJECT
    ? params.subarray(meta.start, meta.end)
    : undefined;
}

const versionOf = (meta: Buffer): string | undefined => stringAt(meta, [META.version]);

function versionProblem(meta: Buffer | undefined): ModernProblem | undefined {
  if (meta === undefined) return envelopeProblem("_meta", "missing");
  const version = locate(meta, [META.version]);
  if (version === undefined) return envelopeProblem(META.version, "missing");
  return meta[version.start] === QUOTE ? undefined : envelopeProblem(META.version, "not a string");
}

function metaProblem(meta: Buffer | undefined): ModernProblem | undefined {
  const problem = versionProblem(meta);
  if (problem !== undefined || meta === undefined) return problem;
  const capabilities = locate(meta, [META.clientCapabilities]);
  if (capabilities === undefined) return envelopeProblem(META.clientCapabilities, "missing");
  return meta[capabilities.start] === OBJECT
    ? undefined
    : envelopeProblem(META.clientCapabilities, "not an object");
}

const envelopeProblem = (key: string, problem: string): ModernProblem => ({
  reason: "meta_required",
  data: { envelope: { key, problem } },
});

function repeatsName(
  said: string | string[] | undefined,
  message: Buffer,
  { method = "", paramsStart, paramsEnd }: Envelope,
): boolean {
  const member = NAMED_BY.get(method);
  if (member === undefined) return true;
  const params = message.subarray(paramsStart, paramsEnd);
  const name = stringAt(params, [member]);
  if (said === undefined) return name === undefined;
  const decoded = decodeValue(said as string);
  return decoded !== undefined && (name === undefined || decoded === name);
}

/** A tool's own headers are compared with its arguments by who knows the tool; that they can be read is for everyone to see. */
function brokenParameter(headers: Headers): ModernProblem | undefined {
  for (const name of Object.keys(headers)) {
    if (name.startsWith("mcp-param-") && decodeValue(headers[name] as string) === undefined)
      return mismatch("Mcp-Param");
  }
  return undefined;
}

const ENCODED = /^=\?base64\?(.*)\?=$/s;
const CANONICAL = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** A header's value, which is `=?base64?…?=` where it cannot stand as it is. Undefined when that is not base64 of UTF-8. */
export function decodeValue(value: string): string | undefined {
  const encoded = ENCODED.exec(value)?.[1];
  if (encoded === undefined) return value;
  if (!CANONICAL.test(encoded)) return undefined;
  const bytes = Buffer.from(encoded, "base64");
  return isUtf8(bytes) ? bytes.toString() : undefined;
}
