import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "../../src/upstream/environment.ts";

/** Stands in the environment of every process that this test file starts, and in that of what those start. */
const MARK = `FIXTURE_RUN=${randomUUID()}`;

export interface Program {
  command: string;
  args: string[];
  env: Record<string, string>;
}

/** A misbehaving program of `test/fixtures`. */
export function fixture(name: string, ...args: string[]): Program {
  const path = fileURLToPath(new URL(`../fixtures/${name}.mjs`, import.meta.url));
  const [key = "", value = ""] = MARK.split("=");
  return {
    command: process.execPath,
    args: [path, ...args],
    env: { ...childEnvironment(process.env, []), [key]: value },
  };
}

/** What is left of the programs that this test file started. A process that only waits to be reaped does not count. */
export function livingFixtures(): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => pid !== process.pid && environmentOf(pid).includes(MARK));
}

/** Throws when something of what this test file started lives on. */
export async function expectNoFixtures(): Promise<void> {
  // What was just killed is not always out of the kernel's tables at once.
  for (let look = 0; look < 100 && livingFixtures().length > 0; look += 1) await sleep(20);
  if (livingFixtures().length > 0) throw new Error(`left behind: ${livingFixtures().join(" ")}`);
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return "";
  }
}
