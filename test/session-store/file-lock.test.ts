import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { ConfigError } from "../../src/errors.ts";
import { eventually } from "../support/eventually.ts";
import { TTL } from "./backend.ts";
import { listen, namesIn, newDirectory, onlyFile, openIn } from "./file-directory.ts";
import { aRecord } from "./records.ts";

const locksIn = async (directory: string): Promise<string[]> =>
  (await namesIn(directory)).filter((name) => name.startsWith("lock"));

/** What a lock of this process says, for changing. */
async function ownLock(): Promise<Record<string, unknown>> {
  const directory = await newDirectory();
  const store = await openIn(directory, { instanceId: "abc" });
  const { bytes } = await onlyFile(directory, "lock.");
  await store.close();
  return JSON.parse(bytes.toString()) as Record<string, unknown>;
}

/** A directory with the lock of another process. */
async function lockedBy(over: Record<string, unknown>): Promise<{ directory: string; path: string }> {
  const directory = await newDirectory();
  const path = join(directory, "lock.3");
  await writeFile(path, JSON.stringify({ ...(await ownLock()), token: "another", ...over }));
  return { directory, path };
}

async function pidOfTheDead(): Promise<number> {
  const child = spawn(process.execPath, ["-e", "0"]);
  await once(child, "exit");
  return child.pid ?? 0;
}

/** A process that does nothing until the test is over. */
function startSleeper(): number {
  const child = spawn("sleep", ["60"]);
  onTestFinished(() => void child.kill());
  return child.pid ?? 0;
}

test("refuses a second instance, and says which process has the directory and what to do", async () => {
  const directory = await newDirectory();
  const first = await openIn(directory, { instanceId: "abc" });
  const opening = openIn(directory);
  await expect(opening).rejects.toThrow(ConfigError);
  await expect(opening).rejects.toThrow(new RegExp(`SESSION_DIR: .*process id ${process.pid} .*Stop it`));
  const record = aRecord();
  expect(await first.create(record, TTL)).toBe(true);
  expect(await locksIn(directory)).toEqual(["lock.1"]);
  await first.close();
  expect(await (await openIn(directory)).get(record.id)).toEqual(record);
});

test("refuses a directory that another process has, as long as it runs", async () => {
  const pid = startSleeper();
  const startedAt = (await readFile(`/proc/${pid}/stat`, "latin1")).split(") ").at(-1)?.split(" ")[19];
  const { directory } = await lockedBy({ pid, startedAt });
  await expect(openIn(directory)).rejects.toThrow(new RegExp(`process id ${pid} `));
});

test.each([
  ["of a dead process", async () => ({ pid: await pidOfTheDead() })],
  ["of a process whose id is another one's now", async () => ({ pid: startSleeper(), startedAt: "1" })],
  [
    "of this process's id, as it is for the first one in a container",
    async () => ({ pid: process.pid, startedAt: "1" }),
  ],
])("takes over a lock %s at once", async (_, over) => {
  const { directory } = await lockedBy(await over());
  const store = await openIn(directory, { lockWatchMs: 60_000 });
  expect(await store.create(aRecord(), TTL)).toBe(true);
  expect(await locksIn(directory)).toEqual(["lock.4"]);
  await store.close();
  expect(await locksIn(directory)).toEqual([]);
});

test("lets one of ten have a stale lock", async () => {
  const { directory } = await lockedBy({ pid: await pidOfTheDead() });
  const tries = await Promise.allSettled(Array.from({ length: 10 }, () => openIn(directory)));
  const refusals = tries.filter((each) => each.status === "rejected");
  expect(refusals).toHaveLength(9);
  for (const { reason } of refusals) expect(reason).toBeInstanceOf(ConfigError);
  expect(await locksIn(directory)).toHaveLength(1);
});

test("refuses a directory that a process elsewhere has, such as in another container, as long as it shows life", async () => {
  const { directory, path } = await lockedBy({ pid: 1, place: "another container" });
  const beating = setInterval(() => void utimes(path, new Date(), new Date()), 50);
  onTestFinished(() => clearInterval(beating));
  await expect(openIn(directory, { lockWatchMs: 60_000 })).rejects.toThrow(/process id 1 /);
  clearInterval(beating);
  const store = await openIn(directory, { lockWatchMs: 500 });
  expect(await store.create(aRecord(), TTL)).toBe(true);
});

test("sets a lock aside that is none of ours and that nobody touches", async () => {
  const directory = await newDirectory();
  await writeFile(join(directory, "lock.1"), "my diary");
  await openIn(directory, { lockWatchMs: 250 });
  expect((await onlyFile(directory, "lock.1.foreign-")).bytes.toString()).toBe("my diary");
});

test("writes no more once another process has taken the directory", async () => {
  const directory = await newDirectory();
  const { log, told } = listen();
  const store = await openIn(directory, { log });
  const { path } = await onlyFile(directory, "lock.");
  await writeFile(path, JSON.stringify({ ...(await ownLock()), token: "another" }));
  await eventually(() =>
    expect(store.create(aRecord(), TTL)).rejects.toMatchObject({ cause: { code: "LOCK_LOST" } }),
  );
  expect(told()).toMatchObject([{ level: "error" }]);
  await store.close();
  expect(await locksIn(directory)).toHaveLength(1);
});
