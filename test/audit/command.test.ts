import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { auditCommand } from "../../src/audit/command.ts";
import { directory, filesOf, linesOf, numbered, open } from "./day.ts";

async function run(args: string[], env: Record<string, string> = {}) {
  let stdout = "";
  let stderr = "";
  const code = await auditCommand(args, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env,
  });
  return { code, stdout, stderr };
}

async function log() {
  const path = join(directory(), "audit.log");
  const audit = await open({ path, maxBytes: 16 * 1024 });
  for (let number = 0; number < 100; number += 1) audit.events.emit(numbered(number));
  await audit.close();
  const lines = await linesOf(path);
  return { path, files: await filesOf(path), lines };
}

describe("audit verify", () => {
  it("finds the files of AUDIT_LOG and says that they are whole, and where they begin and end", async () => {
    const { path, files, lines } = await log();
    const { code, stdout, stderr } = await run(["verify"], { AUDIT_LOG: path });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(
      `whole\n${files.length} files, ${lines.length} lines, opened 1 times\n` +
        `begins at 1  ${lines[0]?.hash}\nends at   ${lines.length}  ${lines.at(-1)?.hash}\n`,
    );
  });

  it("puts named files in the order of their lines, and overlooks the lock", async () => {
    const { path, files } = await log();
    const { code } = await run(["verify", path, ...files.slice(0, -1).toReversed(), `${path}.lock`]);
    expect(code).toBe(0);
  });

  it("says the file and the line of what is wrong, and ends with 1", async () => {
    const { path } = await log();
    writeFileSync(path, readFileSync(path, "utf8").replace('"n99"', '"n98"'));
    const line =
      readFileSync(path, "utf8")
        .split("\n")
        .findIndex((text) => text.includes('n98"')) + 1;
    const { code, stdout } = await run(["verify"], { AUDIT_LOG: path });
    expect(code).toBe(1);
    expect(stdout).toContain(`${path}:`);
    expect(stdout).toMatch(/audit\.log:\d+: altered: Record \d+ was altered/);
    expect(stdout).toContain("broken: 1 faults");
    expect(line).toBeGreaterThan(0);
  });

  it("wants a hash that was noted elsewhere", async () => {
    const { path, lines } = await log();
    const hash = lines.at(-1)?.hash as string;
    expect(await run(["verify", "--expect", hash], { AUDIT_LOG: path })).toMatchObject({ code: 0 });
    const other = "0".repeat(64);
    const { code, stdout } = await run(["verify", "--expect", other], { AUDIT_LOG: path });
    expect(code).toBe(1);
    expect(stdout).toContain(`not_found: No line has the hash ${other}`);
  });

  it("finds a log whole while it is written and set aside", async () => {
    const path = join(directory(), "audit.log");
    const audit = await open({ path, maxBytes: 16 * 1024, files: 3 });
    let isOver = false;
    const writing = (async () => {
      for (let number = 0; !isOver; number += 1) {
        audit.events.emit(numbered(number));
        if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    for (let look = 0; look < 10; look += 1)
      expect(await run(["verify"], { AUDIT_LOG: path })).toMatchObject({ code: 0 });
    isOver = true;
    await writing;
  });

  it("gives the report as JSON", async () => {
    const { path, lines } = await log();
    const { code, stdout } = await run(["verify", "--json"], { AUDIT_LOG: path });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      isWhole: true,
      faults: [],
      lines: lines.length,
      first: { seq: 1 },
    });
  });

  it("can be done by hand: the hash is that of the line without its last member", async () => {
    const { path, lines } = await log();
    const text = readFileSync(path, "utf8").trimEnd().split("\n").at(-1) as string;
    const input = text.replace(/,"hash":"[0-9a-f]{64}"\}$/, "}");
    expect(createHash("sha256").update(input).digest("hex")).toBe(lines.at(-1)?.hash);
  });

  it.each([
    [[], "Say what to do"],
    [["burn"], "There is no audit burn"],
    [["verify"], "AUDIT_LOG is not set"],
    [["verify", "--expect", "abc"], "64 hex digits"],
    [["verify", "--what"], "Unknown option"],
    [["verify", "/nowhere/audit.log"], "/nowhere/audit.log: cannot be read (ENOENT)"],
  ])("ends with 2 for %j", async (args, words) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(words);
  });

  it.each(["stdout", "audit-{instance}.log"])(
    "wants the files to be named when AUDIT_LOG is %s",
    async (path) => {
      expect(await run(["verify"], { AUDIT_LOG: path })).toMatchObject({ code: 2 });
    },
  );

  it("ends with 2 when the file that is set is not there", async () => {
    const path = join(directory(), "audit.log");
    expect(await run(["verify"], { AUDIT_LOG: path })).toMatchObject({ code: 2 });
  });

  it("explains itself", async () => {
    expect(await run(["--help"])).toMatchObject({ code: 0, stderr: "" });
  });
});
