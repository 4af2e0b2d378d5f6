import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { measureFolder, readInstall } from "./install-size.ts";

/** A folder with these files in it, gone with the test. */
function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "install-size-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

const manifest = (...names: string[]): string =>
  JSON.stringify({ dependencies: Object.fromEntries(names.map((name) => [name, "1.0.0"])) });
const lock = (...names: string[]): string =>
  JSON.stringify({ packages: Object.fromEntries(names.map((name) => [`node_modules/${name}`, {}])) });

it("counts what one package needs, directly and in all, without the package itself", () => {
  const folder = folderWith({
    "package.json": manifest("gateway"),
    "node_modules/.package-lock.json": lock("gateway", "a", "b", "c"),
    "node_modules/gateway/package.json": manifest("a", "b"),
  });
  expect(readInstall(folder)).toMatchObject({ direct: ["a", "b"], packages: 3, files: 2 });
});

it("counts all of what only makes a whole together", () => {
  const folder = folderWith({
    "package.json": manifest("sdk", "express"),
    "node_modules/.package-lock.json": lock("sdk", "express", "c"),
  });
  expect(readInstall(folder)).toMatchObject({ direct: ["sdk", "express"], packages: 3 });
});

it("measures files, follows no link and leaves out what it is told to", () => {
  const folder = folderWith({ "a.js": "12345", "deep/b.js": "123", "node_modules/c.js": "1234567" });
  symlinkSync(join(folder, "a.js"), join(folder, "link.js"));
  expect(measureFolder(folder)).toMatchObject({ files: 3, bytes: 15 });
  expect(measureFolder(folder, ["node_modules"])).toMatchObject({ files: 2, bytes: 8 });
});
