import { resolve } from "node:path";
import type { ServerConfig, ServerDefaults } from "./server-config.ts";
import { readServerEntry } from "./server-entry.ts";
import { loadServersFile, type ServersFile } from "./servers-file.ts";
import type { Settings } from "./settings.ts";
import { splitCommand } from "./upstream/command-line.ts";
import { isOurKey } from "./variables.ts";

/** What the command line says of the servers behind; it wins over the environment as a whole. */
export interface ServerFlags {
  /** A servers file. */
  config?: string | undefined;
  url?: string | undefined;
  /** A program and its arguments. */
  command?: string[] | undefined;
}

/** Name of a server that was not given one. */
const ONLY = "default";

/** What a server has for which its entry says nothing else. */
export function serverDefaults(values: Settings): ServerDefaults {
  return {
    settings: {
      model: values.MCP_SERVER_MODEL,
      discovery: values.MCP_SERVER_DISCOVERY,
      idleSeconds: values.SERVER_IDLE_SECONDS,
      poolSize: values.POOL_SIZE,
      maxLineBytes: values.MAX_LINE_BYTES,
      maxChildren: values.MAX_CHILDREN,
      spawnConcurrency: values.SPAWN_CONCURRENCY,
      startSeconds: values.SERVER_START_SECONDS,
      restarts: values.SERVER_RESTARTS,
    },
    maxOutboxBytes: values.MAX_OUTBOX_BYTES,
  };
}

/** The servers to front, and the file to read them from again, if there is one. */
export interface ChosenServers extends ServersFile {
  file: string | undefined;
}

/** Reads what stands behind: a file of servers, else the one server that is set, else the built-in one. */
export function chooseServers(
  values: Settings,
  env: Readonly<NodeJS.ProcessEnv>,
  { config, url, command }: ServerFlags,
): ChosenServers {
  const hasFlag = (config ?? url ?? command) !== undefined;
  const ways: [string, string | string[] | undefined][] = hasFlag
    ? [
        ["--config", config],
        ["--url", url],
        ["a command behind --", command],
      ]
    : [
        ["MCP_SERVERS_FILE", values.MCP_SERVERS_FILE],
        ["MCP_SERVER_URL", values.MCP_SERVER_URL],
        ["MCP_SERVER_COMMAND", values.MCP_SERVER_COMMAND],
      ];
  const [way, other] = ways.filter(([, given]) => given !== undefined);
  if (way !== undefined && other !== undefined) {
    const problem = `${way[0]} and ${other[0]} cannot stand together: give a file of servers, or one server.`;
    return { servers: [], problems: [problem], warnings: [], file: undefined };
  }
  const defaults = serverDefaults(values);
  const [file, address, program] = ways.map(([, given]) => given);
  const warnings = idleSettings(values, address !== undefined, program !== undefined);
  if (typeof file === "string") {
    const path = resolve(file);
    const read = loadServersFile(path, env, defaults);
    return { ...read, warnings: [...warnings, ...read.warnings], file: path };
  }
  const read =
    typeof address === "string"
      ? remoteServer(address, way?.[0] ?? "", values, env, defaults)
      : localServer(values, env, program, defaults);
  return { ...read, warnings: [...warnings, ...read.warnings], file: undefined };
}

/** Settings of one kind of server that are set while another kind stands behind. */
function idleSettings(values: Settings, isRemote: boolean, isCommand: boolean): string[] {
  const { MCP_SERVER_HEADERS: headers, MCP_SERVER_TRANSPORT: transport, MCP_SERVER_ENV: names } = values;
  const warnings: string[] = [];
  if (!isRemote && headers !== undefined)
    warnings.push("MCP_SERVER_HEADERS does nothing without MCP_SERVER_URL.");
  if (!isRemote && transport !== "auto")
    warnings.push("MCP_SERVER_TRANSPORT does nothing without MCP_SERVER_URL.");
  if (!isCommand && names.length > 0)
    warnings.push("MCP_SERVER_ENV does nothing without MCP_SERVER_COMMAND.");
  return warnings;
}

function localServer(
  values: Settings,
  env: Readonly<NodeJS.ProcessEnv>,
  given: string | string[] | undefined,
  { settings }: ServerDefaults,
): ServersFile {
  if (given === undefined) {
    return only({ name: ONLY, ...settings, model: "per-session", kind: "builtin" });
  }
  let command: string[];
  try {
    command = typeof given === "string" ? splitCommand(given) : given;
  } catch (error) {
    return problem(`MCP_SERVER_COMMAND: ${(error as Error).message}`);
  }
  const [program, ...args] = command;
  if (program === undefined) return problem("MCP_SERVER_COMMAND names no program.");
  const allowed: Record<string, string> = {};
  for (const name of values.MCP_SERVER_ENV) {
    const value = env[name];
    if (value !== undefined && !isOurKey(name)) allowed[name] = value;
  }
  return only({
    name: ONLY,
    ...settings,
    kind: "stdio",
    command: program,
    args,
    cwd: undefined,
    env: allowed,
    // What a server prints on stderr is logged, and it may print what it was given.
    secrets: Object.values(allowed),
  });
}

function remoteServer(
  url: string,
  way: string,
  values: Settings,
  env: Readonly<NodeJS.ProcessEnv>,
  defaults: ServerDefaults,
): ServersFile {
  const { MCP_SERVER_HEADERS: text = "", MCP_SERVER_TRANSPORT: transport } = values;
  const headers = readHeaders(text);
  if (headers === undefined)
    return problem("MCP_SERVER_HEADERS must be lines of Name: value, or a JSON object of texts.");
  const entry = { url, headers, ...(transport === "auto" ? {} : { type: transport }) };
  const { server, problems } = readServerEntry(ONLY, entry, env, defaults);
  if (server !== undefined) return only(server);
  const lines = problems.map(({ field, words }) => {
    const [setting, ...inside] = field.split(".");
    return `${[setting === "headers" ? "MCP_SERVER_HEADERS" : way, ...inside].join(", ")} ${words}.`;
  });
  return { servers: [], problems: lines, warnings: [] };
}

/** Undefined when it cannot be read. */
function readHeaders(text: string): unknown {
  if (text.trimStart().startsWith("{")) {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }
  const headers: Record<string, string> = {};
  for (const line of text.split(/\r?\n/).filter((one) => one.trim() !== "")) {
    const [, name, value] = /^\s*([^\s:]+)\s*:\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return undefined;
    headers[name] = value;
  }
  return headers;
}

const only = (server: ServerConfig): ServersFile => ({ servers: [server], problems: [], warnings: [] });

const problem = (words: string): ServersFile => ({ servers: [], problems: [words], warnings: [] });
