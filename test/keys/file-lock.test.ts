import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { lockFile } from "../../src/keys/file-lock.ts";

const TOKEN = "0123456789abcdef";
/** The id of a process that is not any more. */
const goneId = () => spawnSync(process.execPath, ["--version"]).pid;

/** The path of a lock, in a directory of its own; with a text, one that was taken a minute ago. */
async function lockPath(held?: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "file-lock-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const path = join(root, "keys.json.lock");
  if (held !== undefined) {
    await writeFile(path, held);
    const minuteAgo = Date.now() / 1000 - 60;
    await utimes(path, minuteAgo, minuteAgo);
  }
  return path;
}
const filesBy = (path: string) => readdir(join(path, ".."));

it("is held by one at a time, and given back", async () => {
  const path = await lockPath();
  const unlock = await lockFile(path, 0);
  expect(await lockFile(path, 0)).toBeUndefined();
  const next = lockFile(path, 5000);
  unlock?.();
  const unlockNext = await next;
  expect(unlockNext).toBeDefined();
  // It is the next one's now.
  unlock?.();
  expect(await lockFile(path, 0)).toBeUndefined();
  unlockNext?.();
  expect(await filesBy(path)).toEqual([]);
});

it("clears away what a killed process left behind, once for all that wait", async () => {
  const path = await lockPath(`${hostname()} ${goneId()} ${TOKEN}\n`);
  let inside = 0;
  const worked = Array.from({ length: 8 }, async () => {
    const unlock = await lockFile(path, 5000);
    expect((inside += 1)).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    inside -= 1;
    unlock?.();
  });
  await Promise.all(worked);
  expect(await filesBy(path)).toEqual([]);
});

it("clears nothing away that may be held: by a running process, another machine, somebody unknown, or of late", async () => {
  const gone = goneId();
  for (const held of [
    `${hostname()} ${process.pid} ${TOKEN}\n`,
    `another-machine ${gone} ${TOKEN}\n`,
    `${hostname()} ${gone}\n`,
    "",
  ]) {
    const path = await lockPath(held);
    expect(await lockFile(path, 0), held).toBeUndefined();
    expect(await readFile(path, "utf8")).toBe(held);
  }
  const path = await lockPath();
  await writeFile(path, `${hostname()} ${gone} ${TOKEN}\n`);
  expect(await lockFile(path, 0)).toBeUndefined();
});

it("leaves it to the one process that is clearing it away", async () => {
  const path = await lockPath(`${hostname()} ${goneId()} ${TOKEN}\n`);
  await writeFile(`${path}.${TOKEN}`, "");
  expect(await lockFile(path, 0)).toBeUndefined();
  expect(await filesBy(path)).toHaveLength(2);
});
