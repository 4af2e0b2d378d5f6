import { createReadStream } from "node:fs";

/** More than any line of a chain has. What is longer is not read, only counted. */
export const MAX_LINE_BYTES = 64 * 1024;

export interface FileLine {
  /** From 1. */
  number: number;
  /** Without the line end. Undefined when the line is too long to be read. */
  bytes: Buffer | undefined;
  /** False for what stands behind the last line end. */
  isEnded: boolean;
}

/** The lines of a file, holding one of them and one chunk. Rejects when the file cannot be read. */
export async function* linesOf(path: string): AsyncGenerator<FileLine> {
  let number = 1;
  let begun: Buffer = Buffer.alloc(0);
  let isTooLong = false;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      const rest = chunk.subarray(from, end);
      from = end + 1;
      isTooLong ||= begun.length + rest.length > MAX_LINE_BYTES;
      const bytes = begun.length === 0 ? rest : Buffer.concat([begun, rest]);
      yield { number, bytes: isTooLong ? undefined : bytes, isEnded: true };
      number += 1;
      begun = Buffer.alloc(0);
      isTooLong = false;
    }
    const rest = chunk.subarray(from);
    isTooLong ||= begun.length + rest.length > MAX_LINE_BYTES;
    begun = isTooLong ? Buffer.alloc(0) : Buffer.concat([begun, rest]);
  }
  if (isTooLong || begun.length > 0) yield { number, bytes: isTooLong ? undefined : begun, isEnded: false };
}
