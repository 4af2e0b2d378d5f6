import { open, rename, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Log } from "../log.ts";
import type { Finding } from "./file-load.ts";
import { failureOf } from "./file-log.ts";
import { asideName, FILE_MODE, listFiles } from "./file-names.ts";
import type { Span } from "./file-scan.ts";

/** Torn ends are of no use but to whoever looks into a crash, and each crash may leave one. */
const TORN_FILES_KEPT = 10;

const WORDS = {
  foreign: "a file in the session directory is not ours and was set aside",
  torn: "a write to the session file was cut short; what came before it is whole, and the rest was set aside",
  damaged: "the session file is damaged; all that can be read is kept, and the rest was set aside",
  incomplete: "the session snapshot is not complete; all that can be read is kept",
} as const;

async function copySpans(from: string, spans: readonly Span[], to: string): Promise<void> {
  const file = await open(from, "r");
  try {
    const parts: Buffer[] = [];
    for (const { start, end } of spans) {
      const part = Buffer.alloc(end - start);
      await file.read(part, 0, part.length, start);
      parts.push(part);
    }
    await writeFile(to, Buffer.concat(parts), { mode: FILE_MODE, flag: "wx" });
  } finally {
    await file.close();
  }
}

/**
 * Sets aside what does not belong into the files, and tells of each. Never rejects for want of room for it: a torn end
 * was never acknowledged. Answers whether the files still hold damage, so that they have to be written anew.
 */
export async function repairFiles(
  directory: string,
  findings: readonly Finding[],
  log: Log,
): Promise<{ needsRewrite: boolean }> {
  for (const finding of findings) {
    const { what, name } = finding;
    const path = join(directory, name);
    if (what === "incomplete") {
      log.error({ file: name }, WORDS[what]);
      continue;
    }
    const aside = asideName(directory, name, what);
    const moving =
      what === "foreign"
        ? rename(path, join(directory, aside))
        : copySpans(path, finding.spans, join(directory, aside));
    const failure = await moving.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (what === "torn") await truncate(path, finding.spans[0]?.start ?? 0);
    const bytes =
      what === "foreign"
        ? {}
        : { bytes: finding.spans.reduce((sum, span) => sum + span.end - span.start, 0) };
    const told = {
      file: name,
      ...bytes,
      ...(failure === undefined ? { aside } : { code: failureOf(failure).code }),
    };
    log[what === "damaged" ? "error" : "warn"](
      told,
      failure === undefined ? WORDS[what] : "the session files could not be put in order in full",
    );
  }
  const { torn, unfinished } = await listFiles(directory);
  for (const name of [...unfinished, ...torn.slice(0, -TORN_FILES_KEPT)]) await unlink(join(directory, name));
  const needsRewrite = findings.some(
    ({ what, name }) =>
      what === "damaged" || what === "incomplete" || (what === "torn" && name.startsWith("snapshot")),
  );
  return { needsRewrite };
}
