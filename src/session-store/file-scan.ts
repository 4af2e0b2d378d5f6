import type { FileHandle } from "node:fs/promises";

/** Bytes of a file, the end excluded. */
export interface Span {
  start: number;
  end: number;
}

export interface Scan {
  /** What no line could be made of; neighbours are one. */
  damaged: Span[];
  /** Where the last line that could be read ends. What comes after it is `torn`. */
  end: number;
  /** What is left at the end of the file by whoever was interrupted in mid-write. */
  torn: Span | undefined;
}

const CHUNK_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Reads a file line by line from `start` to the size it has now.
 *
 * @param take is given each line without its end, and answers whether it could be read.
 */
export async function scanLines(
  file: FileHandle,
  start: number,
  take: (line: Buffer) => boolean,
): Promise<Scan> {
  const { size } = await file.stat();
  const damaged: Span[] = [];
  let end = start;
  let lineStart = start;
  let begun: Buffer[] = [];

  function endLine(rest: Buffer, lineEnd: number): void {
    const line = begun.length === 0 ? rest : Buffer.concat([...begun, rest]);
    begun = [];
    if (take(line)) end = lineEnd;
    else if (damaged.at(-1)?.end === lineStart) (damaged.at(-1) as Span).end = lineEnd;
    else damaged.push({ start: lineStart, end: lineEnd });
    lineStart = lineEnd;
  }

  for (let position = start; position < size;) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size - position));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) break;
    const bytes = chunk.subarray(0, bytesRead);
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE); to >= 0; to = bytes.indexOf(NEWLINE, from)) {
      endLine(bytes.subarray(from, to), position + to + 1);
      from = to + 1;
    }
    if (from < bytes.length) begun.push(bytes.subarray(from));
    position += bytesRead;
  }
  // Damage up to the end is what a write that was cut short looks like.
  const torn = end < size ? { start: end, end: size } : undefined;
  return { damaged: damaged.filter((span) => span.end <= end), end, torn };
}
