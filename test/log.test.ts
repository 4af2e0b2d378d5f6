import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { GatewayError } from "../src/errors.ts";
import { createLog, openLog, type LogLevel } from "../src/log.ts";

function capture(level: LogLevel = "info") {
  const out = new PassThrough();
  const log = createLog(level, out);
  return { log, text: () => String(out.read() ?? "") };
}

it("writes one JSON object a line, with message and a string level, as Railway reads them", () => {
  const { log, text } = capture();
  log.warn({ session: "s" }, "hello");
  expect(JSON.parse(text())).toEqual({
    level: "warn",
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    session: "s",
    message: "hello",
  });
});

it("writes for people on a terminal, and there alone", async () => {
  for (const isTTY of [true, false]) {
    const out = Object.assign(new PassThrough(), { isTTY });
    const log = await openLog("info", out);
    log.info("hello");
    expect(String(out.read())).toMatch(isTTY ? /INFO.*hello/ : /^{"level":"info",.*"message":"hello"}\n$/);
  }
});

it("obeys the level", () => {
  const { log, text } = capture("error");
  log.warn("hidden");
  expect(text()).toBe("");
});

it("SEC-22 tells of a library's error without the command that it carries", () => {
  const { log, text } = capture();
  log.error({ err: new Error('bad, command was: [["set","key","canary"]]') }, "store failed");
  log.error(
    { err: new GatewayError("store_unavailable", { cause: new Error("no\ncanary") }) },
    "store failed",
  );
  expect(text()).not.toContain("canary");
});
