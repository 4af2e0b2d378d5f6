import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const root = new URL("../../src/", import.meta.url);
const FILES = [
  ...readdirSync(new URL("http", root)).map((file) => `http/${file}`),
  "api-keys.ts",
  ...readdirSync(new URL("keys", root)).map((file) => `keys/${file}`),
];
const SIZE = 64 * 1024;

/** Every regular expression that stands in these files. */
const expressions = FILES.flatMap((file) => {
  const lines = readFileSync(new URL(file, root), "utf8")
    .split("\n")
    .filter((line) => !/^\s*(\/\/|\/?\*)/.test(line));
  return lines.flatMap((line) =>
    [...line.matchAll(/(?<=[\s(=!])\/((?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\[\n])+)\/([a-z]*)/g)].map(
      ([, body = "", flags = ""]) => ({ file, body, flags: flags.replace("g", "") }),
    ),
  );
});

/** Strings that nearly match: what repeats in some expression, over and over, then something that fits none. */
const PIECES = [
  "a",
  " ",
  ".",
  "-",
  "a.",
  "a-",
  "0",
  ":",
  ";",
  "[",
  "0:",
  "<",
  ">",
  "${",
  "}",
  "%",
  "=",
  "bearer ",
  "application/json",
  "application/json ",
  "sha256:",
  "my-",
  "a=",
  "/",
  "\t",
  "q=0",
  "::",
  "my_",
];
const BEFORE = [
  "",
  "Bearer ",
  "application/json ",
  "application/json;",
  "a=",
  "my-",
  "<",
  "${",
  "[",
  "q=0.",
  "/.well-known/",
  "sha256:",
  "a:",
];

const runs = (expression: RegExp, size: number): number => {
  const before = process.hrtime.bigint();
  for (const head of BEFORE) {
    for (const piece of PIECES) expression.test(`${head}${piece.repeat(size / piece.length)}\u0001!`);
  }
  return Number(process.hrtime.bigint() - before);
};

it("LIM-05 the expressions of the door are found, all of them", () => {
  const bodies = expressions.map(({ body }) => body);
  expect(bodies.length).toBeGreaterThanOrEqual(12);
  for (const part of [
    "bearer",
    "application",
    "q=0",
    "sha256",
    "replace-?me",
    "[0-9a-f]{8}-",
    "well-known",
    "ffff",
  ])
    expect(
      bodies.some((body) => body.includes(part)),
      part,
    ).toBe(true);
});

it.each(expressions)("LIM-05 $file /$body/ takes no more than its input is long", ({ body, flags }) => {
  const expression = new RegExp(body, flags);
  runs(expression, SIZE / 16);
  const [small, large] = [runs(expression, SIZE / 16), runs(expression, SIZE)];
  // Sixteen times as long: linear is 16, quadratic is 256. What is too quick to measure is quick enough.
  expect(large < 40e6 || large < small * 100, `${small} ns, then ${large} ns`).toBe(true);
});
