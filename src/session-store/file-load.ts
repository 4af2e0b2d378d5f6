import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { ConfigError } from "../errors.ts";
import { FORMAT_VERSION, HEADER_BYTES, readHeader, readLine, type FileKind } from "./file-format.ts";
import { fileName, listFiles } from "./file-names.ts";
import { scanLines, type Scan, type Span } from "./file-scan.ts";
import type { Table } from "./table.ts";

/** What is not as we left it. */
export type Finding =
  | { what: "foreign"; name: string }
  | { what: "torn" | "damaged"; name: string; spans: Span[] }
  | { what: "incomplete"; name: string };

export interface Loaded {
  /** Number of the snapshot that was read; 0 without one. */
  snapshot: number;
  snapshotBytes: number;
  /** The newest log, where its last whole line ends, and the bytes of all that were read. */
  log: { number: number; end: number } | undefined;
  logBytes: number;
  /** No file has a higher number. */
  lastNumber: number;
  findings: Finding[];
}

interface OpenFile {
  kind: FileKind;
  number: number;
  file: FileHandle;
  /** Where its lines begin. */
  start: number;
}

/** Opens a file if its header is ours. Rejects with a ConfigError when a newer gateway wrote it. */
async function openOurs(directory: string, kind: FileKind, number: number): Promise<OpenFile | "foreign"> {
  const file = await open(join(directory, fileName(kind, number)), "r");
  try {
    const first = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await file.read(first, 0, HEADER_BYTES, 0);
    const length = first.subarray(0, bytesRead).indexOf("\n");
    const version = readHeader(first.toString("latin1", 0, Math.max(length, 0)), kind);
    if (version === FORMAT_VERSION) return { kind, number, file, start: length + 1 };
    if (version === undefined) {
      await file.close();
      return "foreign";
    }
    throw new ConfigError([
      `SESSION_DIR: its files are of format ${version}, and this gateway knows format ${FORMAT_VERSION}. Run the version that wrote them, or choose another directory.`,
    ]);
  } catch (error) {
    await file.close();
    // A directory under our name can be opened and not read.
    if ((error as { code?: unknown }).code === "EISDIR") return "foreign";
    throw error;
  }
}

/** Opens the newest snapshot and the logs since, so that what is removed meanwhile can still be read. */
async function openAll(
  directory: string,
  findings: Finding[],
): Promise<{ files: OpenFile[]; lastNumber: number }> {
  const listing = await listFiles(directory);
  const files: OpenFile[] = [];
  async function add(kind: FileKind, number: number): Promise<boolean> {
    const opened = await openOurs(directory, kind, number);
    if (opened === "foreign") findings.push({ what: "foreign", name: fileName(kind, number) });
    else files.push(opened);
    return opened !== "foreign";
  }
  try {
    let since = 0;
    for (const number of listing.snapshot.toReversed()) {
      if (since === 0 && (await add("snapshot", number))) since = number;
    }
    for (const number of listing.log) if (number >= since) await add("log", number);
  } catch (error) {
    for (const { file } of files) await file.close();
    throw error;
  }
  return { files, lastNumber: Math.max(0, ...listing.snapshot, ...listing.log) };
}

function noteScan(findings: Finding[], name: string, { damaged, torn }: Scan): void {
  if (damaged.length > 0) findings.push({ what: "damaged", name, spans: damaged });
  if (torn) findings.push({ what: "torn", name, spans: [torn] });
}

/**
 * Reads a directory's files into a table, and changes nothing in the directory. Rejects with `ENOENT` when a file went
 * while it looked, as when it was compacted.
 *
 * @param offsetMs what makes an instant of UTC of one of the table's clock.
 */
export async function loadFiles(directory: string, table: Table, offsetMs: number): Promise<Loaded> {
  const findings: Finding[] = [];
  const { files, lastNumber } = await openAll(directory, findings);
  const loaded: Loaded = { snapshot: 0, snapshotBytes: 0, log: undefined, logBytes: 0, lastNumber, findings };
  try {
    for (const { kind, number, file, start } of files) {
      let [entries, expected] = [0, -1];
      const scan = await scanLines(file, start, (line) => {
        const meaning = readLine(line, offsetMs);
        if (meaning === undefined || meaning === "nothing") return meaning !== undefined;
        if ("entries" in meaning) expected = meaning.entries;
        else {
          table.apply(meaning.change);
          entries += 1;
        }
        return true;
      });
      noteScan(findings, fileName(kind, number), scan);
      if (kind === "log") {
        loaded.log = { number, end: scan.end };
        loaded.logBytes += scan.end;
        continue;
      }
      Object.assign(loaded, { snapshot: number, snapshotBytes: scan.end });
      if (entries !== expected) findings.push({ what: "incomplete", name: fileName(kind, number) });
    }
  } finally {
    for (const { file } of files) await file.close();
  }
  return loaded;
}
