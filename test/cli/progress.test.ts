import { describe, expect, it } from "vitest";

import { createProgress } from "../../src/cli/progress.ts";
import { bytesInWords, plain, timeInWords } from "../../src/cli/words.ts";
import { aTerminal } from "./a-terminal.ts";

/** Updates every 10 ms for some seconds. */
function show(seconds: number, options: { isTTY?: boolean; json?: boolean; total?: number }) {
  let time = 0;
  const { isTTY, json = false, total } = options;
  const terminal = aTerminal({}, { now: () => time, ...(isTTY === undefined ? {} : { isTTY }) });
  const progress = createProgress(terminal.parts, { what: "backing up", json, total });
  for (let at = 0; at < seconds * 100; at++) {
    time += 10;
    progress.update(at + 1, (at + 1) * 1024);
  }
  progress.end();
  progress.end();
  return terminal;
}

describe("progress", () => {
  it("draws a bar on a terminal, ten times a second at most, and clears it", () => {
    const terminal = show(2, { isTTY: true, total: 400 });
    const drawn = terminal.err().split("\r").slice(1);
    expect(drawn).toHaveLength(21);
    expect(drawn[9]).toBe(
      "[######..................]  25%  backing up  100/400  100/s  100.0 KiB  3s left\u001B[K",
    );
    expect(drawn.every((line) => line.length <= 83)).toBe(true);
    expect(drawn.at(-1)).toBe("\u001B[K");
    expect(terminal.out()).toBe("");
  });

  it("shows no share and no time left when the whole is unknown", () => {
    const terminal = show(1, { isTTY: true });
    expect(terminal.err()).toContain("\rbacking up  100  100/s  100.0 KiB\u001B");
    expect(terminal.err()).not.toMatch(/%|left/);
  });

  it("writes a line every three seconds where there is no terminal", () => {
    const terminal = show(7, {});
    expect(terminal.err()).toBe("backing up  300  100/s  300.0 KiB\nbacking up  600  100/s  600.0 KiB\n");
  });

  it("writes objects to stdout with --json, and nothing for a short run", () => {
    const terminal = show(4, { json: true, isTTY: true, total: 400 });
    expect(terminal.err()).toBe("");
    expect(JSON.parse(terminal.out())).toEqual({
      type: "progress",
      what: "backing up",
      done: 300,
      total: 400,
      bytes: 307_200,
    });
    expect(show(2, { json: true }).out()).toBe("");
  });
});

describe("words", () => {
  it("are short", () => {
    expect([0, 1023, 1536, 5 * 1024 ** 4].map(bytesInWords)).toEqual(["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]);
    expect([-1, 59_400, 61_000, 3_660_000, 90_000_000].map(timeInWords)).toEqual([
      "0s",
      "59s",
      "1m 01s",
      "1h 01m",
      "1d 01h",
    ]);
    expect(plain("a\u001B[2J\u202Eb\n\u009Bö")).toBe("a·[2J·b··ö");
  });
});
