import { createHash } from "node:crypto";
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { VerifyOptions } from "../../src/audit/report.ts";
import { verifyAudit } from "../../src/audit/verify.ts";
import { directory, filesOf, type Line, numbered, open, openLog } from "./day.ts";

/** A whole log of about five files, with the hash of its last line: a copy of one that is written once. */
async function wholeLog() {
  const place = directory();
  cpSync(await written, place, { recursive: true });
  const path = join(place, "audit.log");
  const files = await filesOf(path);
  return { path, files, second: files[1] as string, tail: hashOf(linesIn(path).at(-1) as string) };
}

const place = mkdtempSync(join(tmpdir(), "audit-"));
afterAll(() => rmSync(place, { recursive: true }));
const written = writeLog(join(place, "audit.log"), 250).then(() => place);

async function writeLog(path: string, records: number): Promise<void> {
  const audit = await openLog({ path, maxBytes: 16 * 1024 });
  for (let number = 0; number < records; number += 1) audit.events.emit(numbered(number));
  await audit.close();
}

const linesIn = (file: string): string[] => readFileSync(file, "utf8").trimEnd().split("\n");
const hashOf = (line: string): string => (JSON.parse(line) as Line).hash;
const rewrite = (file: string, change: (lines: string[]) => string[]): void =>
  writeFileSync(file, `${change(linesIn(file)).join("\n")}\n`);

/** A line as somebody writes it who knows how it is done. */
function forged(line: string, change: Record<string, unknown>): string {
  const { hash: _hash, ...said } = JSON.parse(line) as Line;
  const text = JSON.stringify({ ...said, ...change });
  return `${text.slice(0, -1)},"hash":"${createHash("sha256").update(text).digest("hex")}"}`;
}

/** The lines from `index` on with a true chain: what an attacker can do who may write the files. */
function rechained(lines: string[], index: number, change: Record<string, unknown>): string[] {
  let prev = hashOf(lines[index - 1] as string);
  return lines.map((line, at) => {
    if (at < index) return line;
    const next = forged(line, { ...(at === index ? change : {}), prev });
    prev = hashOf(next);
    return next;
  });
}

const kindsOf = async (files: readonly string[], options: VerifyOptions = { isAll: true }) => {
  const { isWhole, faults } = await verifyAudit(files, options);
  expect(isWhole).toBe(faults.length === 0);
  return faults.map(({ kind, file, line }) => ({ kind, file, line }));
};

describe("verifying an audit log", () => {
  it("finds a log whole that nobody touched, and says where it begins and ends", async () => {
    const { files, tail } = await wholeLog();
    const report = await verifyAudit(files, { isAll: true, expect: [tail] });
    expect(files.length).toBeGreaterThan(4);
    expect(report).toMatchObject({
      isWhole: true,
      faults: [],
      first: { seq: 1, hash: hashOf(linesIn(files[0] as string)[0] as string) },
      last: { hash: tail },
      files: files.length,
    });
  });

  it("finds an altered record", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.with(9, (lines[9] as string).replace("10.0.0.1", "10.0.0.2")));
    expect(await kindsOf(files)).toEqual([{ kind: "altered", file: second, line: 10 }]);
  });

  it("finds an altered record whose hash was made anew", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.with(9, forged(lines[9] as string, { address: "10.0.0.2" })));
    expect(await kindsOf(files)).toEqual([{ kind: "does_not_follow", file: second, line: 11 }]);
  });

  it("finds an altered hash", async () => {
    const { files, second } = await wholeLog();
    const other = (digit: string) => (digit === "0" ? "1" : "0");
    rewrite(second, (lines) =>
      lines.with(
        9,
        (lines[9] as string).replace(/(.)"\}$/, (_end, digit: string) => `${other(digit)}"}`),
      ),
    );
    expect(await kindsOf(files)).toEqual([
      { kind: "altered", file: second, line: 10 },
      { kind: "does_not_follow", file: second, line: 11 },
    ]);
  });

  it("finds that a record was removed", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.toSpliced(9, 1));
    expect(await kindsOf(files)).toEqual([{ kind: "missing", file: second, line: 10 }]);
  });

  it("finds a record that was put in", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => {
      const { seq, hash: prev } = JSON.parse(lines[9] as string) as Line;
      return lines.toSpliced(10, 0, forged(lines[9] as string, { seq: seq + 1, prev, caller: "nobody" }));
    });
    expect(await kindsOf(files)).toEqual([{ kind: "out_of_order", file: second, line: 12 }]);
  });

  it("finds records that changed places", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.with(9, lines[10] as string).with(10, lines[9] as string));
    expect(await kindsOf(files)).toEqual([
      { kind: "missing", file: second, line: 10 },
      { kind: "out_of_order", file: second, line: 11 },
    ]);
  });

  it("finds a record that stands twice", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.toSpliced(9, 0, lines[9] as string));
    expect(await kindsOf(files)).toEqual([{ kind: "repeated", file: second, line: 11 }]);
  });

  it("finds a record that stands again much later", async () => {
    const { files, second } = await wholeLog();
    rewrite(second, (lines) => lines.toSpliced(20, 0, lines[9] as string));
    expect(await kindsOf(files)).toEqual([{ kind: "out_of_order", file: second, line: 21 }]);
  });

  it("finds that the end was cut off, by a hash that was noted", async () => {
    const { files, path, tail } = await wholeLog();
    rewrite(path, (lines) => lines.slice(0, -3));
    expect(await kindsOf(files)).toEqual([]);
    expect(await kindsOf(files, { expect: [tail] })).toEqual([{ kind: "not_found" }]);
  });

  it("finds that all was written anew from some record on, by a hash that was noted", async () => {
    const { path, tail } = await wholeLog();
    const last = linesIn(path);
    writeFileSync(path, `${rechained(last, 3, { caller: "nobody" }).join("\n")}\n`);
    expect(await kindsOf([path], {})).toEqual([]);
    expect(await kindsOf([path], { expect: [tail] })).toEqual([{ kind: "not_found" }]);
  });

  it("finds that a file is missing between others", async () => {
    const { files } = await wholeLog();
    const third = files[2] as string;
    expect(await kindsOf(files.toSpliced(1, 1))).toEqual([{ kind: "missing", file: third, line: 1 }]);
  });

  it("finds that the oldest file was removed by somebody else than the gateway", async () => {
    const { files } = await wholeLog();
    expect(await kindsOf(files.slice(1))).toEqual([{ kind: "earlier_missing" }]);
    expect(await kindsOf(files.slice(1), {})).toEqual([]);
  });

  it("finds that a file's first lines were removed", async () => {
    const { files } = await wholeLog();
    const first = files[0] as string;
    rewrite(first, (lines) => lines.slice(4));
    expect(await kindsOf(files)).toEqual([
      { kind: "no_header", file: first, line: 1 },
      { kind: "earlier_missing" },
    ]);
  });

  it("finds another log's lines, appended or mixed in", async () => {
    const { path, files } = await wholeLog();
    const other = join(directory(), "audit.log");
    await writeLog(other, 10);
    const foreign = linesIn(other);
    const own = linesIn(path);
    rewrite(path, (lines) => [...lines, ...foreign]);
    expect(await kindsOf(files)).toEqual([{ kind: "another_chain", file: path, line: own.length + 1 }]);
    writeFileSync(path, `${own.flatMap((line, at) => [line, foreign[at] ?? line]).join("\n")}\n`);
    expect(await kindsOf(files)).toContainEqual({ kind: "another_chain", file: path, line: 2 });
  });

  it("finds a line that is no record, and one that was cut in two", async () => {
    const { files, second } = await wholeLog();
    const before = readFileSync(second);
    rewrite(second, (lines) => lines.toSpliced(9, 0, "nothing to see here"));
    expect(await kindsOf(files)).toEqual([{ kind: "unreadable", file: second, line: 10 }]);
    writeFileSync(second, before);
    rewrite(second, (lines) => lines.with(9, (lines[9] as string).slice(0, 80)));
    expect(await kindsOf(files)).toEqual([
      { kind: "unreadable", file: second, line: 10 },
      { kind: "missing", file: second, line: 11 },
    ]);
    writeFileSync(second, before);
    rewrite(second, (lines) => lines.toSpliced(9, 0, "x".repeat(1_000_000)));
    expect(await kindsOf(files)).toEqual([{ kind: "unreadable", file: second, line: 10 }]);
  });

  it("finds that files stand in another order", async () => {
    const { files } = await wholeLog();
    const [one, two, ...rest] = files as [string, string, ...string[]];
    const spare = `${one}.spare`;
    copyFileSync(one, spare);
    copyFileSync(two, one);
    copyFileSync(spare, two);
    rmSync(spare);
    const kinds = (await kindsOf([one, two, ...rest])).map(({ kind }) => kind);
    expect(kinds).toContain("another_chain");
  });

  it("tells a thousand faults and counts the others", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path, maxBytes: 8 * 1024 * 1024 });
    for (let number = 0; number < 3000; number += 1) audit.events.emit(numbered(number));
    await audit.close();
    rewrite(path, (lines) => lines.map((line) => line.replace("10.0.0.1", "10.0.0.2")));
    const { faults, faultCount } = await verifyAudit([path]);
    expect(faults).toHaveLength(1000);
    expect(faultCount).toBe(3000);
  });
});
