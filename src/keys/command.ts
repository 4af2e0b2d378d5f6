import { parseArgs } from "node:util";
import { ConfigError } from "../errors.ts";
import type { Events } from "../events.ts";
import { KeysFileError } from "./change-file.ts";
import { createKey, listKeys, revokeKeys, rotateKey } from "./actions.ts";
import type { ScopeProblem } from "./key-entries.ts";

/** What the command speaks to, and what it knows of the rest of the gateway. */
export interface KeysCommandParts {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown };
  env: Readonly<NodeJS.ProcessEnv>;
  /** The time, in ms since 1970. */
  now(): number;
  scopeProblem: ScopeProblem;
  /** Told of each change that was made or failed. */
  events: Events;
}

/** What stands behind `keys` on the command line. */
export interface KeysFlags {
  caller?: string;
  scope?: string;
  "max-sessions"?: string;
  expires?: string;
  note?: string;
  overlap?: string;
  yes?: boolean;
  json?: boolean;
}

/** One `keys` command, read. */
export interface KeysOrder extends KeysCommandParts {
  /** The keys file. */
  path: string;
  flags: KeysFlags;
  /** What stands there without a flag. */
  operand: string | undefined;
}

const HELP = `Make, show, replace and revoke API keys in a keys file.

  mcp-sse-gateway keys create --caller ci                        a key that does not end, shown once
  mcp-sse-gateway keys create --caller ci --expires 90d --scope "github files/read_*"
  mcp-sse-gateway keys list
  mcp-sse-gateway keys rotate --caller ci --overlap 24h          a new key; the old ones end in a day
  mcp-sse-gateway keys revoke k_25cce57de517                     at once, with all sessions that it opened
  mcp-sse-gateway keys revoke --caller ci --yes                  all keys of a caller

The file is MCP_API_KEYS_FILE, or --file. A gateway that uses it sees the change by itself, within seconds.

Options
  --file F            the keys file
  --caller NAME       whom the key names: small letters, digits, - and _
  --expires WHEN      when it ends: 90d, 12h, 2027-01-31, 2027-01-31T12:00Z, or never
  --note TEXT         what it is for, shown by list
  --scope WORDS       what a new caller may use: servers, or server/tool with * for any letters
  --max-sessions N    how many sessions a new caller may have open
  --overlap SPAN      how long the old keys go on after rotate (24h)
  --yes               revoke all keys of the caller
  --json              what is printed, as JSON: one object on a line for each key
  --help              print this

Exit codes: 0 done, 1 failed and nothing changed, 2 not understood.
`;

const STRING = { type: "string" } as const;
const BOOLEAN = { type: "boolean" } as const;
const ACTIONS = {
  create: {
    run: createKey,
    flags: { caller: STRING, scope: STRING, "max-sessions": STRING, expires: STRING, note: STRING },
  },
  list: { run: listKeys, flags: {} },
  revoke: { run: revokeKeys, flags: { caller: STRING, yes: BOOLEAN } },
  rotate: { run: rotateKey, flags: { caller: STRING, expires: STRING, note: STRING, overlap: STRING } },
};

/**
 * Runs `mcp-sse-gateway keys` with these arguments and resolves with its exit code: 0 done, 1 failed and nothing
 * changed, 2 not understood. Never ends the process.
 */
export async function keysCommand(args: string[], parts: KeysCommandParts): Promise<number> {
  const [name, ...rest] = args;
  if (args.includes("--help") || args.includes("-h") || name === "help") {
    parts.stdout.write(HELP);
    return 0;
  }
  try {
    if (name === undefined || !Object.hasOwn(ACTIONS, name))
      throw new ConfigError(["Say create, list, revoke or rotate. There are examples in: keys --help"]);
    const action = ACTIONS[name as keyof typeof ACTIONS];
    const order = orderOf(rest, action.flags, parts);
    await (name === "list" ? listKeys(order) : told(name, order, action.run));
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof KeysFileError)) throw error;
    parts.stderr.write(`${error.message}\n`);
    return error instanceof ConfigError ? 2 : 1;
  }
}

/** Tells of a change. One that was not understood was none. */
async function told(name: string, order: KeysOrder, run: (order: KeysOrder) => Promise<void>): Promise<void> {
  const tell = (outcome: "done" | "failed"): void => {
    const target = order.flags.caller ?? order.operand ?? "";
    order.events.emit({ type: "operator_action", action: `keys_${name}`, target, outcome });
  };
  try {
    await run(order);
  } catch (error) {
    if (!(error instanceof ConfigError)) tell("failed");
    throw error;
  }
  tell("done");
}

function orderOf(
  args: string[],
  own: Record<string, typeof STRING | typeof BOOLEAN>,
  parts: KeysCommandParts,
): KeysOrder {
  const options = { ...own, file: STRING, json: BOOLEAN };
  let read;
  try {
    read = parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    // Node's words for a value that looks like a flag show it.
    const [flag] = /--[a-z-]+/.exec((error as Error).message) ?? [];
    throw new ConfigError([`${flag ?? "An option"} cannot be used so here. See: keys --help`]);
  }
  const { file = parts.env["MCP_API_KEYS_FILE"], ...flags } = read.values as KeysFlags & { file?: string };
  if (file === undefined || file === "")
    throw new ConfigError(["Say which file: --file keys.json, or set MCP_API_KEYS_FILE."]);
  const [operand, ...more] = read.positionals;
  if (more.length > 0 || (operand !== undefined && !("yes" in own)))
    throw new ConfigError(["There is one word too many. See: keys --help"]);
  return { ...parts, path: file, flags, operand };
}
