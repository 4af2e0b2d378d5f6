import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { changeKeysFile, KeysFileError } from "../../src/keys/change-file.ts";
import { digestOf } from "../../src/keys/api-key.ts";
import type { CallerEntry } from "../../src/keys/key-entries.ts";
import { loadKeysFile, printKeysFile } from "../../src/keys/keys-file.ts";
import { entry } from "./entries.ts";

const PROGRAM = fileURLToPath(new URL("run-keys.ts", import.meta.url));
const scopeProblem = () => undefined;
const EMPTY = printKeysFile([{ name: "ci", keys: [] }]);

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "keys-file-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const addKey = (callers: CallerEntry[]) => callers[0]?.keys.push(entry());
const keyCount = (path: string) => loadKeysFile(path).keys.length;
const modeOf = async (path: string) => (await stat(path)).mode & 0o777;

/** Runs a process that makes keys, and answers what it printed. */
async function makesKeys(
  path: string,
  caller: string,
  count: number,
): Promise<{ code: unknown; keys: string[] }> {
  const child = spawn(process.execPath, ["--import", "tsx", PROGRAM, path, caller, String(count)]);
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, "close")) as [unknown];
  return {
    code,
    keys: text
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [(JSON.parse(line) as { key: string }).key])),
  };
}

it("loses nothing when several processes change the file at once", async () => {
  const path = join(await directory(), "keys.json");
  const made = await Promise.all(["a", "b", "a"].map((caller) => makesKeys(path, caller, 15)));
  expect(made.map(({ code }) => code)).toEqual([0, 0, 0]);
  const held = new Set(loadKeysFile(path).keys.map(({ digest }) => digest.toString("hex")));
  expect(held.size).toBe(45);
  for (const key of made.flatMap(({ keys }) => keys)) expect(held).toContain(digestOf(key).toString("hex"));
  expect(await readdir(join(path, ".."))).toEqual(["keys.json"]);
});

it("makes a file that nobody else can read, only when it may", async () => {
  const path = join(await directory(), "keys.json");
  const add = (callers: CallerEntry[]) => callers.push({ name: "ci", keys: [entry()] });
  await expect(changeKeysFile(path, add, { scopeProblem })).rejects.toThrow(
    /^There is no file .*keys create$/,
  );
  await changeKeysFile(path, add, { mayCreate: true, scopeProblem });
  expect(await modeOf(path)).toBe(0o600);
  expect(keyCount(path)).toBe(1);
});

it("keeps the mode and the owner of the file that it replaces", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, EMPTY);
  await chmod(path, 0o640);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(path, 1234, 4321);
  await changeKeysFile(path, addKey, { scopeProblem });
  expect(await modeOf(path)).toBe(0o640);
  if (isRoot) expect(await stat(path)).toMatchObject({ uid: 1234, gid: 4321 });
});

it("changes the file behind a link, and leaves the link", async () => {
  const root = await directory();
  await mkdir(join(root, "real"));
  await writeFile(join(root, "real", "keys.json"), EMPTY);
  await symlink(join("real", "keys.json"), join(root, "keys.json"));
  await changeKeysFile(join(root, "keys.json"), addKey, { scopeProblem });
  expect((await lstat(join(root, "keys.json"))).isSymbolicLink()).toBe(true);
  expect(keyCount(join(root, "real", "keys.json"))).toBe(1);
});

it("refuses a secret that Kubernetes mounts, and says where to change it", async () => {
  const root = await directory();
  await mkdir(join(root, "..2026_11_21"));
  await writeFile(join(root, "..2026_11_21", "keys.json"), EMPTY);
  await symlink("..2026_11_21", join(root, "..data"));
  await symlink(join("..data", "keys.json"), join(root, "keys.json"));
  const changed = changeKeysFile(join(root, "keys.json"), addKey, { scopeProblem });
  await expect(changed).rejects.toThrow(
    /mounted read-only, as secrets are\. Change it where it comes from\.$/,
  );
  expect(keyCount(join(root, "keys.json"))).toBe(0);
});

it("says what is wrong with a place in which it cannot write", async () => {
  for (const [path, words] of [
    ["/nowhere/keys.json", /directory .* is not there/],
    // Not even root makes files there.
    ["/proc/keys.json", /cannot be changed|is not there|may not be changed/],
  ] as const) {
    const changed = changeKeysFile(path, addKey, { mayCreate: true, scopeProblem });
    await expect(changed).rejects.toBeInstanceOf(KeysFileError);
    await expect(changed).rejects.toThrow(words);
  }
});

it("changes nothing when the file is damaged, or would be refused after", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, "{");
  await expect(changeKeysFile(path, addKey, { scopeProblem })).rejects.toThrow("it is not JSON");
  expect(await readFile(path, "utf8")).toBe("{");
  await writeFile(path, EMPTY);
  const twice = (callers: CallerEntry[]) => callers[0]?.keys.push(...[entry()].flatMap((one) => [one, one]));
  await expect(changeKeysFile(path, twice, { scopeProblem })).rejects.toThrow(
    "its id is that of caller ci, key 1",
  );
  const fails = () => {
    throw new Error("no");
  };
  await expect(changeKeysFile(path, fails, { scopeProblem })).rejects.toThrow("no");
  expect(await readFile(path, "utf8")).toBe(EMPTY);
  expect(await readdir(join(path, ".."))).toEqual(["keys.json"]);
});

it("takes no lock away from another, and says what to do about one that nobody holds", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, EMPTY);
  await writeFile(`${path}.lock`, "");
  const changed = changeKeysFile(path, addKey, { scopeProblem, waitMs: 0 });
  await expect(changed).rejects.toThrow(
    /^Another command changes this file\. If none is running, remove .*\.lock$/,
  );
  expect(keyCount(path)).toBe(0);
  const waits = changeKeysFile(path, addKey, { scopeProblem });
  await rm(`${path}.lock`);
  await waits;
  expect(keyCount(path)).toBe(1);
});
