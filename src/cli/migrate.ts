import { CommandError, EXIT, usage } from "./command-error.ts";
import { PAIR_FLAGS, readBatch, noMore, readFlags, readWord } from "./flags.ts";
import { copyStore } from "./copy-store.ts";
import { readState, removeState, writeState, type MigrationCounts } from "./migration-file.ts";
import { findStore, withStore, type OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { createProgress } from "./progress.ts";
import { refuseSameStore } from "./same-store.ts";
import { abandonSwitch, showSwitch } from "./switch-over.ts";
import { acting, bytesInWords, entriesOf, tell } from "./words.ts";

const HELP = `Copy what one store holds of sessions to another.

  mcp-sse-gateway migrate --from redis://old:6379 --to env:NEW_STORE --dry-run
  mcp-sse-gateway migrate --from redis://old:6379 --to env:NEW_STORE
  mcp-sse-gateway migrate --from redis://old:6379 --to env:NEW_STORE --live

  --from URL       default: the store of the environment
  --to URL         redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME for the URL in a variable
  --existing WHAT  skip (leave what the destination has; the default) or newer (replace older versions)
  --delete-after   remove from the source what the destination verifiably has and what has not changed since
  --dry-run        count what would be copied; write nothing
  --live           take the gateways that serve along: write both, copy, compare, switch. They have --to as their
                   SESSION_MIRROR, and the settings are changed afterwards
  --abandon        give up a live move that was begun and has not changed over
  --resume FILE    where progress is kept while it runs (.mcp-migrate.json)
  --prefix TEXT    what every key begins with (REDIS_KEY_PREFIX)
  --batch N        entries copied at once, at most (500)
  --json           progress and result as NDJSON on standard output

After Ctrl-C, a kill, or a store that went away: the same command again goes on where it was. If the source was
restarted in between, remove the progress file first: nothing is written twice.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 store unavailable, 130 interrupted.
`;

const OPTIONS = {
  existing: { type: "string" },
  "delete-after": { type: "boolean" },
  "dry-run": { type: "boolean" },
  live: { type: "boolean" },
  abandon: { type: "boolean" },
  resume: { type: "string" },
  ...PAIR_FLAGS,
} as const;

interface Settings {
  existing: "skip" | "newer";
  deleteAfter: boolean;
  dryRun: boolean;
  batch: number;
  json: boolean;
  /** Where progress is kept. */
  path: string;
  prefix: string | undefined;
}

/** Copies from where an earlier run stopped, and keeps note of how far it is. */
async function copy(
  from: OpenStore,
  to: OpenStore,
  parts: CliParts,
  settings: Settings,
): Promise<MigrationCounts> {
  const { dryRun, deleteAfter, path, json, existing, prefix } = settings;
  // Another prefix, or other rules, make another migration of the same two stores.
  const rules = [
    ...(prefix === undefined ? [] : [`prefix ${prefix}`]),
    existing,
    ...(deleteAfter ? ["delete-after"] : []),
  ];
  const source = `${from.label} (${rules.join(", ")})`;
  const before = dryRun ? undefined : await readState(path, source, to.label);
  if (before) parts.stderr.write(`Going on after ${entriesOf(before.counts.seen)}.\n`);
  if (deleteAfter && !dryRun) await refuseSameStore(from, to);
  const what = dryRun ? "comparing" : "migrating";
  const progress = createProgress(parts, { what, json, already: before?.counts.seen });
  try {
    const counts = await copyStore(from, to, {
      ...settings,
      signal: parts.signal,
      before,
      onPage: async (cursor, now) => {
        progress.update(now.seen, now.bytes);
        if (!dryRun && cursor !== undefined)
          await writeState(path, { from: source, to: to.label, cursor, counts: now });
      },
    });
    if (!dryRun) await removeState(path);
    return counts;
  } catch (error) {
    if (!(error instanceof CommandError) || dryRun) throw error;
    throw new CommandError(error.exitCode, `${error.message} The same command again goes on.`, {
      cause: error,
    });
  } finally {
    progress.end();
  }
}

/** `migrate`: copies one store to another. */
export async function migrate(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(args, OPTIONS, HELP, parts);
  if (!read) return EXIT.done;
  const {
    from: fromUrl,
    to: toUrl,
    prefix,
    json = false,
    live = false,
    abandon = false,
    resume,
  } = read.values;
  const { "delete-after": deleteAfter = false, "dry-run": dryRun = false } = read.values;
  noMore(read.positionals);
  if (toUrl === undefined) throw usage("Say where to: --to URL.");
  const copies = deleteAfter || dryRun || resume !== undefined || read.values.existing !== undefined;
  if ((live || abandon) && (copies || live === abandon))
    throw usage("--live or --abandon goes with none of --delete-after, --dry-run, --existing and --resume.");
  const existing = readWord(read.values.existing, "--existing", ["skip", "newer"]);
  const batch = readBatch(read.values.batch);
  const source = findStore(parts, fromUrl, "--from");
  const destination = findStore(parts, toUrl, "--to");
  if (source.label === destination.label) throw usage("--from and --to are the same store.");
  const path = resume ?? ".mcp-migrate.json";
  const settings: Settings = { existing, deleteAfter, dryRun, batch, json, path, prefix };

  const work = (): Promise<number> =>
    withStore(parts, source, { prefix, mayWrite: !dryRun && (deleteAfter || live || abandon) }, (from) =>
      withStore(parts, destination, { prefix, mayWrite: !dryRun }, async (to) => {
        if (live) return await showSwitch(from, to, parts, { batch, json });
        if (abandon) return await abandonSwitch(from, to, parts, json);
        const counts = await copy(from, to, parts, settings);
        const verb = dryRun ? "would be written" : "written";
        const billed = { from: from.commands, to: to.commands };
        tell(parts, json, { ...counts, dryRun, commands: billed, from: from.label, to: to.label }, [
          `${entriesOf(counts.seen)} of ${from.label}, ${bytesInWords(counts.bytes)}: ${counts.written} ${verb} to ${to.label}, ${counts.skipped} skipped, ${counts.removed} removed from the source.`,
          `${billed.from} commands at the source, ${billed.to} at the destination.`,
        ]);
        return EXIT.done;
      }),
    );
  return await (dryRun ? work() : acting(parts, "migrate", `${source.label} to ${destination.label}`, work));
}
