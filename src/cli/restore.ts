import type { Entry } from "../session-store/archive.ts";
import { openBackup, type BackupFile } from "./backup-reader.ts";
import { CommandError, EXIT, stopIfAsked, usage } from "./command-error.ts";
import { STORE_FLAGS, readBatch, noMore, readFlags, readWord } from "./flags.ts";
import { findStore, withStore, type OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { createProgress } from "./progress.ts";
import { putEntries, wouldPut, type Existing } from "./put-entries.ts";
import { acting, entriesOf, tell } from "./words.ts";

const HELP = `Write a backup to a store. The whole file is read and checked before anything is written.

  mcp-sse-gateway restore --in sessions.ndjson.gz --dry-run
  mcp-sse-gateway restore --in sessions.ndjson.gz
  mcp-sse-gateway restore --in sessions.ndjson.gz --store env:OTHER_STORE --existing newer

  --in FILE          what \`backup\` wrote, compressed or not as its name says
  --existing WHAT    skip (leave what the store has; the default), overwrite, or newer (replace only what the
                     backup has a newer version of)
  --dry-run          check the file, count what would be written, write nothing
  --store URL        redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME for the URL in a
                     variable; default: the store of the environment
  --prefix TEXT      what every key begins with (REDIS_KEY_PREFIX)
  --batch N          entries written at once, at most (500)
  --json             progress and result as NDJSON on standard output

Expiries go on from when the backup was made; what has expired since is left out.
Exit codes: 0 done, 1 the backup is refused, 2 wrong usage, 3 store unavailable, 130 interrupted. After 3 and 130 the
same command again goes on: with --existing skip nothing is written twice.
`;

interface Counts {
  entries: number;
  written: number;
  skipped: number;
  /** Their time was over. */
  expired: number;
}

/** Reads the file to its end. How many entries it holds, and how many bytes. */
async function check(file: BackupFile, parts: CliParts, json: boolean): Promise<number> {
  const progress = createProgress(parts, { what: "checking", json });
  let count = 0;
  try {
    for await (const { entries, bytes } of file.pieces()) {
      stopIfAsked(parts.signal, "Stopped: nothing was written.");
      count += entries.length;
      progress.update(count, bytes);
    }
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === EXIT.failed)
      throw new CommandError(EXIT.failed, `${error.message} Nothing was written.`, { cause: error });
    throw error;
  } finally {
    progress.end();
  }
  return count;
}

interface WriteOptions {
  file: BackupFile;
  total: number;
  existing: Existing;
  dryRun: boolean;
  batch: number;
  json: boolean;
}

async function write(store: OpenStore, parts: CliParts, options: WriteOptions): Promise<Counts> {
  const { file, total, existing, dryRun, batch, json } = options;
  const progress = createProgress(parts, { what: dryRun ? "comparing" : "restoring", json, total });
  const counts: Counts = { entries: 0, written: 0, skipped: 0, expired: 0 };
  const again = "the same command again goes on";

  async function put(entries: readonly Entry[], madeAt: number): Promise<void> {
    const sinceMs = Math.max(0, parts.now() - madeAt);
    const living = entries
      .map((entry) => ({ ...entry, ttlMs: entry.ttlMs - sinceMs }))
      .filter(({ ttlMs }) => ttlMs >= 1);
    const { written, skipped } = await (dryRun ? wouldPut : putEntries)(store, living, existing);
    counts.entries += entries.length;
    counts.expired += entries.length - living.length;
    counts.written += written;
    counts.skipped += skipped;
  }

  try {
    for await (const { header, entries, bytes } of file.pieces()) {
      const madeAt = Date.parse(header.at);
      for (let at = 0; at < entries.length; at += batch) {
        stopIfAsked(parts.signal, `Stopped after ${counts.entries} of ${total} entries; ${again}.`);
        await put(entries.slice(at, at + batch), madeAt);
        progress.update(counts.entries, bytes);
      }
    }
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === EXIT.interrupted) throw error;
    const done = `${counts.entries} of ${total} entries were restored before`;
    throw new CommandError(error.exitCode, `${error.message} ${done}; ${again}.`, { cause: error });
  } finally {
    progress.end();
  }
  return counts;
}

/** `restore`: writes a backup to a store. */
export async function restore(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(
    args,
    {
      in: { type: "string" },
      existing: { type: "string" },
      "dry-run": { type: "boolean" },
      store: { type: "string" },
      ...STORE_FLAGS,
    },
    HELP,
    parts,
  );
  if (!read) return EXIT.done;
  const { in: path, store: url, prefix, json = false, "dry-run": dryRun = false } = read.values;
  noMore(read.positionals);
  if (path === undefined) throw usage("Say which file: --in FILE.");
  const existing = readWord(read.values.existing, "--existing", ["skip", "overwrite", "newer"]);
  const batch = readBatch(read.values.batch);
  const found = findStore(parts, url, "--store");
  const file = await openBackup(path);
  try {
    const total = await check(file, parts, json);
    const work = (): Promise<number> =>
      withStore(parts, found, { prefix, mayWrite: !dryRun }, async (store) => {
        const counts = await write(store, parts, { file, total, existing, dryRun, batch, json });
        const verb = dryRun ? "would be written" : "written";
        const words = [
          `${entriesOf(counts.entries)} in the backup: ${counts.written} ${verb} to ${store.label}, ${counts.skipped} skipped because the store has them, ${counts.expired} expired since.`,
        ];
        tell(parts, json, { ...counts, dryRun, commands: store.commands, store: store.label }, words);
        return EXIT.done;
      });
    return await (dryRun ? work() : acting(parts, "restore", found.label, work));
  } finally {
    await file.close();
  }
}
