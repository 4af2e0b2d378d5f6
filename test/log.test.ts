import { PassThrough } from "node:stream";
import { expect, it } from "vitest";
import { GatewayError } from "../src/errors.ts";
import { createLog, type LogLevel } from "../src/log.ts";

function capture(level: LogLevel = "info", isTTY = false) {
  const out = Object.assign(new PassThrough(), { isTTY });
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

it("writes for people on a terminal", () => {
  const { log, text } = capture("info", true);
  log.info("hello");
  expect(text()).toMatch(/INFO.*hello/);
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
