import { readFileSync, statSync } from "node:fs";
import { parseJsonc } from "./jsonc.ts";
import { nearestName } from "./nearest-name.ts";
import type { ServerConfig, ServerDefaults } from "./server-config.ts";
import { readServerEntry } from "./server-entry.ts";

/** What a servers file says. */
export interface ServersFile {
  servers: ServerConfig[];
  /** All of them at once; each names a server and a field, never a value. With a problem the file is not to be used. */
  problems: string[];
  warnings: string[];
}

const MAX_FILE_BYTES = 1024 * 1024;
/** A tool of server `a` is called `a__tool`, so that two `_` must tell where a name ends. */
const NAME = /^(?!.*__)[A-Za-z0-9_-]{0,63}[A-Za-z0-9-]$/;
const LISTS = ["mcpServers", "servers"];
const BESIDE_LISTS = [...LISTS, "$schema"];

/** Reads the file at `path`. That it is not there is a problem like any other. */
export function loadServersFile(
  path: string,
  env: Readonly<NodeJS.ProcessEnv>,
  defaults: ServerDefaults,
): ServersFile {
  try {
    if (statSync(path).size > MAX_FILE_BYTES) return broken(`it is larger than ${MAX_FILE_BYTES} bytes`);
    return readServersFile(readFileSync(path, "utf8"), env, defaults);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return broken(isMissing ? "there is no such file" : "it is there and cannot be read");
  }
}

/**
 * Reads `mcp.json` as MCP clients have it: `mcpServers`, or `servers` as VS Code says, with comments. References to
 * variables are filled from `env`; servers with `disabled` are left out.
 */
export function readServersFile(
  text: string,
  env: Readonly<NodeJS.ProcessEnv>,
  defaults: ServerDefaults,
): ServersFile {
  let file: unknown;
  try {
    file = parseJsonc(text);
  } catch (error) {
    return broken((error as Error).message);
  }
  if (!isObject(file)) return broken("it must be an object with mcpServers");
  const [list, ...others] = LISTS.filter((name) => Object.hasOwn(file, name));
  if (list === undefined) return broken("it has no mcpServers");
  if (others.length > 0) return broken("it has both mcpServers and servers");
  const entries = file[list];
  if (!isObject(entries)) return broken(`${list} must be an object of servers`);

  const read: ServersFile = { servers: [], problems: [], warnings: [] };
  for (const field of Object.keys(file).filter((name) => !BESIDE_LISTS.includes(name))) {
    const near = nearestName(field, BESIDE_LISTS);
    const question = near === undefined ? "" : ` Did you mean ${near}?`;
    read.warnings.push(`MCP_SERVERS_FILE: ${shown(field)} is not known here and was passed over.${question}`);
  }
  for (const [name, entry] of Object.entries(entries)) readInto(read, name, entry, env, defaults);
  if (read.servers.length === 0 && read.problems.length === 0) return broken("it names no server to be used");
  return read;
}

function readInto(
  read: ServersFile,
  name: string,
  entry: unknown,
  env: Readonly<NodeJS.ProcessEnv>,
  defaults: ServerDefaults,
): void {
  const where = `MCP_SERVERS_FILE, server ${shown(name)}`;
  if (isObject(entry) && entry["disabled"] === true) return;
  if (isObject(entry) && !["undefined", "boolean"].includes(typeof entry["disabled"]))
    read.problems.push(`${where}: disabled must be true or false.`);
  if (!NAME.test(name)) {
    const form = "1 to 64 letters without accents, digits, - or _, no two _ in a row and none at the end";
    read.problems.push(`${where}: a name must be ${form}.`);
  }
  const { server, problems, warnings } = readServerEntry(name, entry, env, defaults);
  const line = ({ field, words }: { field: string; words: string }): string =>
    `${where}: ${field === "" ? "it" : shown(field)} ${words}${words.endsWith("?") ? "" : "."}`;
  read.problems.push(...problems.map(line));
  read.warnings.push(...warnings.map(line));
  if (server !== undefined) read.servers.push(server);
}

const broken = (problem: string): ServersFile => ({
  servers: [],
  problems: [`MCP_SERVERS_FILE: ${problem}.`],
  warnings: [],
});

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A name out of the file, on one line and not longer than a name is. */
const shown = (name: string): string =>
  /^[\w.-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
