import { createHash } from "node:crypto";
import { Readable } from "node:stream";

import { encodeEntry, FORMAT, MAX_LINE_BYTES, VERSION, type Header, type Trailer } from "./backup-format.ts";
import { EXIT, stopIfAsked, usage } from "./command-error.ts";
import { packingOf } from "./compression.ts";
import { STORE_FLAGS, readBatch, noMore, readFlags, readWord } from "./flags.ts";
import { KINDS, type Kind } from "./kinds.ts";
import { findStore, withStore, type OpenStore } from "./open-store.ts";
import { walk } from "./pages.ts";
import type { CliParts } from "./parts.ts";
import { createProgress, type Progress } from "./progress.ts";
import { acting, bytesInWords, entriesOf, tell } from "./words.ts";
import { writeOut, writeWhole } from "./write-whole.ts";

const HELP = `Write what a store holds of sessions to a file. Gateways may serve meanwhile.

  mcp-sse-gateway backup --out sessions.ndjson.gz
  mcp-sse-gateway backup --store env:OTHER_STORE --kinds sessions --out sessions.ndjson
  mcp-sse-gateway backup > sessions.ndjson

  --out FILE      written under another name and renamed when whole; .gz, .br and .zst are compressed;
                  - or none: standard output
  --kinds WHICH   all (sessions, clients, journals, callers; the default) or sessions
  --store URL     redis://, rediss://, https://:TOKEN@host, file:directory, or env:NAME for the URL in a
                  variable; default: the store of the environment
  --prefix TEXT   what every key begins with (REDIS_KEY_PREFIX)
  --batch N       entries read at once, at most (500)
  --json          progress and result as NDJSON on standard output

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 store unavailable, 130 interrupted (nothing is left behind).
The file holds what clients and servers said to each other in journals: keep it as you keep the store.
`;

interface Counts {
  entries: number;
  bytes: number;
  /** Entries that no gateway made, or too long for a line. */
  leftOut: number;
}

/** Header, entries and trailer, a page at a time. */
async function* linesOf(
  store: OpenStore,
  options: { kinds: readonly Kind[]; batch: number; counts: Counts; progress: Progress; parts: CliParts },
): AsyncGenerator<Buffer, void, void> {
  const { kinds, batch, counts, progress, parts } = options;
  const sum = createHash("sha256");
  const startedAt = parts.now();
  const summed = (text: string): Buffer => {
    const bytes = Buffer.from(text);
    sum.update(bytes);
    return bytes;
  };
  const at = new Date(startedAt).toISOString();
  const header: Header = { format: FORMAT, version: VERSION, at, store: store.label, kinds: [...kinds] };
  yield summed(`${JSON.stringify(header)}\n`);
  for await (const page of walk(store, { kinds, batch })) {
    stopIfAsked(parts.signal, "Stopped: no backup was made.");
    const sinceMs = parts.now() - startedAt;
    counts.leftOut += page.foreign;
    const lines: Buffer[] = [];
    for (const entry of page.entries) {
      const line = summedIfShort(encodeEntry(entry, sinceMs));
      if (line === undefined) counts.leftOut++;
      else {
        counts.entries++;
        counts.bytes += line.length;
        lines.push(line);
      }
    }
    if (lines.length > 0) yield Buffer.concat(lines);
    progress.update(counts.entries, counts.bytes);
  }
  const trailer: Trailer = { count: counts.entries, sha256: sum.digest("hex") };
  yield Buffer.from(`${JSON.stringify(trailer)}\n`);

  function summedIfShort(text: string): Buffer | undefined {
    return Buffer.byteLength(text) > MAX_LINE_BYTES ? undefined : summed(text);
  }
}

/** `backup`: writes the entries of a store to a file or to standard output. */
export async function backup(args: string[], parts: CliParts): Promise<number> {
  const read = readFlags(
    args,
    {
      out: { type: "string" },
      kinds: { type: "string" },
      store: { type: "string" },
      ...STORE_FLAGS,
    },
    HELP,
    parts,
  );
  if (!read) return EXIT.done;
  const { out = "-", store: url, prefix, json = false } = read.values;
  noMore(read.positionals);
  const kinds = readWord(read.values.kinds, "--kinds", ["all", "sessions"]) === "all" ? KINDS : [KINDS[0]];
  const batch = readBatch(read.values.batch);
  const toStdout = out === "-";
  if (toStdout && json)
    throw usage("--json and the backup cannot both go to standard output: give --out FILE.");
  const packing = packingOf(out);
  if (packing === "unknown") throw usage("This Node has no zstd: use .gz or .br, or Node 22.15 or newer.");
  const found = findStore(parts, url, "--store");

  return await acting(parts, "backup", found.label, () =>
    withStore(parts, found, { prefix, mayWrite: false }, async (store) => {
      const counts: Counts = { entries: 0, bytes: 0, leftOut: 0 };
      const progress = createProgress(parts, { what: "backing up", json });
      const lines = Readable.from(linesOf(store, { kinds, batch, counts, progress, parts }), {
        highWaterMark: 1,
      });
      const pack = packing === "plain" ? undefined : packing.pack();
      try {
        await (toStdout ? writeOut(parts.stdout, lines, pack) : writeWhole(out, lines, pack));
      } finally {
        progress.end();
      }
      const words = [
        `${entriesOf(counts.entries)} of ${store.label}, ${bytesInWords(counts.bytes)}, ${store.commands} commands.`,
        ...(counts.leftOut === 0
          ? []
          : [`${entriesOf(counts.leftOut)} left out: no gateway could have made that.`]),
      ];
      if (toStdout) parts.stderr.write(`${words.join("\n")}\n`);
      else tell(parts, json, { ...counts, commands: store.commands, store: store.label }, words);
      return EXIT.done;
    }),
  );
}
