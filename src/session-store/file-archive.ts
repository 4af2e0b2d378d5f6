import { access } from "node:fs/promises";

import { ConfigError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Archive } from "./archive.ts";
import { loadFiles } from "./file-load.ts";
import { StoreFailure, unavailable } from "./store-failure.ts";
import { createTable } from "./table.ts";
import { tableArchive } from "./table-archive.ts";

/** A compaction can take files away between looking and reading; it is not over again so soon. */
const TRIES = 5;

const READ_ONLY =
  "SESSION_DIR: a gateway may hold this directory, so it is only read. Stop the gateway to change what is in it.";

/**
 * What a directory of the file store holds at this moment, also while a gateway serves from it. Nothing in it is
 * changed: verbs that write reject with a ConfigError. Rejects with one when no store is there.
 */
export async function readFileArchive(directory: string, log: Log): Promise<Archive> {
  const now = (): number => performance.now();
  const table = await load(directory, log, now);
  let closed = false;

  async function run<T>(work: () => T): Promise<T> {
    if (closed) throw unavailable(new StoreFailure("unreachable", "CLOSED"));
    return work();
  }
  const refuse = (): Promise<never> =>
    run(() => {
      throw new ConfigError([READ_ONLY], { cause: new StoreFailure("refused", "READ_ONLY") });
    });
  async function close(): Promise<void> {
    closed = true;
    table.clear();
  }
  const archive = tableArchive(table, run, { ready: () => run(() => undefined), close });
  return { ...archive, write: refuse, swap: refuse, remove: refuse };
}

async function load(directory: string, log: Log, now: () => number) {
  for (let tries = 1; ; tries += 1) {
    const table = createTable({ now, maxEntries: Infinity });
    try {
      await access(directory);
      const { findings, snapshot, log: newest } = await loadFiles(directory, table, Date.now() - now());
      if (snapshot === 0 && !newest)
        throw new ConfigError(["SESSION_DIR: no gateway has kept sessions in this directory."]);
      // The end of a log is torn while a gateway writes to it.
      for (const { what, name } of findings)
        if (what !== "torn")
          log.warn({ file: name, what }, "a session file is not whole; all that can be read is taken");
      return table;
    } catch (error) {
      const { code } = error as { code?: unknown };
      const isGone = code === "ENOENT" && tries < TRIES && (await exists(directory));
      if (isGone) continue;
      if (error instanceof ConfigError || typeof code !== "string") throw error;
      throw new ConfigError([`SESSION_DIR: the directory cannot be read (${code}).`], {
        cause: new StoreFailure("refused", code),
      });
    }
  }
}

const exists = (directory: string): Promise<boolean> =>
  access(directory).then(
    () => true,
    () => false,
  );
