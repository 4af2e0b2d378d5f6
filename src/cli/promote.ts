import { CommandError, EXIT, stopIfAsked, usage } from "./command-error.ts";
import { comparisonWords } from "./compare.ts";
import { copyStore } from "./copy-store.ts";
import { PAIR_FLAGS, readBatch, noMore, readFlags } from "./flags.ts";
import { findStore, openStore, withStore, type OpenStore } from "./open-store.ts";
import { walk } from "./pages.ts";
import type { CliParts, NamedStore } from "./parts.ts";
import { createProgress } from "./progress.ts";
import { compareWithProgress } from "./verify.ts";
import { acting, counted, entriesOf, tell } from "./words.ts";

const HELP = `Put the mirror in the place of the primary store.

  mcp-sse-gateway promote --from redis://primary:6379 --to env:SESSION_MIRROR

Copies to the mirror what it lacks, newer versions winning, compares the two, and prints the settings to change. When the
primary cannot be reached it says what cannot be known.

  --from URL     the primary; default: the store of the environment
  --to URL       the mirror: redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME
  --prefix TEXT  what every key begins with (REDIS_KEY_PREFIX)
  --batch N      entries copied at once, at most (500)
  --json         progress and result as NDJSON on standard output

Exit codes: 0 the mirror has all that the primary has; 1 the primary cannot be reached, so the mirror may lack its last
writes, or gateways still write to the primary; 2 wrong usage; 3 the mirror is unavailable; 130 interrupted.
`;

/** Names of the settings that say where the store is. */
const SETTINGS: Record<NamedStore["target"]["kind"], string> = {
  memory: "",
  file: "SESSION_STORE=file and SESSION_DIR",
  redis: "SESSION_STORE=redis and REDIS_URL",
  upstash: "SESSION_STORE=upstash, UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN",
};

const settingsWords = (mirror: NamedStore): string[] => [
  "Then, on every instance:",
  `  1. set ${SETTINGS[mirror.target.kind]} to ${mirror.label}`,
  "  2. unset SESSION_MIRROR",
  "  3. restart; clients come back to their sessions by themselves",
  "  4. when the old primary is back: set SESSION_MIRROR to it, and it is filled again",
];

interface Options {
  batch: number;
  json: boolean;
}

/** The primary, or undefined when it does not serve. */
async function reach(parts: CliParts, primary: NamedStore, prefix: string | undefined) {
  try {
    return await openStore(parts, primary, { prefix, mayWrite: false });
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === EXIT.store) return undefined;
    throw error;
  }
}

async function fill(from: OpenStore, to: OpenStore, parts: CliParts, { batch, json }: Options) {
  const progress = createProgress(parts, { what: "copying", json });
  try {
    return await copyStore(from, to, {
      existing: "newer",
      deleteAfter: false,
      dryRun: false,
      batch,
      signal: parts.signal,
      onPage: async (_, { seen, bytes }) => progress.update(seen, bytes),
    });
  } finally {
    progress.end();
  }
}

async function countSessions(store: OpenStore, parts: CliParts, { batch, json }: Options): Promise<number> {
  const progress = createProgress(parts, { what: "counting", json });
  let count = 0;
  try {
    for await (const { entries, bytes } of walk(store, { kinds: ["session:"], batch })) {
      stopIfAsked(parts.signal, "Stopped: nothing was changed.");
      count += entries.length;
      progress.update(count, bytes);
    }
  } finally {
    progress.end();
  }
  return count;
}

async function withPrimary(
  from: OpenStore,
  to: OpenStore,
  parts: CliParts,
  options: Options,
  then: string[],
) {
  const { written } = await fill(from, to, parts, options);
  const found = await compareWithProgress(from, to, parts, options);
  // What the mirror has beyond the primary does no harm: it was removed there, and expires here.
  const lacks = Object.values(found.kinds).some(({ missing, different }) => missing + different > 0);
  const words = [
    `${entriesOf(written)} copied to ${to.label}.`,
    ...comparisonWords(found),
    ...(lacks ? ["Gateways still write to the primary: stop them, or run this again."] : []),
    ...then,
  ];
  tell(parts, options.json, { reached: true, written, ...found, from: from.label, to: to.label }, words);
  return lacks ? EXIT.failed : EXIT.done;
}

async function withoutPrimary(
  primary: string,
  to: OpenStore,
  parts: CliParts,
  options: Options,
  then: string[],
) {
  const sessions = await countSessions(to, parts, options);
  const words = [
    `${primary} cannot be reached.`,
    `${to.label} holds ${counted(sessions, "session")}.`,
    "Whether it has the last writes of the primary cannot be known: the metrics of the mirror's lag and drops on the",
    "gateways say how far it was behind. Gateways write sessions that are open again as soon as they use the mirror.",
    ...then,
  ];
  tell(parts, options.json, { reached: false, sessions, from: primary, to: to.label }, words);
  return EXIT.failed;
}

/** `promote`: fills a mirror from its primary as far as that can be reached, and says what to set. */
export async function promote(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(args, PAIR_FLAGS, HELP, parts);
  if (!read) return EXIT.done;
  const { from: fromUrl, to: toUrl, prefix, json = false } = read.values;
  noMore(read.positionals);
  if (toUrl === undefined) throw usage("Say which store the mirror is: --to URL.");
  const batch = readBatch(read.values.batch);
  const primary = findStore(parts, fromUrl, "--from");
  const mirror = findStore(parts, toUrl, "--to");
  if (primary.label === mirror.label) throw usage("--from and --to are the same store.");
  const options = { batch, json };
  const then = settingsWords(mirror);
  return await acting(parts, "promote", mirror.label, () =>
    withStore(parts, mirror, { prefix, mayWrite: true }, async (to) => {
      const from = await reach(parts, primary, prefix);
      if (!from) return await withoutPrimary(primary.label, to, parts, options, then);
      try {
        return await withPrimary(from, to, parts, options, then);
      } finally {
        await from.close();
      }
    }),
  );
}
