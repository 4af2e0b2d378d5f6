import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { expect, it, onTestFinished } from "vitest";
import { createLog } from "../src/log.ts";
import { loadConfig } from "../src/config.ts";
import type { ServerConfig } from "../src/server-config.ts";
import type { RereadFile } from "../src/watch-file.ts";
import { watchServersFile } from "../src/watch-servers.ts";

interface Changes {
  added: string[];
  changed: string[];
  removed: string[];
}
const NOTHING: Changes = { added: [], changed: [], removed: [] };

/** Watches a servers file, gone with the test. */
async function watched(apply: (servers: ServerConfig[]) => Promise<Changes>): Promise<{
  file: RereadFile;
  write(text: string): Promise<void>;
  logText(): string;
}> {
  const root = await mkdtemp(join(tmpdir(), "watch-servers-"));
  const path = join(root, "mcp.json");
  await writeFile(path, serversText("first"));
  const out = new PassThrough();
  let text = "";
  out.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const defaults = loadConfig({}).serverDefaults;
  const env = { TOKEN: "canary-value" };
  const file = watchServersFile({ path, env, defaults, apply, log: createLog("info", out) });
  onTestFinished(async () => {
    file.close();
    await rm(root, { recursive: true });
  });
  return { file, write: (next) => writeFile(path, next), logText: () => text };
}

const serversText = (...names: string[]): string =>
  JSON.stringify({ mcpServers: Object.fromEntries(names.map((name) => [name, { command: "x" }])) });

function hold(): { promise: Promise<void>; release: () => void } {
  let release = () => {};
  const promise = new Promise<void>((resolve) => (release = resolve));
  return { promise, release };
}

it("puts a changed file into use, and says what changed", async () => {
  const applied: string[][] = [];
  const { write, logText } = await watched(async (servers) => {
    applied.push(servers.map(({ name }) => name));
    return { added: ["second"], changed: [], removed: ["first"] };
  });
  await write(serversText("second"));
  await expect.poll(() => applied).toEqual([["second"]]);
  await expect.poll(logText).toContain('"added":["second"],"changed":[],"removed":["first"]');
});

it("leaves everything as it was when the file cannot be used, and says why without a value", async () => {
  let count = 0;
  const { file, write, logText } = await watched(async () => ((count += 1), NOTHING));
  await write(`{"mcpServers": {"a": {"command": "canary \${UNSET}", "urll": "canary"}}}`);
  await file.readAgain();
  expect(count).toBe(0);
  expect(logText()).toContain("server a: command uses ${UNSET}, which is not set.");
  expect(logText()).toContain("Did you mean url?");
  expect(logText()).toContain("the servers stay as they were");
  expect(logText()).not.toContain("canary");
  await write(serversText("fine"));
  await file.readAgain();
  expect(count).toBe(1);
});

it("applies one reading at a time, and the last one last", async () => {
  const applied: string[] = [];
  const { promise: held, release } = hold();
  const { file, write } = await watched(async (servers) => {
    applied.push(`begin ${servers[0]?.name}`);
    if (applied.length === 1) await held;
    applied.push(`end ${servers[0]?.name}`);
    return NOTHING;
  });
  const done = file.readAgain();
  await write(serversText("last"));
  void file.readAgain();
  void file.readAgain();
  release();
  await done;
  expect(applied).toEqual(["begin first", "end first", "begin last", "end last"]);
});

it("goes on after a reading that failed, and reads nothing once it is closed", async () => {
  let count = 0;
  const { file, logText } = await watched(() => {
    count += 1;
    return Promise.reject(new Error("no"));
  });
  await file.readAgain();
  await file.readAgain();
  expect(count).toBe(2);
  expect(logText()).toContain("could not be put into use");
  file.close();
  await file.readAgain();
  expect(count).toBe(2);
});
