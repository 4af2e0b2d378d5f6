import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { expect, it, onTestFinished } from "vitest";
import { createLog } from "../src/log.ts";
import { watchFile } from "../src/watch-file.ts";

const out = new PassThrough();
const log = createLog("warn", out);

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "watch-file-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Watches, and counts what it is told. */
function watched(path: string): { count(): number; changed(count: number): Promise<void> } {
  let count = 0;
  const watcher = watchFile(path, () => (count += 1), log);
  onTestFinished(() => watcher.close());
  return {
    count: () => count,
    changed: (least) => expect.poll(() => count).toBe(least),
  };
}

it("tells of a file that is written, put in its place, removed, and there again", async () => {
  const path = join(await directory(), "mcp.json");
  await writeFile(path, "one");
  const { changed } = watched(path);
  await writeFile(path, "two");
  await changed(1);
  await writeFile(`${path}.new`, "three");
  await rename(`${path}.new`, path);
  await changed(2);
  await rm(path);
  await changed(3);
  await writeFile(path, "four");
  await changed(4);
});

it("tells of a directory behind a link that is changed for another, as Kubernetes does", async () => {
  const root = await directory();
  for (const version of ["1", "2"]) {
    await mkdir(join(root, version));
    await writeFile(join(root, version, "mcp.json"), version);
  }
  await symlink("1", join(root, "..data"));
  await symlink(join("..data", "mcp.json"), join(root, "mcp.json"));
  const { changed } = watched(join(root, "mcp.json"));
  await symlink("2", join(root, "..new"));
  await rename(join(root, "..new"), join(root, "..data"));
  await changed(1);
});

it("is silent about the same text, and about other files", async () => {
  const root = await directory();
  const path = join(root, "mcp.json");
  await writeFile(path, "one");
  const { count } = watched(path);
  const other = watched(join(root, "other.json"));
  await writeFile(path, "one");
  await writeFile(join(root, "other.json"), "one");
  await other.changed(1);
  expect(count(), "it has looked when the other one has").toBe(0);
});

it("looks now and then where nothing can be watched", async () => {
  const root = join(await directory(), "missing");
  const path = join(root, "mcp.json");
  await new Promise<void>((resolve) => {
    const file = watchFile(path, resolve, log, 10);
    onTestFinished(() => file.close());
    void mkdir(root).then(() => writeFile(path, "there"));
  });
});
