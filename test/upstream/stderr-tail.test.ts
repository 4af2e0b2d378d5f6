import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StderrTail } from "../../src/upstream/stderr-tail.ts";
import { captureLog } from "./recorder.ts";

function open(secrets: string[] = []) {
  const { log, text } = captureLog();
  const stderr = new PassThrough();
  const tail = new StderrTail(stderr, { log, secrets });
  const logged = (): string[] =>
    text()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => (JSON.parse(line) as { message: string }).message);
  return { stderr, tail, logged, text };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("StderrTail", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance"], now: 1e6 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("logs each line, wherever its bytes are cut", async () => {
    const { stderr, logged } = open();
    for (const character of "first\nsecond line\r\n\nlast") stderr.write(character);
    stderr.end();
    await settle();
    expect(logged()).toEqual(["server stderr: first", "server stderr: second line", "server stderr: last"]);
  });

  it("FLT-39 logs 20 lines a second and counts the rest", async () => {
    const { stderr, logged } = open();
    stderr.write("noise\n".repeat(1000));
    await settle();
    expect(logged()).toHaveLength(20);
    stderr.write("\n".repeat(60_000) + "half a");
    await settle();
    vi.advanceTimersByTime(1000);
    stderr.write(" line\nwhole\n");
    await settle();
    expect(logged().slice(20)).toEqual(["server stderr: too fast to log", "server stderr: whole"]);
  });

  it("shows no more than 500 characters of a line", async () => {
    const { stderr, logged } = open();
    for (let n = 0; n < 100; n += 1) stderr.write("x".repeat(10_000));
    stderr.write("\nnext\n");
    await settle();
    expect(logged()).toEqual([`server stderr: ${"x".repeat(500)}`, "server stderr: next"]);
  });

  it("FLT-39 keeps the last 64 KiB and no more", async () => {
    const { stderr, tail } = open();
    let all = "";
    let right = true;
    for (let n = 0; n < 3000; n += 1) {
      const line = `line ${n} ${"x".repeat(n % 97)}\n`;
      all += line;
      stderr.write(line);
      await settle();
      right &&= tail.text() === all.slice(-65_536).trim();
    }
    expect(right).toBe(true);
    expect(tail.text(10)).toBe(all.trim().slice(-10));
    const flood = Buffer.alloc(300_001, "0123456789");
    stderr.write(flood);
    await settle();
    expect(tail.text()).toBe(flood.toString().slice(-65_536));
  });

  it("FLT-39 redacts secrets in the log and in the tail, and what a terminal would obey", async () => {
    const { stderr, tail, text } = open(["token-1234", "token-1234-longer", "ab"]);
    stderr.write("uses token-1234-longer and tok");
    stderr.write("en-1234 \u001b[2Jab\n");
    await settle();
    expect(text()).toContain("uses [redacted] and [redacted] ab");
    expect(tail.text()).toBe("uses [redacted] and [redacted] ab");
    expect(tail.text(12)).not.toContain("1234");
  });
});
