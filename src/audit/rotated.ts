import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** The name of an audit file that was set aside: the number of its first line, so that names sort as lines do. */
export const rotatedName = (path: string, firstSeq: number, again = 0): string =>
  `${path}.${String(firstSeq).padStart(12, "0")}${again === 0 ? "" : `-${again}`}`;

export interface RotatedFile {
  path: string;
  firstSeq: number;
}

/** The files that were set aside, oldest first. A directory that is not there has none. */
export async function rotatedFiles(path: string): Promise<RotatedFile[]> {
  const directory = dirname(path);
  const prefix = `${basename(path)}.`;
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => ({ name, form: /^(\d{12,15})(?:-(\d+))?$/.exec(name.slice(prefix.length)) }))
    .filter(({ form }) => form !== null)
    .map(({ name, form }) => ({
      path: join(directory, name),
      firstSeq: Number(form?.[1]),
      again: Number(form?.[2] ?? 0),
    }))
    .toSorted((one, other) => one.firstSeq - other.firstSeq || one.again - other.again)
    .map(({ path: file, firstSeq }) => ({ path: file, firstSeq }));
}
