import { parseArgs, type ParseArgsConfig } from "node:util";

import { usage } from "./command-error.ts";
import type { CliParts } from "./parts.ts";

type Options = NonNullable<ParseArgsConfig["options"]>;

/**
 * Reads a command's words. Undefined when `--help` was asked for and printed. Throws what `usage` makes for a word that
 * the command does not know.
 */
export function readFlags<const T extends Options>(
  args: string[],
  options: T,
  help: string,
  parts: CliParts,
) {
  const config = {
    args,
    options: { ...options, help: { type: "boolean", short: "h" } },
    allowPositionals: true,
    strict: true,
  } as const;
  const read = attempt(() => parseArgs(config));
  if ((read.values as { help?: boolean }).help === true) {
    parts.stdout.write(help);
    return undefined;
  }
  return read;
}

function attempt<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    // Node's words name the option; what follows the first sentence is about positionals.
    const [words = ""] = (error as Error).message.split(/\. To specify|\n/, 1);
    throw usage(`${words.replace(/\.$/, "")}. See --help.`);
  }
}

/** Flags of every command that reads or writes a store by pages. */
export const STORE_FLAGS = {
  prefix: { type: "string" },
  batch: { type: "string" },
  json: { type: "boolean" },
} as const;

/** Those of a command over two stores. */
export const PAIR_FLAGS = { from: { type: "string" }, to: { type: "string" }, ...STORE_FLAGS } as const;

/** Entries a page. */
export const readBatch = (text: string | undefined): number =>
  readWhole(text, { flag: "--batch", min: 1, max: 1000, fallback: 500 });

/** A whole number from `min` to `max`, or `fallback` when none is given. */
export function readWhole(
  text: string | undefined,
  { flag, min, max, fallback }: { flag: string; min: number; max: number; fallback: number },
): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (/^\d{1,15}$/.test(text) && value >= min && value <= max) return value;
  throw usage(`${flag} must be a whole number from ${min} to ${max}.`);
}

/** One of some words, the first when none is given. */
export function readWord<const T extends readonly [string, ...string[]]>(
  text: string | undefined,
  flag: string,
  words: T,
): T[number] {
  const value = text ?? words[0];
  if (words.includes(value)) return value;
  throw usage(`${flag} must be ${words.slice(0, -1).join(", ")} or ${words.at(-1)}.`);
}

/** Refuses words that no flag takes. */
export function noMore(positionals: readonly string[]): void {
  if (positionals.length > 0) throw usage("There is a word too many. See --help.");
}
