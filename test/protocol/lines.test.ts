import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLineReader } from "../../src/protocol/lines.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** Reads the chunks to their end; `too long` stands where a line was refused. */
function read(chunks: readonly Buffer[], maxLineBytes = 1 << 20): string[] {
  const lines: string[] = [];
  const reader = createLineReader({
    maxLineBytes,
    onLine: (line) => lines.push(line.toString("latin1")),
    onTooLong: () => lines.push("too long"),
  });
  for (const chunk of chunks) reader.push(chunk);
  reader.end();
  return lines;
}

/** What the reader should find, said the slow way. */
function linesOf(text: string): string[] {
  const parts = text.split("\n");
  const last = parts.pop() ?? "";
  return [...parts.map((part) => part.replace(/\r$/, "")), last].filter((line) => line !== "");
}

/** Bytes in which line ends are frequent, cut at any places. */
const cutBytes = fc
  .tuple(
    fc.array(
      fc.constantFrom(
        "\n",
        "\r",
        "\r\n",
        "a",
        "{}",
        "\xf0\x9f\x98\x80",
        "\xe2\x80\xa8",
        "\0",
        "long enough to keep",
      ),
    ),
    fc.array(fc.nat()),
  )
  .map(([parts, cuts]) => {
    const text = parts.join("");
    const places = [0, ...cuts.map((cut) => cut % (text.length + 1)), text.length].sort((a, b) => a - b);
    const chunks = places.slice(1).map((place, n) => Buffer.from(text.slice(places[n], place), "latin1"));
    return { text, chunks };
  });

describe("createLineReader", () => {
  it("FLT-37 finds the same lines wherever the bytes are cut", () => {
    fc.assert(
      fc.property(cutBytes, ({ text, chunks }) => {
        expect(read(chunks)).toEqual(linesOf(text));
      }),
    );
  });

  it("FLT-37 refuses the same line wherever the bytes are cut", () => {
    fc.assert(
      fc.property(cutBytes, fc.integer({ min: 1, max: 30 }), ({ text, chunks }, max) => {
        const lines = linesOf(text);
        const refused = lines.findIndex((line) => line.length > max);
        expect(read(chunks, max)).toEqual(refused === -1 ? lines : [...lines.slice(0, refused), "too long"]);
      }),
    );
  });

  it("FLT-37 puts a character together that is cut at any of its bytes", () => {
    const bytes = Buffer.from('{"text":"😀"}\n{"text":"é"}\n');
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const lines = read([bytes.subarray(0, cut), bytes.subarray(cut)]);
      expect(lines.map((line) => Buffer.from(line, "latin1").toString())).toEqual([
        '{"text":"😀"}',
        '{"text":"é"}',
      ]);
    }
  });

  it("ends lines at LF and CRLF only", () => {
    const text = "a\r\nb\nc\rd\u2028e\u2029f\u0085g\n\n\r\n\r\r\nlast\r";
    const lines = read([Buffer.from(text)]).map((line) => Buffer.from(line, "latin1").toString());
    expect(lines).toEqual(["a", "b", "c\rd\u2028e\u2029f\u0085g", "\r", "last\r"]);
  });

  it("takes a line of just the limit, whatever its line end", () => {
    expect(read([Buffer.from("12345\r\n12345\n12345")], 5)).toEqual(["12345", "12345", "12345"]);
    expect(read([Buffer.from("123456\n1\n")], 5)).toEqual(["too long"]);
    expect(read([Buffer.from("12345"), Buffer.from("\r"), Buffer.from("\n")], 5)).toEqual(["12345"]);
    expect(read([Buffer.from("12345"), Buffer.from("\r"), Buffer.from("6\n")], 5)).toEqual(["too long"]);
  });

  it("FLT-38 cuts a line of 100 MB at the limit and holds none of it", async () => {
    const chunks: WeakRef<Buffer>[] = [];
    const refusedAt: number[] = [];
    const reader = createLineReader({
      maxLineBytes: 4 << 20,
      onLine: () => expect.unreachable(),
      onTooLong: () => refusedAt.push(chunks.length),
    });
    while (chunks.length * 65_536 < 100e6) {
      const chunk = Buffer.alloc(65_536, "x");
      chunks.push(new WeakRef(chunk));
      reader.push(chunk);
    }
    expect(refusedAt).toEqual([65]);
    await new Promise((resolve) => setImmediate(resolve));
    // What was allocated while a collection ran is only taken by the next.
    gc();
    gc();
    // The engine may still keep the last one that it had in its hands.
    expect(chunks.filter((chunk) => chunk.deref() !== undefined).length).toBeLessThanOrEqual(1);
    reader.push(Buffer.from("\n{}\n"));
    reader.end();
    expect(refusedAt).toEqual([65]);
  });

  it("joins a line of 1 MB that comes in one-byte chunks", () => {
    const lines: Buffer[] = [];
    const reader = createLineReader({
      maxLineBytes: 1 << 30,
      onLine: (line) => lines.push(line),
      onTooLong: () => expect.unreachable(),
    });
    const bytes = Buffer.alloc(1 << 20, "abcdefg");
    for (let at = 0; at < bytes.length; at += 1) reader.push(bytes.subarray(at, at + 1));
    reader.push(Buffer.from("\n"));
    expect(lines).toHaveLength(1);
    expect(lines[0]?.equals(bytes)).toBe(true);
  });

  it("does not keep a large chunk alive for the small lines in it", () => {
    const lines: Buffer[] = [];
    const reader = createLineReader({
      maxLineBytes: 1 << 20,
      onLine: (line) => lines.push(line),
      onTooLong: () => expect.unreachable(),
    });
    const chunk = Buffer.allocUnsafeSlow(65_536).fill("0123456789abcde\n");
    reader.push(chunk);
    expect(lines).toHaveLength(4096);
    expect(lines.some((line) => line.buffer === chunk.buffer)).toBe(false);
    const alone = Buffer.allocUnsafeSlow(16).fill("0123456789abcde\n");
    reader.push(alone);
    expect(lines.at(-1)?.buffer).toBe(alone.buffer);
  });

  it("hands out lines that later bytes do not change", () => {
    const lines: Buffer[] = [];
    const reader = createLineReader({
      maxLineBytes: 100,
      onLine: (line) => lines.push(line),
      onTooLong: () => expect.unreachable(),
    });
    for (let n = 0; n < 1000; n += 1) reader.push(Buffer.from(`line ${n}\nli`).subarray(0, -2));
    expect(lines.map(String)).toEqual(Array.from({ length: 1000 }, (_, n) => `line ${n}`));
  });
});
