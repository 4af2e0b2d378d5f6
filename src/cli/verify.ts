import { EXIT, usage } from "./command-error.ts";
import { compareStores, comparisonWords, type Comparison } from "./compare.ts";
import { PAIR_FLAGS, readBatch, noMore, readFlags } from "./flags.ts";
import { findStore, withStore, type OpenStore } from "./open-store.ts";
import type { CliParts } from "./parts.ts";
import { createProgress } from "./progress.ts";
import { tell } from "./words.ts";

const HELP = `Compare what two stores hold of sessions. Nothing is written.

  mcp-sse-gateway verify --from redis://old:6379 --to env:NEW_STORE

  --from URL     default: the store of the environment
  --to URL       redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME for the URL in a variable
  --prefix TEXT  what every key begins with (REDIS_KEY_PREFIX)
  --batch N      entries compared at once, at most (500)
  --json         progress and result as NDJSON on standard output

missing: only in --from. extra: only in --to. Expiries are not compared; leases are each instance's own.
Exit codes: 0 the same, 1 differences, 2 wrong usage, 3 store unavailable, 130 interrupted.
`;

/** Compares two open stores and shows how far it is. */
export async function compareWithProgress(
  from: OpenStore,
  to: OpenStore,
  parts: CliParts,
  { batch, json }: { batch: number; json: boolean },
): Promise<Comparison> {
  const progress = createProgress(parts, { what: "comparing", json });
  try {
    const { signal } = parts;
    return await compareStores(from, to, { batch, signal, onProgress: progress.update });
  } finally {
    progress.end();
  }
}

/** `verify`: compares two stores. */
export async function verify(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(args, PAIR_FLAGS, HELP, parts);
  if (!read) return EXIT.done;
  const { from: fromUrl, to: toUrl, prefix, json = false } = read.values;
  noMore(read.positionals);
  if (toUrl === undefined) throw usage("Say which store to compare with: --to URL.");
  const batch = readBatch(read.values.batch);
  const source = findStore(parts, fromUrl, "--from");
  const destination = findStore(parts, toUrl, "--to");
  return await withStore(parts, source, { prefix, mayWrite: false }, (from) =>
    withStore(parts, destination, { prefix, mayWrite: false }, async (to) => {
      const found = await compareWithProgress(from, to, parts, { batch, json });
      tell(parts, json, { ...found, from: from.label, to: to.label }, comparisonWords(found));
      return found.same ? EXIT.done : EXIT.failed;
    }),
  );
}
