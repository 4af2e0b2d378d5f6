import { randomUUID } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";

import { CommandError, EXIT, usage } from "./command-error.ts";

/** How far a migration is. Kept in a file while it runs, without anything secret. */
export interface MigrationState {
  from: string;
  to: string;
  /** Where the next page of the source begins. */
  cursor: string;
  counts: MigrationCounts;
}

export interface MigrationCounts {
  /** Entries of the source that were seen. */
  seen: number;
  written: number;
  /** The destination had them. */
  skipped: number;
  /** Removed from the source. */
  removed: number;
  bytes: number;
}

const FORMAT = "mcp-sse-gateway-migration";

/** What an earlier run of this pair left, or undefined. Throws `usage` for a file of another pair, or one that is none. */
export async function readState(path: string, from: string, to: string): Promise<MigrationState | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw usage(`The progress file of --resume cannot be read (${error.code ?? "unknown"}).`);
  });
  if (text === undefined) return undefined;
  const state = parse(text);
  if (!state)
    throw usage("The progress file is not one of a migration: remove it, or name another by --resume.");
  if (state.from !== from || state.to !== to)
    throw usage(
      `The progress file is that of another migration, from ${state.from} to ${state.to}: remove it, or name another by --resume.`,
    );
  return state;
}

function parse(text: string): MigrationState | undefined {
  try {
    const { format, version, from, to, cursor, counts } = JSON.parse(text) as Record<string, unknown>;
    if (format !== FORMAT || version !== 1) return undefined;
    if (![from, to, cursor].every((each) => typeof each === "string")) return undefined;
    const { seen, written, skipped, removed, bytes } = counts as MigrationCounts;
    if (![seen, written, skipped, removed, bytes].every(Number.isSafeInteger)) return undefined;
    return { from, to, cursor, counts: { seen, written, skipped, removed, bytes } } as MigrationState;
  } catch {
    return undefined;
  }
}

/** Notes how far it is. A kill leaves the state before or after, never a torn one. */
export async function writeState(path: string, state: MigrationState): Promise<void> {
  const beside = `${path}.${randomUUID().slice(0, 8)}.part`;
  try {
    await writeFile(beside, `${JSON.stringify({ format: FORMAT, version: 1, ...state })}\n`, { mode: 0o600 });
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(
      EXIT.failed,
      `The progress file cannot be written (${code ?? "unknown"}): name another by --resume.`,
    );
  }
}

/** The migration is over. */
export const removeState = (path: string): Promise<void> => rm(path, { force: true });
