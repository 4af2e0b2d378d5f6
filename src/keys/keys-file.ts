import { readFileSync, statSync } from "node:fs";
import type { ApiKey } from "./api-key.ts";
import {
  isObject,
  readCallers,
  shown,
  type CallerEntry,
  type KeyEntry,
  type ScopeProblem,
} from "./key-entries.ts";
import { repeatedMember } from "./repeated-member.ts";

/** What a keys file says. With a problem it says nothing: the file is not to be used. */
export interface KeysFile {
  callers: CallerEntry[];
  /** The keys of all callers that are not disabled, also those that have ended. */
  keys: ApiKey[];
  /** All of them at once; each names a caller and a field, never a value. */
  problems: string[];
}

const MAX_FILE_BYTES = 1024 * 1024;
const VERSION = 1;
/** Reads the file at `path`. That it is not there is a problem like any other. */
export function loadKeysFile(path: string, scopeProblem?: ScopeProblem): KeysFile {
  try {
    if (statSync(path).size > MAX_FILE_BYTES) return broken(`it is larger than ${MAX_FILE_BYTES} bytes`);
    return readKeysFile(readFileSync(path, "utf8"), scopeProblem);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return broken(isMissing ? "there is no such file" : "it is there and cannot be read");
  }
}

/** Reads what stands in a keys file. Nothing is passed over: what is not known is a problem. */
export function readKeysFile(text: string, scopeProblem: ScopeProblem = () => undefined): KeysFile {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    // The engine's words show the text around the mistake.
    return broken(text.trim() === "" ? "it is empty" : "it is not JSON");
  }
  const twice = repeatedMember(text);
  if (twice !== undefined) return broken(`${shown(twice)} stands twice in one object`);
  if (!isObject(file)) return broken("it must be an object with version and callers");
  const { version, callers: entries, ...others } = file;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return broken(`${shown(unknown)} is not known here`);
  if (version !== VERSION) return broken(`version must be ${VERSION}`);
  if (!isObject(entries)) return broken("callers must be an object of callers");
  const { callers, problems } = readCallers(entries, scopeProblem);
  if (callers.length === 0 && problems.length === 0) return broken("it names no caller");
  if (problems.length > 0) {
    return { callers: [], keys: [], problems: problems.map((problem) => `MCP_API_KEYS_FILE, ${problem}.`) };
  }
  const keys = callers.flatMap(({ name, disabled, keys: own }) =>
    disabled === true ? [] : own.map((entry) => keyOf(name, entry)),
  );
  return { callers, keys, problems: [] };
}

/** The text of a file with these callers. */
export function printKeysFile(callers: readonly CallerEntry[]): string {
  const entries = callers.map(({ name, ...rest }) => [name, rest]);
  return `${JSON.stringify({ version: VERSION, callers: Object.fromEntries(entries) }, null, 2)}\n`;
}

function keyOf(caller: string, { id, hash, expiresAt }: KeyEntry): ApiKey {
  const key = { id, caller, digest: Buffer.from(hash.slice("sha256:".length), "hex") };
  return expiresAt === undefined ? key : { ...key, expiresAt: Date.parse(expiresAt) };
}

const broken = (problem: string): KeysFile => ({
  callers: [],
  keys: [],
  problems: [`MCP_API_KEYS_FILE: ${problem}.`],
});
