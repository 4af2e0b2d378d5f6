import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { verifyAudit } from "../../src/audit/verify.ts";
import { ConfigError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import { directory, filesOf, linesOf, numbered, open, recordsOf, spokenLog } from "./day.ts";
import { spawnWriter } from "./spawn-writer.ts";

const callersOf = async (path: string) => recordsOf(await linesOf(path)).map(({ caller }) => caller);
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => `n${from + at}`);
const whole = { isWhole: true, faults: [] };

/** Stops a process from writing beyond a size, as a full disk does: what fits of a line is written. */
const limitFiles = (pid: number, size: number | "unlimited") =>
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${size}:unlimited`]);

describe("an audit log that cannot be written", () => {
  it("keeps records while the disk is full, and goes on within the chain when there is room", async () => {
    const path = join(directory(), "audit.log");
    const writer = await spawnWriter({ path, maxBytes: 1024 * 1024, files: 0, from: 0, batch: 100 });
    limitFiles(writer.pid, 40_000);
    expect(await writer.more()).toMatchObject({ isFailing: true, lost: 0 });
    expect(readFileSync(path).length).toBe(40_000);
    expect((await verifyAudit([path])).faults).toMatchObject([{ kind: "unfinished" }]);
    limitFiles(writer.pid, "unlimited");
    expect(await writer.more()).toMatchObject({ until: 300, isFailing: false, lost: 0 });
    await writer.close();
    expect(await callersOf(path)).toEqual(numbers(0, 300));
    expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, torn: 1, lost: 0 });
  });

  it("goes on with a file that a killed process left within a line", async () => {
    const path = join(directory(), "audit.log");
    const writer = await spawnWriter({ path, maxBytes: 1024 * 1024, files: 0, from: 0, batch: 100 });
    limitFiles(writer.pid, 40_000);
    await writer.more();
    await writer.kill();
    const written = (await callersOf(path)).length;
    const audit = await open({ path });
    audit.events.emit(numbered(1000));
    await audit.close();
    expect(await callersOf(path)).toEqual([...numbers(0, written), "n1000"]);
    expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, torn: 1, openings: 2 });
    // What the line says was broken off is bound by the chain as well.
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace(/\n(\{"seq":\d+,[^\n]*[^}\n])\n/, "\n"));
    expect((await verifyAudit([path])).faults).toMatchObject([{ kind: "missing" }]);
  });

  it.each(["", '{"se', '{"seq":1,"at":"2026'])(
    "goes on with a file in which only %j of the first line stands",
    async (text) => {
      const path = join(directory(), "audit.log");
      writeFileSync(path, text);
      const audit = await open({ path });
      audit.events.emit(numbered(1));
      await audit.close();
      expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, lines: 3 });
    },
  );

  it("goes on with a last line that lacks only its end", async () => {
    const path = join(directory(), "audit.log");
    await (await open({ path })).close();
    truncateSync(path, readFileSync(path).length - 1);
    await (await open({ path })).close();
    expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, torn: 0, lines: 4 });
  });

  it("goes on behind the file that was set aside when it was killed before it began the next", async () => {
    const path = join(directory(), "audit.log");
    await (await open({ path })).close();
    renameSync(path, `${path}.000000000001`);
    await (await open({ path })).close();
    expect(await linesOf(path)).toMatchObject([{ seq: 1 }, { seq: 2 }, { seq: 3 }, { seq: 4 }]);
    expect(await verifyAudit(await filesOf(path), { isAll: true })).toMatchObject(whole);
  });

  it("does not hide a last record that was altered before it was opened again", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    audit.events.emit(numbered(1));
    await audit.flush();
    await audit.close();
    writeFileSync(path, readFileSync(path, "utf8").replace("audit_closed", "audit_altered"));
    await (await open({ path })).close();
    expect((await verifyAudit([path])).faults).toMatchObject([{ kind: "altered", line: 3 }, {}]);
  });

  it("counts what it has to let go, and says so within the chain where it is missing", async () => {
    const path = join(directory(), "logs", "audit.log");
    let at = Date.UTC(2026, 10, 21);
    const { log, lines: spoken } = spokenLog();
    const now = () => new Date((at += 1000));
    const audit = await open({ path, bounds: { records: 10, bytes: 1e6 }, now, log, retryMs: 3_600_000 });
    rmSync(join(path, ".."), { recursive: true });
    writeFileSync(join(path, ".."), "in the way");
    for (let number = 0; number < 25; number += 1) audit.events.emit(numbered(number));
    await audit.flush();
    expect(audit).toMatchObject({ lost: 15, written: 0, isFailing: true });
    for (let number = 25; number < 30; number += 1) audit.events.emit(numbered(number));
    expect(audit.lost).toBe(20);

    rmSync(join(path, ".."));
    await audit.flush();
    expect(audit).toMatchObject({ lost: 20, written: 10, isFailing: false });
    audit.events.emit(numbered(30));
    await audit.close();
    const lines = await linesOf(path);
    expect(recordsOf(lines).map(({ caller }) => caller)).toEqual([...numbers(0, 10), "n30"]);
    const gaps = lines.filter(({ event }) => event === "audit_gap");
    expect(gaps).toMatchObject([{ lost: 20, outcome: "failure" }]);
    const [gap] = gaps;
    expect(String(gap?.["from"]) < String(gap?.["to"])).toBe(true);
    expect(lines.indexOf(gap!)).toBe(lines.findIndex(({ caller }) => caller === "n9") + 1);
    expect(await verifyAudit([path])).toMatchObject({ ...whole, lost: 20 });
    // Each change is told once, without the path.
    expect(spoken.map(({ message }) => message)).toEqual([
      "audit records cannot be written: they wait, and then they are lost",
      "audit records are written again",
      "audit log closed: its last line",
    ]);
    expect(JSON.stringify(spoken)).not.toContain(path);
  });

  it("counts by bytes as well", async () => {
    const out = new Writable({ write: (_chunk, _encoding, done) => done(new Error("no")) });
    out.on("error", () => undefined);
    const audit = await open({ path: "stdout", out, bounds: { records: 1e6, bytes: 1000 } });
    for (let number = 0; number < 100; number += 1) audit.events.emit(numbered(number));
    expect(audit.lost).toBeGreaterThan(90);
    await audit.close();
    expect(audit.lost).toBe(100);
  });

  it("begins a new file when the directory was removed, and makes the directory anew", async () => {
    const path = join(directory(), "logs", "audit.log");
    const audit = await open({ path });
    audit.events.emit(numbered(1));
    await audit.flush();
    rmSync(join(path, ".."), { recursive: true });
    audit.events.emit(numbered(2));
    await audit.close();
    expect(await linesOf(path)).toMatchObject([
      { seq: 3, event: "audit_continued" },
      { seq: 4, caller: "n2" },
      { seq: 5, event: "audit_closed" },
    ]);
    expect((await verifyAudit([path], { isAll: true })).faults).toMatchObject([{ kind: "earlier_missing" }]);
  });

  it("follows when something else sets its file aside, by itself or when it is told to", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    audit.events.emit(numbered(1));
    await audit.flush();
    renameSync(path, `${path}.1`);
    await audit.reopen();
    expect(existsSync(path)).toBe(true);
    audit.events.emit(numbered(2));
    await audit.flush();
    renameSync(path, `${path}.2`);
    writeFileSync(path, "");
    audit.events.emit(numbered(3));
    await audit.close();
    const report = await verifyAudit([`${path}.1`, `${path}.2`, path], { isAll: true });
    expect(report).toMatchObject({ ...whole, lines: 7 });
  });

  it("lets a flood of failures pass without throwing or waiting", async () => {
    const out = new Writable({ write: (_chunk, _encoding, done) => done(new Error("no")) });
    out.on("error", () => undefined);
    const audit = await open({ path: "stdout", out, bounds: { records: 5, bytes: 1e6 } });
    expect(() => {
      for (let number = 0; number < 10_000; number += 1) audit.events.emit(numbered(number));
      audit.events.emit(undefined as never);
      audit.events.emit({ type: "operator_action" } as never);
    }).not.toThrow();
    expect(audit.lost).toBeGreaterThanOrEqual(9_990);
  });
});

describe("opening an audit log", () => {
  it.each([
    [
      "a file of another kind",
      (path: string) => writeFileSync(path, '{"level":"info"}\n'),
      "not an audit log",
    ],
    ["a directory", (path: string) => mkdirSync(path), "not a plain file"],
    ["a link", (path: string) => symlinkSync("/dev/null", path), "not a plain file"],
  ])("refuses %s and leaves it as it is", async (_what, make, words) => {
    const path = join(directory(), "audit.log");
    make(path);
    const opening = open({ path });
    await expect(opening).rejects.toThrow(ConfigError);
    await expect(opening).rejects.toThrow(words);
    await expect(opening).rejects.not.toThrow(path);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  it("refuses a file in a directory that cannot be made", async () => {
    const place = join(directory(), "logs");
    writeFileSync(place, "in the way");
    await expect(open({ path: join(place, "audit.log") })).rejects.toThrow(ConfigError);
  });

  it("refuses a file that another process writes, and takes it over when that is dead", async () => {
    const path = join(directory(), "audit.log");
    const writer = await spawnWriter({ path, maxBytes: 1024 * 1024, files: 0, from: 0, batch: 10 });
    await expect(open({ path })).rejects.toThrow("written by another process");
    await writer.kill();
    await (await open({ path })).close();
    expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, openings: 2 });
  });

  it("refuses a file that this process writes already, and waits for one that is being closed", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    await expect(open({ path })).rejects.toThrow(ConfigError);
    const [next] = await Promise.all([open({ path, lockWaitMs: 10_000 }), audit.close()]);
    await next.close();
    expect(await verifyAudit([path], { isAll: true })).toMatchObject({ ...whole, openings: 2 });
  });

  it("takes a lock of a place that cannot be seen only once it is old", async () => {
    const path = join(directory(), "audit.log");
    symlinkSync("another-machine/1/2/3", `${path}.lock`);
    await expect(open({ path })).rejects.toThrow("written by another process");
    const minuteAgo = new Date(Date.now() - 60_000);
    lutimesSync(`${path}.lock`, minuteAgo, minuteAgo);
    await (await open({ path })).close();
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  it("stops writing when its lock was taken, and goes on behind what the other wrote", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    rmSync(`${path}.lock`);
    symlinkSync("another-machine/1/2/3", `${path}.lock`);
    audit.events.emit(numbered(1));
    await audit.flush();
    expect(audit.isFailing).toBe(true);
    rmSync(`${path}.lock`);
    const other = await open({ path });
    other.events.emit(numbered(2));
    await other.close();
    await eventually(() => !audit.isFailing);
    await audit.close();
    expect(await callersOf(path)).toEqual(["n2", "n1"]);
    expect(await verifyAudit([path], { isAll: true })).toMatchObject(whole);
  });

  it("puts the instance's id where the path asks for it", async () => {
    const place = directory();
    await (await open({ path: join(place, "audit-{instance}.log") })).close();
    expect(existsSync(join(place, "audit-i-0123456789abcdef.log"))).toBe(true);
  });

  it("finds its last line behind a megabyte of something else", async () => {
    const path = join(directory(), "audit.log");
    await (await open({ path })).close();
    appendFileSync(path, `${"x".repeat(1_000_000)}\n`);
    await (await open({ path })).close();
    expect((await linesOf(path)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect((await verifyAudit([path])).faults).toMatchObject([{ kind: "unreadable", line: 3 }]);
  });
});
