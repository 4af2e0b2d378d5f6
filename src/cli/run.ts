import { ConfigError, GatewayError } from "../errors.ts";
import { toFailure } from "../session-store/store-failure.ts";
import { backup } from "./backup.ts";
import { COMMANDS } from "./command-names.ts";
import { CommandError, EXIT, usage } from "./command-error.ts";
import { migrate } from "./migrate.ts";
import type { CliParts, Command } from "./parts.ts";
import { promote } from "./promote.ts";
import { restore } from "./restore.ts";
import { sessions } from "./sessions.ts";
import { verify } from "./verify.ts";

const OWN: Readonly<Record<string, Command>> = { sessions, backup, restore, migrate, verify, promote };

/**
 * Runs one command: its name and its words. Answers the process's exit code (`EXIT`) and never throws. What went wrong
 * is told on stderr, in plain words.
 */
export async function runCommand(args: string[], parts: CliParts): Promise<number> {
  const [name = "", ...rest] = args;
  try {
    const command = Object.hasOwn(OWN, name)
      ? OWN[name]
      : Object.hasOwn(parts.commands, name)
        ? parts.commands[name]
        : undefined;
    if (!command) throw usage(`There is no such command. There are: ${COMMANDS.join(", ")}.`);
    return await command(rest, parts);
  } catch (error) {
    const { exitCode, words } = inWords(error);
    parts.stderr.write(words.map((line) => `mcp-sse-gateway ${nameOf(name)}${line}\n`).join(""));
    if (!(error instanceof CommandError || error instanceof ConfigError))
      parts.log.debug({ err: error }, "a command failed");
    return exitCode;
  }
}

/** What somebody mistyped may be a secret in the wrong place, so it is not repeated. */
const nameOf = (name: string): string => (COMMANDS.includes(name) ? `${name}: ` : "");

function inWords(error: unknown): { exitCode: number; words: readonly string[] } {
  if (error instanceof CommandError) return { exitCode: error.exitCode, words: [error.message] };
  if (error instanceof ConfigError) return { exitCode: EXIT.usage, words: error.problems };
  if (error instanceof GatewayError && error.reason === "store_unavailable")
    return { exitCode: EXIT.store, words: [`${toFailure(error).message}.`] };
  if (error instanceof GatewayError) return { exitCode: EXIT.failed, words: [error.message] };
  const { code } = error as { code?: unknown };
  const why = typeof code === "string" && /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? ` (${code})` : "";
  return {
    exitCode: EXIT.failed,
    words: [`an unforeseen error${why}. With LOG_LEVEL=debug the log tells more.`],
  };
}
