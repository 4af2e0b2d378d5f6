import { lstat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { firstSeqOf } from "./recover.ts";
import { rotatedFiles } from "./rotated.ts";
import type { AuditReport } from "./report.ts";
import { verifyAudit } from "./verify.ts";

export interface AuditCommandParts {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown };
  /** Where `AUDIT_LOG` is looked up. */
  env: Readonly<Record<string, string | undefined>>;
}

const USAGE = `mcp-sse-gateway audit verify [FILE...] [--expect HASH]... [--mixed] [--json]

Finds what was altered, removed, added or moved in an audit log. Without FILE: the file of AUDIT_LOG and all that were
set aside before it.

  --expect HASH  a hash that was noted elsewhere must be in the chain
  --mixed        records stand among other lines, as on standard output
  --json         the report as JSON

Exit code: 0 whole, 1 broken, 2 usage or a file that cannot be read.
`;

const ATTEMPTS = 10;
const LOOK_AGAIN_MS = 100;

class UsageError extends Error {}

/** Carries out `audit ...` and resolves with the exit code. `args` is what stands behind `audit`. */
export async function auditCommand(args: readonly string[], parts: AuditCommandParts): Promise<number> {
  try {
    const asked = read(args);
    if (asked === "help") {
      parts.stdout.write(USAGE);
      return 0;
    }
    const report =
      asked.files.length === 0
        ? await verifyLog(parts.env["AUDIT_LOG"], asked.expect)
        : await verifyAudit(await inOrder(asked.files, asked.isMixed), asked);
    parts.stdout.write(asked.isJson ? `${JSON.stringify(report)}\n` : inWords(report));
    return report.isWhole ? 0 : 1;
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (error instanceof UsageError) parts.stderr.write(`${error.message}\n\n${USAGE}`);
    else if (code !== undefined && path !== undefined)
      parts.stderr.write(`${path}: cannot be read (${code})\n`);
    else throw error;
    return 2;
  }
}

interface Asked {
  files: string[];
  expect: string[];
  isMixed: boolean;
  isJson: boolean;
}

function read(args: readonly string[]): Asked | "help" {
  const { values, positionals } = parsed(args);
  if (values.help) return "help";
  const [verb, ...files] = positionals;
  if (verb !== "verify")
    throw new UsageError(verb === undefined ? "Say what to do." : `There is no audit ${verb}.`);
  const expect = (values.expect ?? []).map((hash) => hash.toLowerCase());
  if (expect.some((hash) => !/^[0-9a-f]{64}$/.test(hash)))
    throw new UsageError("--expect takes the 64 hex digits of a hash.");
  return { files, expect, isMixed: values.mixed ?? false, isJson: values.json ?? false };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        expect: { type: "string", multiple: true },
        mixed: { type: "boolean" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Verifies the log that is set, which may be written meanwhile: what a rotation has moved is read again. */
async function verifyLog(path: string | undefined, expect: readonly string[]): Promise<AuditReport> {
  for (let attempt = 1; ; attempt += 1) {
    const files = await filesOf(path);
    const report = await verifyAudit(files, { expect, isAll: true }).catch(ifGone);
    const isAsItWas = (await filesOf(path)).join("\n") === files.join("\n");
    const isUnfinished = report?.faults.some(({ kind }) => kind === "unfinished") ?? true;
    if (report !== undefined && (report.isWhole || attempt >= ATTEMPTS || (isAsItWas && !isUnfinished)))
      return report;
    if (report === undefined && (isAsItWas || attempt >= ATTEMPTS))
      throw Object.assign(new Error("gone"), { code: "ENOENT", path: files.at(-1) });
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Undefined when a file was removed or renamed before it was read. */
function ifGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/** The files of the log that is set, oldest first. */
async function filesOf(path: string | undefined): Promise<string[]> {
  if (path === undefined || path === "") throw new UsageError("AUDIT_LOG is not set: name the files.");
  if (path === "stdout" || path.includes("{instance}"))
    throw new UsageError("AUDIT_LOG does not say which file: name the files.");
  const files = (await rotatedFiles(path)).map((file) => file.path);
  const isThere = await lstat(path).catch(() => undefined);
  // Between two files there may be no present one.
  return isThere !== undefined || files.length === 0 ? [...files, path] : files;
}

/** Files as their first lines stand in the chain: a shell sorts the present one to the front. */
async function inOrder(files: readonly string[], isMixed: boolean): Promise<string[]> {
  const named = files.filter((file) => !file.endsWith(".lock"));
  if (isMixed) return named;
  const begun = [];
  for (const file of named) begun.push({ file, seq: (await firstSeqOf(file)) ?? Infinity });
  return begun.toSorted((one, other) => one.seq - other.seq).map(({ file }) => file);
}

function inWords(report: AuditReport): string {
  const { first, last, files, lines, openings, faults, faultCount, lost, torn } = report;
  const words = faults.map(({ kind, file, line, words: said }) =>
    file === undefined ? `${kind}: ${said}` : `${file}:${line}: ${kind}: ${said}`,
  );
  if (faultCount > faults.length) words.push(`... and ${faultCount - faults.length} more`);
  words.push(report.isWhole ? "whole" : `broken: ${faultCount} faults`);
  words.push(`${files} files, ${lines} lines, opened ${openings} times`);
  if (first) words.push(`begins at ${first.seq}  ${first.hash}`);
  if (last) words.push(`ends at   ${last.seq}  ${last.hash}`);
  if (torn > 0) words.push(`${torn} writes were broken off, and the log says so`);
  if (lost > 0) words.push(`${lost} records could not be written, and the log says so`);
  return `${words.join("\n")}\n`;
}
