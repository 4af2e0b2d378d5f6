import { existsSync, mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { readMemory, readTicks, readTree } from "./process-tree.ts";

export interface Memory {
  processes: number;
  rssBytes: number;
  /** Shares pages among the processes that map them: the honest figure for many equal children. */
  pssBytes: number;
}

/** What one server and all of its children use and hold. */
export interface Account {
  readonly source: "cgroup v1" | "cgroup v2" | "/proc";
  /** The command that starts `words` inside the account. */
  command(words: readonly string[]): string[];
  /** Tells the account the first process of the tree, once it is known. */
  adopt(pid: number): void;
  /** CPU that the tree used so far. On /proc only differences count, taken while no process ends. */
  cpuSeconds(): number;
  memory(): Memory;
  pids(): number[];
  /** Forgets the account; by then the tree is empty. */
  close(): void;
}

interface Hierarchy {
  source: Account["source"];
  base: string;
  readSeconds: (folder: string) => number;
}

const CGROUP_V1 = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"];

/** A cgroup where one can be made: exact, and children that were killed are still counted. Else /proc, in 10 ms ticks. */
export function openAccount(): Account {
  for (const hierarchy of findHierarchies()) {
    const account = openCgroup(hierarchy);
    if (account !== undefined) return account;
  }
  return watchProc();
}

function findHierarchies(): Hierarchy[] {
  const lines = readFileSync("/proc/self/cgroup", "utf8").split("\n");
  const v1 = CGROUP_V1.map((base) => ({
    source: "cgroup v1" as const,
    base: join(base, ownPath(lines, /:(?:cpu,)?cpuacct:(.*)/)),
    readSeconds: (folder: string) => Number(readFileSync(join(folder, "cpuacct.usage"), "utf8")) / 1e9,
  }));
  const v2 = {
    source: "cgroup v2" as const,
    base: join("/sys/fs/cgroup", ownPath(lines, /^0::(.*)/)),
    readSeconds: (folder: string) =>
      Number(/usage_usec (\d+)/.exec(readFileSync(join(folder, "cpu.stat"), "utf8"))?.[1]) / 1e6,
  };
  return [...v1, v2].filter(({ base }) => existsSync(join(base, "cgroup.procs")));
}

function ownPath(lines: readonly string[], pattern: RegExp): string {
  return lines.map((line) => pattern.exec(line)?.[1]).find((path) => path !== undefined) ?? "";
}

let opened = 0;

function openCgroup({ source, base, readSeconds }: Hierarchy): Account | undefined {
  opened += 1;
  const folder = join(base, `mcp-bench-${process.pid}-${opened}`);
  const procs = join(folder, "cgroup.procs");
  try {
    mkdirSync(folder);
    readSeconds(folder);
  } catch {
    return undefined;
  }
  const pids = (): number[] => readFileSync(procs, "utf8").split("\n").filter(Boolean).map(Number);
  return {
    source,
    command: (words) => ["sh", "-c", 'echo $$ > "$0" && exec "$@"', procs, ...words],
    adopt: () => undefined,
    cpuSeconds: () => readSeconds(folder),
    memory: () => readMemory(pids()),
    pids,
    close: () => {
      if (!existsSync(folder)) return;
      try {
        rmdirSync(folder);
      } catch {
        // The kernel may hold on to processes that have just been reaped; an empty group costs nothing.
      }
    },
  };
}

function watchProc(): Account {
  let root = 0;
  const pids = (): number[] => (root === 0 ? [] : readTree(root));
  return {
    source: "/proc",
    command: (words) => [...words],
    adopt: (pid) => {
      root = pid;
    },
    cpuSeconds: () => pids().reduce((ticks, pid) => ticks + readTicks(pid), 0) / 100,
    memory: () => readMemory(pids()),
    pids,
    close: () => undefined,
  };
}
