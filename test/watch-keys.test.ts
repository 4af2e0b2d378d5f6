import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { expect, it, onTestFinished } from "vitest";
import { ConfigError } from "../src/errors.ts";
import { KeyRing } from "../src/keys/key-ring.ts";
import { printKeysFile, readKeysFile, type KeysFile } from "../src/keys/keys-file.ts";
import { createLog } from "../src/log.ts";
import type { RereadFile } from "../src/watch-file.ts";
import { watchKeys } from "../src/watch-keys.ts";
import { entry } from "./keys/entries.ts";

const [one, two] = [entry(), entry()];
const textOf = (...keys: (typeof one)[]) => printKeysFile([{ name: "ci", keys }]);

interface Watched {
  file: RereadFile;
  /** Ids of the keys that are in use. */
  held(): string[];
  logText(): string;
}

async function directory(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "watch-keys-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  return root;
}

/** Watches a file whose first text is `textOf(one)`, and keeps a ring by it. */
function watched(path: string, check: (read: KeysFile) => void = () => undefined): Watched {
  const out = new PassThrough();
  let text = "";
  out.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ring = new KeyRing(readKeysFile(textOf(one)).keys);
  const file = watchKeys({
    path,
    apply(read) {
      check(read);
      return ring.replace(read.keys);
    },
    scopeProblem: (scope) => (scope === "canary" ? "names no server" : undefined),
    log: createLog("info", out),
  });
  onTestFinished(() => file.close());
  const held = () => [one, two].map(({ id }) => id).filter((id) => ring.isActive(id));
  return { file, held, logText: () => text };
}

it("puts keys into use that are written, and put in the file's place", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, textOf(one));
  const { held, logText } = watched(path);
  await writeFile(path, textOf(one, two));
  await expect.poll(held).toEqual([one.id, two.id]);
  await writeFile(`${path}.new`, textOf(two));
  await rename(`${path}.new`, path);
  await expect.poll(held).toEqual([two.id]);
  expect(logText()).toContain(`"added":[],"removed":["${one.id}"],"changed":[]`);
  expect(logText()).not.toContain(one.hash.slice(7));
});

it("puts keys into use of a secret that Kubernetes mounts", async () => {
  const root = await directory();
  for (const [version, text] of [
    ["1", textOf(one)],
    ["2", textOf(two)],
  ] as const) {
    await mkdir(join(root, `..${version}`));
    await writeFile(join(root, `..${version}`, "keys.json"), text);
  }
  await symlink("..1", join(root, "..data"));
  await symlink(join("..data", "keys.json"), join(root, "keys.json"));
  const { held } = watched(join(root, "keys.json"));
  await symlink("..2", join(root, "..new"));
  await rename(join(root, "..new"), join(root, "..data"));
  await expect.poll(held).toEqual([two.id]);
});

it("keeps the keys in use when the file cannot be used, and says why without a value", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, textOf(one));
  const { file, held, logText } = watched(path);
  const scope = printKeysFile([{ name: "ci", scope: "canary", keys: [two] }]);
  for (const text of ["", "{ canary", '{"version":1,"callers":{}}', scope]) {
    await writeFile(path, text);
    await file.readAgain();
    expect(held()).toEqual([one.id]);
  }
  await rm(path);
  await file.readAgain();
  expect(held()).toEqual([one.id]);
  for (const words of [
    "it is empty",
    "it is not JSON",
    "names no caller",
    "scope names no server",
    "no such file",
  ])
    expect(logText()).toContain(words);
  expect(logText()).toContain("the keys stay as they were");
  expect(logText()).not.toContain("canary");
  await writeFile(path, textOf(two));
  await file.readAgain();
  expect(held()).toEqual([two.id]);
});

it("keeps the keys in use when who uses them refuses", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, textOf(two));
  const faults = [new ConfigError(["MCP_KEY_SCOPES: ci is missing."]), new Error("no")];
  const { file, held, logText } = watched(path, () => {
    const fault = faults.shift();
    if (fault !== undefined) throw fault;
  });
  await file.readAgain();
  await file.readAgain();
  expect(held()).toEqual([one.id]);
  expect(logText()).toContain("MCP_KEY_SCOPES: ci is missing.");
  expect(logText()).toContain("could not be put into use");
  await file.readAgain();
  expect(held()).toEqual([two.id]);
});

it("reads nothing once it is closed", async () => {
  const path = join(await directory(), "keys.json");
  await writeFile(path, textOf(two));
  const { file, held } = watched(path);
  file.close();
  file.close();
  await file.readAgain();
  expect(held()).toEqual([one.id]);
});
