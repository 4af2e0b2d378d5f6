import { readFileSync, readdirSync } from "node:fs";
import type { Memory } from "./cpu.ts";

/** The processes of the tree below `root`, itself first. */
export function readTree(root: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), parent: Number(readStat(Number(name))?.[1]) }));
  const tree = [root];
  // The array grows while it is walked.
  for (const pid of tree) {
    for (const child of parents) if (child.parent === pid) tree.push(child.pid);
  }
  return tree;
}

/** User and system time of a process and of those of its children that it has waited for, in ticks of 10 ms. */
export function readTicks(pid: number): number {
  const stat = readStat(pid);
  return stat === undefined ? 0 : [11, 12, 13, 14].reduce((ticks, field) => ticks + Number(stat[field]), 0);
}

export function readMemory(pids: readonly number[]): Memory {
  const memory = { processes: 0, rssBytes: 0, pssBytes: 0 };
  for (const pid of pids) {
    const rollup = tryRead(`/proc/${pid}/smaps_rollup`);
    if (rollup === undefined) continue;
    memory.processes += 1;
    memory.rssBytes += kilobytes(rollup, /^Rss: +(\d+)/m) * 1024;
    memory.pssBytes += kilobytes(rollup, /^Pss: +(\d+)/m) * 1024;
  }
  return memory;
}

/** A process that is still there and does more than wait to be reaped. */
export function isAlive(pid: number): boolean {
  const state = readStat(pid)?.[0];
  return state !== undefined && state !== "Z" && state !== "X";
}

export function readCommand(pid: number): string {
  return (tryRead(`/proc/${pid}/cmdline`) ?? "").replaceAll("\0", " ").trim();
}

/** The fields after the command's name, which may hold spaces and brackets: state, parent, … */
function readStat(pid: number): string[] | undefined {
  const stat = tryRead(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function kilobytes(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
