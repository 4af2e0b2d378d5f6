import type { Log } from "../log.ts";

const PAUSE_MS = 60_000;

/** Warnings about what anybody can cause any number of times: one a minute. */
export function createRareLog(log: Log): (told: Record<string, unknown>, words: string) => void {
  let quietUntil = -Infinity;
  return (told, words) => {
    const now = performance.now();
    if (now < quietUntil) return;
    quietUntil = now + PAUSE_MS;
    log.warn(told, words);
  };
}
