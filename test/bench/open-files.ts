import { readFileSync, readdirSync, readlinkSync } from "node:fs";

/** What a process has open besides its clients: modules, pipes, its own log. */
const BESIDES = 200;

/** @throws when this process, or one that it starts, may not have so many sockets open. */
export function requireSockets(sockets: number): void {
  const most = readLimit();
  if (sockets + BESIDES <= most) return;
  throw new Error(
    `${sockets} sockets a process need more open files than the ${most} that are allowed: raise \`ulimit -n\` to ${sockets + BESIDES} or ask for fewer --sessions`,
  );
}

/** The sockets that these processes have open, those to their children with them. */
export function countSockets(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + listOpen(pid).filter(isSocket).length, 0);
}

function listOpen(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).map((name) => `${folder}/${name}`);
  } catch {
    // It ended since it was counted.
    return [];
  }
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith("socket:");
  } catch {
    // Closed since the folder was listed.
    return false;
  }
}

function readLimit(): number {
  const soft = /^Max open files +(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}
