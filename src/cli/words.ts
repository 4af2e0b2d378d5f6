import type { CliParts } from "./parts.ts";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes for people, such as `1.5 MiB`. */
export function bytesInWords(bytes: number): string {
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A length of time for people, such as `2m 05s`. */
export function timeInWords(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const two = (value: number): string => String(value).padStart(2, "0");
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${two(Math.floor(seconds / 60) % 60)}m`;
  return `${Math.floor(seconds / 86_400)}d ${two(Math.floor(seconds / 3600) % 24)}h`;
}

/** What a client or another process wrote, fit for a terminal: signs that would steer it are shown as dots. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "·");

/** A count with its noun. */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/** Entries, counted. */
export const entriesOf = (count: number): string => counted(count, "entry", "entries");

/** Cut to a width. */
export const short = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, width - 1)}…`;

/** Prints a command's result: one JSON object, or words. */
export function tell(parts: CliParts, json: boolean, result: object, words: readonly string[]): void {
  if (json) parts.stdout.write(`${JSON.stringify({ type: "result", ...result })}\n`);
  else parts.stdout.write(words.map((line) => `${line}\n`).join(""));
}

/** Tells those who watch what an operator did, and whether it went well. */
export async function acting(
  parts: CliParts,
  action: string,
  target: string,
  work: () => Promise<number>,
): Promise<number> {
  let outcome: "done" | "failed" = "failed";
  try {
    const code = await work();
    if (code === 0) outcome = "done";
    return code;
  } finally {
    parts.events.emit({ type: "operator_action", action: action.replaceAll(" ", "_"), target, outcome });
  }
}
