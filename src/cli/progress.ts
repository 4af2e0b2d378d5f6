import type { CliParts } from "./parts.ts";
import { bytesInWords, timeInWords } from "./words.ts";

/** Shows how far a command is. */
export interface Progress {
  /** So many entries and bytes are done in all. */
  update(done: number, bytes: number): void;
  /** Clears what stands on the terminal. Safe to call twice. */
  end(): void;
}

export interface ProgressOptions {
  /** What is being done, as one word or two: `backing up`. */
  what: string;
  json: boolean;
  /** Entries in all, when that is known. */
  total?: number | undefined;
  /** Entries that an earlier run did: they do not count as speed. */
  already?: number | undefined;
}

const REDRAW_MS = 100;
const LINE_MS = 3000;
const BAR = 24;

/**
 * A bar on a terminal, redrawn ten times a second at most; a line every three seconds where there is none. With `json`
 * the line is an object on stdout.
 */
export function createProgress(
  parts: CliParts,
  { what, json, total, already = 0 }: ProgressOptions,
): Progress {
  const { stdout, stderr, now } = parts;
  const startedAt = now();
  const onTerminal = !json && stderr.isTTY === true;
  const everyMs = onTerminal ? REDRAW_MS : LINE_MS;
  let shownAt = startedAt;
  let drawn = false;

  function words(done: number, bytes: number): string {
    const elapsedMs = now() - startedAt;
    const rate = elapsedMs > 0 ? ((done - already) * 1000) / elapsedMs : 0;
    const left = total === undefined || rate === 0 ? undefined : ((total - done) * 1000) / rate;
    const count = total === undefined ? `${done}` : `${done}/${total}`;
    const said = [what, count, `${Math.round(rate)}/s`, bytesInWords(bytes)];
    return [...said, ...(left === undefined ? [] : [`${timeInWords(left)} left`])].join("  ");
  }

  function bar(done: number): string {
    if (total === undefined || total === 0) return "";
    const share = Math.min(1, done / total);
    const full = Math.round(share * BAR);
    return `[${"#".repeat(full)}${".".repeat(BAR - full)}] ${String(Math.floor(share * 100)).padStart(3)}%  `;
  }

  function draw(done: number, bytes: number): void {
    // A line that wraps could not be drawn over.
    const line = `${bar(done)}${words(done, bytes)}`.slice(0, Math.max(20, (stderr.columns ?? 80) - 1));
    stderr.write(`\r${line}\u001B[K`);
    drawn = true;
  }

  return {
    update(done, bytes) {
      if (now() - shownAt < everyMs) return;
      shownAt = now();
      if (onTerminal) draw(done, bytes);
      else if (!json) stderr.write(`${words(done, bytes)}\n`);
      else stdout.write(`${JSON.stringify({ type: "progress", what, done, total, bytes })}\n`);
    },
    end() {
      if (drawn) stderr.write("\r\u001B[K");
      drawn = false;
    },
  };
}
