import { randomBytes } from "node:crypto";
import { digestOf, idOfDigest, type ApiKey } from "./keys/api-key.ts";
import { claimsToBeMinted, looksLikeKey } from "./keys/mint.ts";

export interface ApiKeys {
  keys: ApiKey[];
  /** The key that was drawn because none is set. */
  drawn: string | undefined;
  /** Each names a variable or a caller, never a key. */
  problems: string[];
  warnings: string[];
}

/** A key from this length on cannot be guessed from what leaks of it; `openssl rand -hex 16` gives it. */
const STRONG_LENGTH = 32;
export const MAX_KEY_LENGTH = 256;
/** Values that documents show in place of a key. */
const SAMPLES =
  /^(replace-?me|change-?me|(your|my)[-_].*|secret|password|test|example|api-?key|<.*>|\$\{.*\})$/i;

/**
 * Reads `MCP_API_KEY` and `MCP_API_KEYS`. When both are unset and no file has keys, draws a key, except in production.
 */
export function readApiKeys(
  single: string | undefined,
  several: string | undefined,
  isProduction: boolean,
  hasFile = false,
): ApiKeys {
  const read: ApiKeys = { keys: [], drawn: undefined, problems: [], warnings: [] };
  if (single !== undefined && single !== "") addKey(read, "default", single, "MCP_API_KEY", isProduction);
  for (const [index, entry] of (several ?? "").split(",").entries()) {
    if (several === undefined || several === "") break;
    const [, caller, key] = /^([a-z0-9][a-z0-9_-]{0,31})=(.+)$/i.exec(entry.trim()) ?? [];
    if (caller === undefined || key === undefined) {
      const form = "must read name=key, the name of up to 32 letters, digits, - or _";
      read.problems.push(`MCP_API_KEYS, entry ${index + 1}: ${form}.`);
    } else addKey(read, caller, key, `MCP_API_KEYS, entry of ${caller}`, isProduction);
  }
  if (read.keys.length > 0 || read.problems.length > 0 || single === "" || several === "" || hasFile)
    return read;
  if (isProduction) {
    read.problems.push(
      "MCP_API_KEY is missing, and NODE_ENV=production needs one. Make one with: openssl rand -hex 32",
    );
    return read;
  }
  read.drawn = `mgw_${randomBytes(24).toString("hex")}`;
  // Nobody has seen it before, so its id need not be found again.
  const id = `e_${randomBytes(4).toString("hex")}`;
  read.keys.push({ id, caller: "default", digest: digestOf(read.drawn) });
  return read;
}

function keyOf(caller: string, digest: Buffer): ApiKey {
  return { id: idOfDigest(digest), caller, digest };
}

function addKey(read: ApiKeys, caller: string, key: string, where: string, isProduction: boolean): void {
  const hashed = /^sha256:(.*)$/.exec(key)?.[1];
  if (hashed !== undefined && !/^[0-9a-f]{64}$/i.test(hashed)) {
    read.problems.push(`${where}: after sha256: there must be 64 hex digits.`);
    return;
  }
  if (hashed === undefined) {
    const problem = weakness(key, isProduction);
    if (problem !== undefined) {
      read.problems.push(`${where}: ${problem}`);
      return;
    }
    if (key.length < STRONG_LENGTH) {
      read.warnings.push(
        `${where}: shorter than ${STRONG_LENGTH} characters; production refuses it. Make one with: openssl rand -hex 32`,
      );
    }
  }
  if (claimsToBeMinted(key) && !looksLikeKey(key)) {
    read.warnings.push(`${where}: this looks like a key of \`keys create\` with a letter wrong or missing.`);
  }
  const digest = hashed === undefined ? digestOf(key) : Buffer.from(hashed, "hex");
  if (read.keys.some((other) => other.digest.equals(digest)))
    read.problems.push(`${where}: this key stands twice.`);
  else read.keys.push(keyOf(caller, digest));
}

function weakness(key: string, isProduction: boolean): string | undefined {
  if (!/^[\x21-\x7e]+$/.test(key) || /["'`,]/.test(key)) {
    return "a key may hold no spaces, quotes, commas, line breaks or non-ASCII letters.";
  }
  if (key.length > MAX_KEY_LENGTH) return `a key may have at most ${MAX_KEY_LENGTH} characters.`;
  if (SAMPLES.test(key)) return "this is a sample value. Make a key with: openssl rand -hex 32";
  if (isProduction && key.length < STRONG_LENGTH) {
    return `a key needs at least ${STRONG_LENGTH} characters. Make one with: openssl rand -hex 32`;
  }
  return undefined;
}
