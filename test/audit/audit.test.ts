import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import type { Audit } from "../../src/audit/audit.ts";
import { rotatedFiles } from "../../src/audit/rotated.ts";
import { verifyAudit } from "../../src/audit/verify.ts";
import { directory, eventsOf, filesOf, linesOf, numbered, open, recordsOf, spokenLog } from "./day.ts";
import { spawnWriter } from "./spawn-writer.ts";

/** Each event of a day has another name. */
const nameOf = ({ event, caller, target, store, address }: Record<string, unknown>): string =>
  `${String(event)} ${String(caller ?? target ?? store ?? address)}`;

describe("the audit log", () => {
  it("has every event of a day once and in order, through rotation, two restarts and a kill -9", async () => {
    const path = join(directory(), "audit.log");
    const sizes = { path, maxBytes: 64 * 1024, files: 0 };
    const told: string[] = [];
    const tell = (audit: Audit, from: number, to: number) => {
      for (let number = from; number < to; number += 1) {
        for (const event of eventsOf(number)) {
          audit.events.emit(event);
          told.push(nameOf({ ...event, event: event.type }));
        }
      }
    };
    const morning = await open(sizes);
    tell(morning, 0, 100);
    await morning.close();

    const noon = await spawnWriter({ ...sizes, from: 10_000, batch: 500 });
    const { until } = await noon.more();
    noon.begin();
    await noon.kill();

    const evening = await open(sizes);
    tell(evening, 100, 200);
    await evening.close();
    expect(evening.lost).toBe(0);

    const lines = await linesOf(path);
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_line, index) => index + 1));
    const records = recordsOf(lines);
    const ofChild = records.filter(({ caller }) => caller?.startsWith("n"));
    // Those that were on their way when the process was killed may be there as well.
    expect(ofChild.length).toBeGreaterThanOrEqual(until - 10_000);
    expect(ofChild.map(({ caller }) => caller)).toEqual(ofChild.map((_line, index) => `n${10_000 + index}`));
    expect(records.filter((record) => !ofChild.includes(record)).map(nameOf)).toEqual(told);

    const report = await verifyAudit(await filesOf(path), { isAll: true });
    expect(report).toMatchObject({ isWhole: true, faults: [], openings: 3, lost: 0, lines: lines.length });
    expect(report.files).toBeGreaterThan(10);
  });

  it("writes a record that says who, what, when, where from, with what outcome, in which session", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path, now: () => new Date(Date.UTC(2026, 10, 21, 9, 30, 0, 7)) });
    const [opened] = eventsOf(7);
    audit.events.emit(opened!);
    await audit.flush();
    const session = opened?.type === "session_opened" ? opened.session : "";
    const [header, record] = await linesOf(path);
    expect(header).toMatchObject({ seq: 1, event: "audit_opened", prev: "0".repeat(64) });
    expect(Object.entries(record!).slice(0, -1)).toEqual(
      Object.entries({
        seq: 2,
        at: "2026-11-21T09:30:00.007Z",
        instance: "i-0123456789abcdef",
        event: "session_opened",
        outcome: "success",
        caller: "caller-7",
        key: "k7",
        session,
        address: "10.0.0.7",
        server: "demo",
        transport: "sse",
        prev: header?.hash,
      }),
    );
    expect(audit.written).toBe(1);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("records no event that is a matter of metrics alone", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    audit.events.emit({ type: "stream_opened", transport: "sse" });
    audit.events.emit({ type: "stream_closed", transport: "sse", end: "client" });
    audit.events.emit({ type: "server_restarted", server: "demo", why: "exit" });
    audit.events.emit({ type: "server_circuit", server: "demo", state: "open" });
    audit.events.emit({ type: "relay", direction: "sent", outcome: "ok" });
    await audit.close();
    expect((await linesOf(path)).map(({ event }) => event)).toEqual(["audit_opened", "audit_closed"]);
  });

  it("sets files aside under load without losing a record, and none grows beyond the bound", async () => {
    const path = join(directory(), "audit.log");
    const { log, lines: spoken } = spokenLog();
    const audit = await open({ path, maxBytes: 16 * 1024, log });
    for (let number = 0; number < 3000; number += 1) {
      audit.events.emit(numbered(number));
      if (number % 50 === 0) await new Promise(setImmediate);
    }
    await audit.close();
    const lines = await linesOf(path);
    expect(recordsOf(lines).map(({ caller }) => caller)).toEqual(
      Array.from({ length: 3000 }, (_, n) => `n${n}`),
    );
    const files = await filesOf(path);
    expect(files.length).toBeGreaterThan(50);
    for (const file of files) expect(statSync(file).size).toBeLessThanOrEqual(16 * 1024);
    expect(await verifyAudit(files, { isAll: true })).toMatchObject({ isWhole: true, faults: [] });
    expect(audit).toMatchObject({ written: 3000, lost: 0 });

    // Each end of a file, and the end of all, is told to the other log, where it can be looked up.
    const anchors = spoken.map(({ seq, hash }) => ({ seq, hash }));
    const ends = files.map((file) => {
      const { seq, hash } = JSON.parse(readFileSync(file, "utf8").trimEnd().split("\n").at(-1)!) as Record<
        string,
        unknown
      >;
      return { seq, hash };
    });
    expect(anchors).toEqual(ends);
  });

  it("keeps as many files as it is told to, and says what it removed", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path, maxBytes: 16 * 1024, files: 2 });
    for (let number = 0; number < 1000; number += 1) {
      audit.events.emit(numbered(number));
      if (number % 50 === 0) await audit.flush();
    }
    await audit.close();
    const rotated = await rotatedFiles(path);
    expect(rotated).toHaveLength(2);
    const removed = (await linesOf(path)).filter(({ event }) => event === "audit_removed");
    expect(removed.at(-1)).toMatchObject({ keptFrom: rotated[0]?.firstSeq });
    const report = await verifyAudit(await filesOf(path), { isAll: true });
    expect(report).toMatchObject({ isWhole: true, first: { seq: rotated[0]?.firstSeq } });
  });

  it("writes marked lines to standard output, a chain for each process", async () => {
    const directoryPath = directory();
    const out = new PassThrough();
    const chunks: Buffer[] = [];
    out.on("data", (chunk: Buffer) => chunks.push(chunk));
    for (const from of [0, 10]) {
      const audit = await open({ path: "stdout", out, maxBytes: 1, files: 1 });
      out.write('{"level":"info","message":"something else"}\n');
      for (let number = from; number < from + 10; number += 1) audit.events.emit(numbered(number));
      await audit.close();
    }
    const lines = Buffer.concat(chunks).toString().trimEnd().split("\n");
    expect(lines.filter((line) => line.startsWith('{"audit":true,"seq":'))).toHaveLength(2 * 12);
    const file = join(directoryPath, "captured");
    writeFileSync(file, `${lines.join("\n")}\n`);
    expect(await verifyAudit([file], { isMixed: true })).toMatchObject({
      isWhole: true,
      openings: 2,
      lines: 24,
    });
    writeFileSync(file, `${lines.toSpliced(15, 1).join("\n")}\n`);
    expect((await verifyAudit([file], { isMixed: true })).faults).toMatchObject([{ kind: "missing" }]);
  });

  it("takes nothing after its end, and may be closed twice", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path });
    audit.events.emit(numbered(1));
    await Promise.all([audit.close(), audit.close()]);
    audit.events.emit(numbered(2));
    await audit.flush();
    expect((await linesOf(path)).map(({ event }) => event)).toEqual([
      "audit_opened",
      "session_refused",
      "audit_closed",
    ]);
  });
});
