import { BadLine } from "./backup-format.ts";

/** Splits bytes into lines, each with its end. The last one has none when the bytes end in its middle. */
export async function* splitLines(
  chunks: AsyncIterable<Buffer>,
  maxLineBytes: number,
): AsyncGenerator<Buffer, void, void> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      const part = chunk.subarray(start, end + 1);
      start = end + 1;
      if (heldBytes + part.length > maxLineBytes) throw tooLong(maxLineBytes);
      yield heldBytes === 0 ? part : Buffer.concat([...held, part]);
      held = [];
      heldBytes = 0;
    }
    if (start === chunk.length) continue;
    const rest = chunk.subarray(start);
    heldBytes += rest.length;
    if (heldBytes > maxLineBytes) throw tooLong(maxLineBytes);
    held.push(rest);
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}

const tooLong = (maxLineBytes: number): BadLine => new BadLine(`is longer than ${maxLineBytes} bytes`);
